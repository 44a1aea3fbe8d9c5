"""What tells of an error always fits a payload, and what the log cannot hold ends in a named error: no message is
handed back for ever (H126). At the smallest limit that can be configured.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable, Generator
from typing import Any

import pytest
from engine_bugs import no_bug
from engine_virtual import run
from engine_world import World
from oracle import check

from fencepost import ChildFailed, Registry, RunCancelled, RunFailed, errors, hook, sleep, step, workflow
from fencepost.config import Config
from fencepost.engine import steps
from fencepost.payload_codecs import NONE, Codecs, install
from fencepost.payload_keys import codecs_of
from fencepost_store.events import Event, EventType

LIMIT = 1_024
HUGE = 60_000


class Padded:
    """A codec of the user's own that makes everything longer."""

    name = "padded"

    def encode(self, data: bytes) -> bytes:
        """Twice the value, and then some."""
        return b"p" * (len(data) + 300) + data

    def decode(self, data: bytes) -> bytes:
        """The second half."""
        return data[(len(data) - 300) // 2 + 300 :]


class Choosy(Padded):
    """One that refuses what is long."""

    def encode(self, data: bytes) -> bytes:
        """Short values as they are."""
        if len(data) > 200:
            raise ValueError("too long for me")
        return data

    def decode(self, data: bytes) -> bytes:
        """As they are."""
        return data


def _encrypted() -> Codecs:
    return codecs_of(Config(payload_codecs=("aes-gcm",), payload_keys="k:" + base64.b64encode(b"k" * 32).decode()))


CODECS: dict[str, Callable[[], Codecs]] = {
    "plain": lambda: NONE,
    "encrypted": _encrypted,
    "own": lambda: Codecs(("padded",), (), {"padded": Padded()}),
    "choosy": lambda: Codecs(("padded",), (), {"padded": Choosy()}),
}


class Large(Exception):
    """A message, args, attributes and causes far beyond the limit."""

    def __init__(self, size: int) -> None:
        super().__init__("m" * size, list(range(size // 10)))
        self.detail = "d" * size


def large() -> Large:
    """One with a chain and a group below it."""
    error = Large(HUGE)
    error.__cause__ = ExceptionGroup("g" * HUGE, [Large(HUGE), ValueError("x" * HUGE)])
    error.__context__ = KeyError("c" * HUGE)
    return error


@pytest.fixture(params=list(CODECS))
def coded(request: pytest.FixtureRequest) -> Generator[str]:
    """Each way of storing values."""
    install(CODECS[request.param]())
    yield request.param
    install(NONE)


def kept(log: list[Event], kind: EventType) -> list[Event]:
    """The events of the kind, within the limit as all others are; the log is legal."""
    check(log)
    assert max(len(event.payload) for event in log) <= LIMIT
    return [event for event in log if event.type is kind]


@pytest.mark.parametrize("retries", [0, 1])
def test_h126_a_steps_error_fits_and_reads_the_same_in_every_replay(coded: str, retries: int) -> None:
    """step_failed and step_retrying: class and code are kept; what the worker saw live is what the next one replays."""

    async def main() -> None:
        world = World(payload_bytes_max=LIMIT)
        seen: list[tuple[type, str]] = []

        @step(registry=world.registry, retries=retries, first_delay=0.1)
        async def breaks() -> None:
            raise large()

        @workflow(registry=world.registry)
        async def flow() -> str:
            try:
                await breaks()
            except Large as error:
                seen.append((type(error), str(error)))
            await sleep(20)
            return "done"

        async with world.worker("A"):
            started = await world.start(flow)
            await asyncio.sleep(10)
        async with world.worker("B"):
            assert await started.result(200) == "done"
        assert len(seen) == 2
        assert len(set(seen)) == 1
        assert seen[0][0] is Large
        log = await world.log(started)
        assert len(kept(log, EventType.step_retrying)) == retries
        assert len(kept(log, EventType.step_failed)) == 1

    with no_bug():
        run(main)


def test_h126_a_runs_error_and_a_childs_fit(coded: str) -> None:
    """run_failed and child_failed: what the parent and the client see is of the class."""

    async def main() -> None:
        world = World(payload_bytes_max=LIMIT)
        causes: list[type] = []

        @workflow(registry=world.registry)
        async def child() -> None:
            raise large()

        @workflow(registry=world.registry)
        async def flow() -> None:
            try:
                await child()
            except ChildFailed as failed:
                causes.append(type(failed.__cause__))
                raise

        async with world.worker("A"):
            started = await world.start(flow)
            with pytest.raises(RunFailed) as caught:
                await started.result(200)
            assert caught.value.code == errors.USER_ERROR
            assert isinstance(caught.value.__cause__, ChildFailed)
            assert set(causes) == {Large}
            rows = await world.rows()
            logs = [await world.log_of(row.run_id) for row in rows]
        assert len(rows) == 2
        assert sum(len(kept(log, EventType.run_failed)) for log in logs) == 2
        assert sum(len(kept(log, EventType.child_failed)) for log in logs) == 1

    with no_bug():
        run(main)


@pytest.mark.parametrize("hot", [False, True])
def test_h126_a_result_over_the_limit_ends_the_run_by_name(hot: bool) -> None:
    """As a child's end it fails the call. ``hot``: the end comes with a step's, on the hot path."""

    async def main() -> None:
        world = World(payload_bytes_max=LIMIT)

        @step(registry=world.registry)
        async def one() -> int:
            return 1

        @workflow(registry=world.registry)
        async def child() -> str:
            if hot:
                await one()
            return "x" * HUGE

        @workflow(registry=world.registry)
        async def flow() -> str:
            with pytest.raises(ChildFailed) as caught:
                await child()
            assert caught.value.code == errors.LIMIT_EXCEEDED
            return "caught"

        async with world.worker("A"):
            alone = await world.start(child)
            with pytest.raises(RunFailed, match="payload_bytes_max = 1024; pass a reference") as caught:
                await alone.result(200)
            assert caught.value.code == errors.LIMIT_EXCEEDED
            assert isinstance(caught.value.__cause__, errors.PayloadTooLarge)
            assert caught.value.__cause__.limit == LIMIT
            assert await (await world.start(flow)).result(200) == "caught"
        kept(await world.log(alone), EventType.run_failed)

    with no_bug():
        run(main)


def test_h126_arguments_of_a_step_over_the_limit_end_the_run_by_name() -> None:
    """What the engine asks for on the code's behalf is not cut: it would be another call."""

    async def main() -> None:
        world = World(payload_bytes_max=LIMIT)

        @step(registry=world.registry)
        async def takes(text: str) -> None: ...

        @workflow(registry=world.registry)
        async def flow() -> None:
            await takes("x" * HUGE)

        async with world.worker("A"):
            with pytest.raises(RunFailed) as caught:
                await (await world.start(flow)).result(200)
        assert caught.value.code == errors.LIMIT_EXCEEDED
        line = flow.fn.__code__.co_firstlineno + 2
        told = rf"step_created takes#1, in bytes: [0-9]+ is over .* \(\S+test_hazards_fitting.py:{line} asks for it\)"
        assert re.search(told, str(caught.value))

    with no_bug():
        run(main)


def test_h126_the_time_of_a_step_with_a_long_name_is_told() -> None:
    """step_failed by a turn and no executor; and a reason of a thousand wide characters."""

    async def main() -> None:
        world = World(payload_bytes_max=LIMIT)
        seen: list[str] = []

        @step(name="\u20ac" * 200, registry=world.registry, queue="nobody", schedule_to_start=5)
        async def waits() -> None: ...

        @workflow(registry=world.registry)
        async def flow() -> None:
            try:
                await waits()
            except errors.StepTimeout as late:
                seen.append(str(late))
            await sleep(1000)

        async with world.worker("A"):
            started = await world.start(flow)
            await asyncio.sleep(30)
        async with world.worker("B"):
            await asyncio.sleep(30)
            await started.cancel("\u20ac" * 1_000)
            with pytest.raises(RunCancelled, match=r"\u20ac+\n... [0-9]+ characters left out"):
                await started.result(200)
        log = await world.log(started)
        assert len(kept(log, EventType.step_failed)) == 1
        assert len(kept(log, EventType.cancel_requested)) == 1
        assert len(set(seen)) == 1

    with no_bug():
        run(main)


def unstorable_token() -> Any:
    """A hook that Postgres cannot index."""
    return hook(str, token="nul\0")


def long_token() -> Any:
    """The same by its length."""
    return hook(str, token="t" * 2_000)


@pytest.mark.parametrize("make", [unstorable_token, long_token])
def test_h126_a_decision_that_no_store_takes_ends_the_run_by_name(make: Callable[[], Any]) -> None:
    """At the start of a run, and behind a step."""

    async def main() -> None:
        world = World()

        @step(registry=world.registry)
        async def one() -> int:
            return 1

        @workflow(registry=world.registry)
        async def flow(after: bool) -> None:
            if after:
                await one()
            await make()

        async with world.worker("A"):
            for after in (False, True):
                started = await world.start(flow, after)
                with pytest.raises(RunFailed, match=r"BadSignal: hook\(token\)") as caught:
                    await started.result(200)
                assert caught.value.code == errors.USER_ERROR
                check(await world.log(started))

    with no_bug():
        run(main)


def test_h126_a_step_whose_name_no_store_takes_is_refused() -> None:
    """Its entity's id could not be written, so it is not even declared."""
    for name in ("n\0", "n" * 880):
        with pytest.raises(ValueError, match="a name has 1 to 200 printable characters"):

            @step(name=name, registry=Registry())
            async def named() -> None: ...


def test_h126_a_child_whose_key_no_store_takes_fails_its_call() -> None:
    """child_created has landed by then: the call fails, and the parent goes on."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def child() -> None: ...

        @workflow(registry=world.registry)
        async def flow(key: str) -> str:
            try:
                await child.with_options(key=key)()
            except ChildFailed as failed:
                return str(failed.__cause__)
            return ""

        async with world.worker("A"):
            assert "key has more than 1024 bytes" in await (await world.start(flow, "k" * 2_000)).result(200)
            assert "NUL" in await (await world.start(flow, "k\0")).result(200)

    with no_bug():
        run(main)


def test_h126_a_step_that_was_started_as_often_as_the_log_counts_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next start could never land."""

    async def main() -> None:
        world = World()
        monkeypatch.setattr(steps, "ATTEMPT_MAX", 3)

        @step(registry=world.registry, retries=100, first_delay=0.1)
        async def breaks() -> None:
            raise ValueError

        @workflow(registry=world.registry)
        async def flow() -> None:
            await breaks()

        async with world.worker("A"):
            with pytest.raises(RunFailed, match="was started 3 times") as caught:
                await (await world.start(flow)).result(200)
        assert caught.value.code == errors.LIMIT_EXCEEDED

    with no_bug():
        run(main)
