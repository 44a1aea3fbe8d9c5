"""The table of errors (docs/protocol.md section 8), a test per row: what each error becomes, also wrapped and inside a
cause chain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from engine_virtual import run
from engine_world import World

from fencepost import errors, step, workflow
from fencepost.authoring.registry import Registry
from fencepost.engine.hotpath import after_terminal_fact
from fencepost.engine.live import LiveRun
from fencepost.records import StepEnded, unpack
from fencepost.replay.budget import TurnGuard
from fencepost_queue.protocol import Entry, QueueTrouble, tick_key
from fencepost_store.events import EventType
from fencepost_store.protocol import FactOutcome, FactVerdict, Reason, Run, RunStatus, StoreTrouble


class Own(Exception):
    """A user's own class."""


def plain(error: Exception) -> Exception:
    """As it is."""
    return error


def wrapped(error: Exception) -> Exception:
    """As the cause of the user's own."""
    own = Own("wrapped")
    own.__cause__ = error
    return own


def deep(error: Exception) -> Exception:
    """At the bottom of a chain."""
    middle = KeyError("middle")
    middle.__cause__ = error
    own = Own("deep")
    own.__cause__ = middle
    return own


WAYS: list[Callable[[Exception], Exception]] = [plain, wrapped, deep]


def chain(error: BaseException | None) -> list[type[BaseException]]:
    """The types of a cause chain, outermost first."""
    types: list[type[BaseException]] = []
    while error is not None:
        types.append(type(error))
        error = error.__cause__
    return types


async def outcome(world: World, flow: Any) -> errors.RunFailed:
    """The failure that a run of ``flow`` ends in."""
    async with world.worker("A"):
        started = await world.start(flow)
        with pytest.raises(errors.RunFailed) as caught:
            await started.result(2_000)
        return caught.value


INFRASTRUCTURE = [
    StoreTrouble("away"),
    QueueTrouble("away"),
    errors.ServerUnavailable("away"),
    ConnectionError("away"),
]
OF_THE_ENGINE = [
    errors.PayloadError("from a client call in the body"),
    errors.StepTimeout("from a client call in the body"),
    errors.StepCrashed("from a client call in the body"),
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("error", INFRASTRUCTURE + OF_THE_ENGINE, ids=lambda error: type(error).__name__)
def test_h80_a_servers_error_raised_by_user_code_is_the_steps_own(
    error: Exception, way: Callable[[Exception], Exception]
) -> None:
    """A step whose body calls our client, or anything, and meets trouble: retried as any error, then USER_ERROR with
    its chain.
    """

    async def main() -> None:
        world = World()
        tries: list[int] = []

        @step(registry=world.registry, retries=1, first_delay=0.1)
        async def calls() -> None:
            tries.append(1)
            raise way(error)

        @workflow(registry=world.registry)
        async def flow() -> None:
            await calls()

        failed = await outcome(world, flow)
        assert chain(failed.__cause__) == chain(way(error))
        assert len(tries) == 2
        (ended,) = [e for e in await world.log(world.client().run(failed.run_id)) if e.type is EventType.step_failed]
        assert unpack(ended.payload, StepEnded).error.code == errors.USER_ERROR

    run(main)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("error", INFRASTRUCTURE, ids=lambda error: type(error).__name__)
def test_h80_the_same_out_of_a_workflow(error: Exception, way: Callable[[Exception], Exception]) -> None:
    """Raised by the workflow's code it is the code's error: the engine recognises its own trouble by where it comes
    from, never by type in user code.
    """

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow() -> None:
            raise way(error)

        failed = await outcome(world, flow)
        assert failed.code == errors.USER_ERROR
        assert chain(failed.__cause__) == chain(way(error))

    run(main)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_h83_an_exception_comes_back_as_itself(way: Callable[[Exception], Exception]) -> None:
    """The workflow catches the user's own class, with its causes, message and recorded traceback."""

    async def main() -> None:
        world = World()

        @step(registry=world.registry, retries=0)
        async def breaks() -> None:
            raise way(ValueError("bottom"))

        @workflow(registry=world.registry)
        async def flow() -> list[str]:
            try:
                await breaks()
            except (Own, ValueError) as error:
                return [kind.__name__ for kind in chain(error)] + [str("breaks" in str(error.__notes__))]
            return []

        async with world.worker("A"):
            started = await world.start(flow)
            told = await started.result(60)
        assert told == [kind.__name__ for kind in chain(way(ValueError("bottom")))] + ["True"]

    run(main)


@pytest.mark.parametrize(("way", "tries"), [(plain, 1), (wrapped, 2), (deep, 2)], ids=["plain", "wrapped", "deep"])
def test_fatal_counts_where_it_left_the_body(way: Callable[[Exception], Exception], tries: int) -> None:
    """Deeper in the chain it is history: the user raised something else."""

    async def main() -> None:
        world = World()
        began: list[int] = []

        @step(registry=world.registry, retries=1, first_delay=0.1)
        async def breaks() -> None:
            began.append(1)
            raise way(errors.Fatal("no"))

        @workflow(registry=world.registry)
        async def flow() -> None:
            await breaks()

        failed = await outcome(world, flow)
        assert failed.code == errors.USER_ERROR
        assert len(began) == tries

    run(main)


def test_h131_a_step_that_is_not_registered_waits_for_a_worker_that_has_it() -> None:
    """No error of the step, whoever asked for it; its schedule_to_start bounds the wait."""

    async def main() -> None:
        world = World()
        elsewhere = Registry()

        @step(registry=elsewhere)
        async def unknown() -> str:
            return "done elsewhere"

        @workflow(registry=world.registry)
        async def waits() -> str:
            return await unknown()

        @workflow(registry=world.registry)
        async def bounded() -> str | None:
            try:
                return await unknown.with_options(schedule_to_start=20)()
            except errors.StepTimeout as late:
                return late.which

        async with world.worker("A") as a:
            started, late = await world.start(waits), await world.start(bounded)
            assert await late.result(60) == "schedule_to_start"
            assert await world.shape(started) == ["run_created", "run_started", "step_created unknown#1"]
            assert a.calls.count(("queue", "refuse")) == 2, "once per step: not again and again"
            world.registry = elsewhere
            async with world.worker("B"):
                assert await started.result(5) == "done elsewhere"

    run(main)


def test_h33_an_unserialisable_argument_fails_that_step_at_once() -> None:
    """Catchable, with the path inside the value; the tick is not poisoned, nothing of the step is in the log."""

    async def main() -> None:
        world = World()

        @step(registry=world.registry)
        async def takes(value: Any) -> None:
            return None

        @workflow(registry=world.registry)
        async def flow() -> str:
            try:
                await takes({"items": [1, {"lock": asyncio.Lock()}]})
            except errors.PayloadError as error:
                return str(error)
            return ""

        async with world.worker("A") as a:
            started = await world.start(flow)
            told = await started.result(60)
            assert "items" in told
            assert "lock" in told
            assert not [line for line in await world.shape(started) if "step" in line]
            assert a.calls.count(("queue", "release")) == 0

    run(main)


def test_h33_an_unserialisable_result_fails_that_step_at_once() -> None:
    """No retry: another attempt would end the same way."""

    async def main() -> None:
        world = World()
        began: list[int] = []

        @step(registry=world.registry)
        async def gives() -> Any:
            began.append(1)
            return {"lock": asyncio.Lock()}

        @workflow(registry=world.registry)
        async def flow() -> str:
            try:
                await gives()
            except errors.PayloadError as error:
                return str(error)
            return ""

        async with world.worker("A"):
            told = await (await world.start(flow)).result(60)
            assert "lock" in told
            assert began == [1]

    run(main)


def test_a_result_over_the_limit_fails_that_step_at_once() -> None:
    """PayloadTooLarge names size, bound and way out; the run goes on."""

    async def main() -> None:
        world = World(payload_bytes_max=2048)

        @step(registry=world.registry)
        async def gives() -> str:
            return "x" * 5000

        @workflow(registry=world.registry)
        async def flow() -> str:
            try:
                await gives()
            except errors.PayloadTooLarge as error:
                return str(error)
            return ""

        async with world.worker("A"):
            told = await (await world.start(flow)).result(60)
            assert "5004 bytes, more than payload_bytes_max = 2048; return a reference" in told

    run(main)


ROW = Run("r", "w", "lane", RunStatus.running, 3, 3, None, None, None, None, 0, 0)
AFTER: list[tuple[FactVerdict, list[Entry] | None]] = [
    (FactVerdict(FactOutcome.landed, seq=4), [Entry("lane", tick_key("r"))]),
    (FactVerdict(FactOutcome.already, seq=4), [Entry("lane", tick_key("r"))]),
    (FactVerdict(FactOutcome.refused, reason=Reason.run_ended), [Entry("lane", tick_key("r"), recover=True)]),
    (FactVerdict(FactOutcome.refused, reason=Reason.entity_ended), [Entry("lane", tick_key("r"), recover=True)]),
    (FactVerdict(FactOutcome.refused, reason=Reason.other_attempt), None),
]


@pytest.mark.parametrize(
    ("verdict", "entries"), AFTER, ids=lambda value: getattr(value, "reason", None) and value.reason
)
def test_what_a_terminal_facts_verdict_makes_of_its_message(verdict: FactVerdict, entries: list[Entry] | None) -> None:
    """Landed: a tick. Ended: a recovering tick. Another attempt: the message is released (None)."""

    async def main() -> None:
        live = LiveRun("r", TurnGuard())
        live.run = ROW
        assert after_terminal_fact(live, verdict) == entries

    run(main)


def test_clients_get_typed_exceptions() -> None:
    """Run not found, hook not found, too early, same key with other arguments."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow(n: int) -> int:
            return n

        client = world.client()
        missing = "01890000-0000-7000-8000-00000000ffff"
        with pytest.raises(errors.RunNotFound, match=missing):
            await client.get(missing)
        with pytest.raises(errors.RunNotFound):
            await client.run(missing).result(1)
        with pytest.raises(errors.HookNotFound, match="nobody"):
            await client.resume("nobody", 1)
        first = await client.start(flow, 1, key="k")
        with pytest.raises(errors.ResultTimeout):
            await first.result(1)
        again = await client.start(flow, 2, key="k")
        assert (again.id, again.created) == (first.id, False)
        with pytest.raises(errors.StartConflict, match="'k'"):
            await client.start(flow, 2, key="k", strict=True)
        with pytest.raises(errors.ArgumentError, match="flow"):
            await client.start(flow)  # type: ignore[call-overload] - what is tested  # pyright: ignore
        with pytest.raises(errors.ArgumentError, match="sleeping"):
            await client.list(status="sleeping")
        assert [event.type async for event in first.events()] == [EventType.run_created]

    run(main)


def test_h163_a_result_of_another_type_is_the_error_of_that_attempt() -> None:
    """Recorded as its failure, by name and path; nobody reads it and blames other code."""

    async def main() -> None:
        world = World()
        began: list[int] = []
        wrong: Any = "many"

        @step(registry=world.registry)
        async def counts() -> dict[str, int]:
            began.append(1)
            return {"a": wrong}

        @workflow(registry=world.registry)
        async def flow() -> str:
            try:
                await counts()
            except errors.PayloadError as error:
                return str(error)
            return ""

        async with world.worker("A"):
            started = await world.start(flow)
            told = await started.result(60)
            assert told == "result of counts['a']: does not fit its annotation int: Expected `int`, got `str`"
            assert began == [1]
            shape = await world.shape(started)
            assert [line for line in shape if "step_failed" in line]
            assert not [line for line in shape if "step_completed" in line]

    run(main)
