"""H149: no process that runs user code is held by it, and no suspect waits for ever behind another."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from engine_virtual import run
from engine_world import Member, World

from fencepost.engine import turn_watch
from fencepost.engine.alone import SEAT_SECONDS, SEATS, Alone, Report
from fencepost.engine.turn_watch import EXIT_SPINNING, INTERRUPTS_MAX, TurnWatch
from fencepost.replay.budget import Overdue, TurnGuard
from fencepost_queue.protocol import Delivery
from fencepost_store.protocol import StoreTrouble


class _Spinning:
    """A turn that goes on whatever is raised in it, until ``over``."""

    def __init__(self) -> None:
        self.interrupts = 0
        self.over = False

    def overdue(self, now: float, budget: float) -> Overdue | None:
        return None if self.over else Overdue("run", budget + now, self.interrupts, "stack", "flows.py:7")

    def interrupt(self) -> bool:
        self.interrupts += 1
        return True


class _Exit(BaseException):
    pass


def _exit(code: int) -> None:
    raise _Exit(code)


async def _watched(
    monkeypatch: pytest.MonkeyPatch, turn: _Spinning, failing: turn_watch.Fail, looks: int = INTERRUPTS_MAX + 1
) -> int | None:
    """The code with which the process ended itself."""
    monkeypatch.setattr(turn_watch.os, "_exit", _exit)
    watch = TurnWatch(lambda: 1.0, cast(TurnGuard, turn), 2.0, failing)
    try:
        for _ in range(looks):
            await watch.look()
    except _Exit as ended:
        return int(ended.args[0])
    return None


async def test_h149_a_turn_that_cannot_be_stopped_fails_its_run_before_its_process_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So no other process takes it up; after as many interrupts as there are, and once."""
    turn, failed = _Spinning(), list[str]()

    async def fail(overdue: Overdue) -> None:
        assert turn.interrupts == INTERRUPTS_MAX
        failed.append(f"{overdue.run_id} {overdue.at}")

    assert await _watched(monkeypatch, turn, fail) == EXIT_SPINNING
    assert failed == ["run flows.py:7"]


async def test_h149_code_that_comes_back_while_its_run_is_failed_costs_no_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The turn finds that its run has ended."""
    turn = _Spinning()

    async def fail(overdue: Overdue) -> None:
        turn.over = True

    assert await _watched(monkeypatch, turn, fail) is None


async def test_h149_without_postgres_the_process_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bystanders are not held by what cannot be written."""

    async def fail(overdue: Overdue) -> None:
        raise StoreTrouble("away")

    assert await _watched(monkeypatch, _Spinning(), fail) == EXIT_SPINNING


class _Counting(TurnGuard):
    struck = 0

    def interrupt(self) -> bool:
        self.struck += 1
        return True


@pytest.mark.parametrize(("used", "interrupts"), [(0.1, 0), (29.0, 1)])
async def test_h149_a_process_that_was_frozen_is_not_late(used: float, interrupts: int) -> None:
    """SIGSTOP, or a machine without a processor to spare, in the middle of a turn: the time is not the code's. Code
    that holds the GIL, so that nobody looks, has used the processor meanwhile.
    """
    now, processor = [100.0], [5.0]
    guard = _Counting(lambda: now[0])

    async def fail(overdue: Overdue) -> None:
        raise AssertionError(overdue)

    watch = TurnWatch(lambda: now[0], guard, 2.0, fail, processor=lambda: processor[0])
    with guard.turn("run"):
        await watch.look()
        now[0] += 30.0
        processor[0] += used
        await watch.look()
        assert guard.struck == interrupts
        now[0] += 2.5
        processor[0] += 2.0
        await watch.look()
        assert guard.struck == interrupts + 1, "what it computes from then on counts"


class _Blocked(Alone):
    """Its children never end."""

    begun: list[str]

    async def _child(self, delivery: Delivery, stopped: asyncio.Event) -> Report | None:
        self.begun.append(delivery.key)
        await stopped.wait()
        return None


def test_h149_suspects_that_do_not_end_hold_no_others_up() -> None:
    """Ticks do not wait for steps; who finds no seat is handed back at once and is no crash; a seat lapses."""

    async def main() -> None:
        world = World()
        loop = asyncio.get_running_loop()
        member = Member(world, "A")
        shell = member.shell
        released: list[str] = []

        async def release(delivery: Delivery, delay_ms: int = 0, *, proof: bool = False) -> bool:
            assert not proof
            released.append(delivery.key)
            return True

        member.queue.release = release  # type: ignore[attr-defined]
        alone = _Blocked(shell, world.config, ())
        alone.begun = []
        tasks: list[asyncio.Task[None]] = []

        def suspect(key: str) -> None:
            delivery = Delivery("default", key, f"A.{key}")
            shell.keeper.hold(delivery, loop.time() + 10_000)  # as if it were renewed
            tasks.append(asyncio.create_task(alone(delivery)))

        for n in range(3):
            suspect(f"s:run{n}:a#1")
        suspect("t:run9")
        await asyncio.sleep(0.01)
        assert alone.begun == ["s:run0:a#1", "s:run1:a#1", "t:run9"], f"{SEATS} of a kind at a time"
        assert released == ["s:run2:a#1"]
        await asyncio.sleep(SEAT_SECONDS)
        suspect("s:run3:a#1")
        await asyncio.sleep(0.01)
        assert alone.begun[-1] == "s:run3:a#1"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert {seats.long for seats in alone._seats.values()} == {0}  # pyright: ignore[reportPrivateUsage]
        await member.end()

    run(main)


def test_h149_a_lease_that_was_lost_before_there_was_a_seat_starts_nothing() -> None:
    """Another worker has the message by then."""

    async def main() -> None:
        world = World()
        member = Member(world, "A")
        alone = _Blocked(member.shell, world.config, ())
        alone.begun = []
        await alone(Delivery("default", "s:run:a#1", "A.1"))
        assert alone.begun == []
        await member.end()

    run(main)
