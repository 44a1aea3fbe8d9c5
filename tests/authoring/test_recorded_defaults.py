"""The whole call is recorded, with the defaults that its code had: a default that changes changes no run under way."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import pytest

from fencepost import payload
from fencepost.authoring.arguments import Arguments
from fencepost.authoring.registry import Registry
from fencepost.authoring.step import step
from fencepost.authoring.workflow import workflow
from fencepost.client.starting import same_input
from fencepost.records import RunContinued, StepCreated, unpack

LOCK = threading.Lock()
MISSING = object()


@dataclasses.dataclass
class Options:
    size: int = 1


SHARED = {"a": Options()}


def recorded(data: bytes) -> Any:
    """As somebody sees it who does not know the signature."""
    return payload.decode(data)


def test_h165_defaults_are_part_of_the_recorded_call() -> None:
    """Of steps and workflows, by position as far as the signature has it."""

    def body(order: int, cents: int = 5, *more: int, note: str = "", tags: tuple[str, ...] = ("a",)) -> None: ...

    arguments = Arguments(body, "body")
    data = arguments.encode((1,), {})
    assert recorded(data) == [[1, 5], {"note": "", "tags": ["a"]}]
    assert arguments.decode(data) == ((1, 5), {"note": "", "tags": ("a",)})
    assert arguments.encode((1, 5), {"note": "", "tags": ("a",)}) == data
    assert arguments.encode((), {"tags": ("a",), "order": 1}) == data
    assert recorded(arguments.encode((1, 2, 3), {"note": "x"})) == [[1, 2, 3], {"note": "x", "tags": ["a"]}]


def test_h165_a_changed_default_changes_no_recorded_call() -> None:
    """What was recorded under the old code is what the new code gets; a call from before defaults were recorded, and a
    start by name, have the default of the code that reads them."""

    def old(order: int, cents: int = 5) -> None: ...
    def new(order: int, cents: int = 99, *, rush: bool = True) -> None: ...

    data = Arguments(old, "f").encode((1,), {})
    assert Arguments(new, "f").decode(data) == ((1, 5), {"rush": True})
    assert Arguments(new, "f").decode(payload.encode([[1], {}])) == ((1, 99), {"rush": True})


def test_h165_each_run_has_mutable_defaults_of_its_own() -> None:
    """Whether the call names them or not, and whether they were recorded or not."""

    def body(order: int, seen: list[int] = [], *, by: dict[str, Options] = SHARED) -> None: ...  # noqa: B006

    arguments = Arguments(body, "body")
    for data in (arguments.encode((1,), {}), payload.encode([[1], {}])):
        args, kwargs = arguments.decode(data)
        args[1].append(7)
        kwargs["by"]["a"].size = 3
        assert arguments.decode(data) == ((1, []), {"by": {"a": Options()}})
    assert body.__defaults__ == ([],)
    assert {"a": Options()} == SHARED


def test_h165_a_default_that_no_log_can_hold_stays_the_codes_own() -> None:
    """A lock, a client, a sentinel: the call is recorded without it, and what stands behind it by name."""

    def body(
        a: int, lock: Any = LOCK, b: int = 2, /, c: int = 3, d: Any = MISSING, *, e: int = 5, f: Any = LOCK
    ) -> None: ...

    arguments = Arguments(body, "body")
    data = arguments.encode((1,), {})
    assert recorded(data) == [[1], {"c": 3, "e": 5}]
    assert arguments.decode(data) == ((1,), {"c": 3, "e": 5})
    assert arguments.encode((1,), {"c": 3}) == data


def test_none_as_a_default_may_be_given() -> None:
    """``name: str = None`` is what many write, and means."""

    def body(name: str = None, order: Options = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013  # pyright: ignore[reportArgumentType]

    arguments = Arguments(body, "body")
    assert arguments.encode((None,), {}) == arguments.encode((), {})
    assert arguments.decode(arguments.encode((), {"order": Options(2)})) == ((None, Options(2)), {})


def test_a_workflow_gets_and_continues_with_recorded_defaults(start: Any) -> None:
    """In its own arguments, in those of its steps and in what it continues with."""
    registry = Registry()

    @step(registry=registry)
    async def add(n: int, more: int = 10) -> int:
        return n + more

    @workflow(registry=registry)
    async def flow(n: int, seen: list[int] = []) -> int:  # noqa: B006
        seen.append(await add(n))
        if n == 1:
            flow.continue_as_new(2)
        return len(seen)

    run = start(flow, 1)
    assert recorded(run.asked()["add#1"].args) == [[1, 10], {}]
    run.complete("add#1", payload.encode(11, int))
    continued = unpack(run.log[-1].payload, RunContinued)
    assert recorded(continued.args) == [[2, []], {}]
    second = start(flow, 2)
    second.complete("add#1", payload.encode(11, int))
    assert second.result == 1


def test_h165_a_default_that_changed_parks_no_run(start: Any) -> None:
    """The log of the old code is replayed by the new one: the open step keeps its arguments, and so does the run."""
    registry, later = Registry(), Registry()

    def made(where: Registry, cents: int, times: int) -> Any:
        @step(registry=where)
        async def charge(order: int, cents: int = cents) -> int:
            return cents

        @workflow(registry=where)
        async def flow(order: int, times: int = times) -> list[int]:
            return [await charge(order) for _ in range(times)]

        return flow

    old = start(made(registry, cents=5, times=2), 1)
    new = start(made(later, cents=99, times=50), 1)
    new.instance.evict()
    new.log, new.instance = [], type(old.instance)("run-1", new.workflow)
    new.log.extend(old.log)
    new.instance.deliver(old.log)
    assert recorded(new.asked()["charge#1"].args) == [[1, 5], {}]
    new.complete("charge#1", payload.encode(5, int))
    assert recorded(new.asked()["charge#2"].args) == [[1, 99], {}]
    new.complete("charge#2", payload.encode(99, int))
    assert new.result == [5, 99]


def test_h165_a_strict_start_takes_a_default_that_is_spelled_out_for_the_same_call() -> None:
    """Also against a run that was started by name, or before defaults were recorded."""

    def body(order: int, cents: int = 5, *, at: Options = Options()) -> None: ...  # noqa: B008

    arguments = Arguments(body, "body")
    whole = arguments.encode((1,), {})
    for same in (
        arguments.encode((1, 5), {}),
        arguments.encode((1,), {"at": Options(1)}),
        payload.encode([[1], {}]),
        payload.encode([[1], {"cents": 5}]),
        payload.encode([[], {"order": 1, "at": {"size": 1}}]),
    ):
        assert same_input(arguments, same, whole)
    for other in (arguments.encode((1, 6), {}), payload.encode([[2], {}]), payload.encode([["x"], {}])):
        assert not same_input(arguments, other, whole)
    assert same_input(None, whole, arguments.encode((1, 5), {}))


@pytest.mark.parametrize("process", [False, True])
def test_options_keep_the_signature(process: bool) -> None:
    """It is resolved once, whatever is called with other options."""

    def body(order: int, cents: int = 5) -> None: ...

    body.__qualname__ = "body"
    made = step(registry=Registry(), process=process)(body)
    assert made.with_options(retries=1).arguments is made.arguments
    created = StepCreated(made.name, made.arguments.encode((1,), {}))
    assert made.decode_args(created.args) == ((1, 5), {})
