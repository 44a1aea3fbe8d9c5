"""Hazards of recovery: a worker ends, freezes or is cut off between what it has written and what it owes. On a virtual
clock, by construction.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from engine_virtual import run
from engine_world import World, at_once
from oracle import check

from fencepost import hook, sleep, step, workflow
from fencepost_queue.protocol import step_key, tick_key
from fencepost_store.events import EventType, NewEvent
from fencepost_store.protocol import Batch, Loaded

TWO_LEASES = 20.0
RECONCILE = 5.0


def two_steps(world: World, ran: list[str], *, pending_wait: bool) -> Any:
    """One step after another; with a wait that is open all the time, or without."""

    @step(registry=world.registry)
    async def one() -> str:
        ran.append("one")
        return "one"

    @step(registry=world.registry)
    async def two() -> str:
        ran.append("two")
        return "two"

    @workflow(registry=world.registry)
    async def flow() -> str:
        async with asyncio.timeout(500) if pending_wait else contextlib.nullcontext():
            return await one() + await two()

    return flow


async def recovered(point: str, visit: int, *, pending_wait: bool) -> tuple[float, list[str]]:
    """A crashes there, B takes over: seconds from the crash to the run's end, and which bodies ran."""
    world = World()
    ran: list[str] = []
    flow = two_steps(world, ran, pending_wait=pending_wait)
    loop = asyncio.get_running_loop()
    async with world.worker("A") as a:
        await asyncio.sleep(1)
        a.seen.clear()
        a.crash_at(point, visit)
        started = await world.start(flow)
        await a.crashed.wait()
        began = loop.time()
        async with world.worker("B"):
            assert await started.result(600) == "onetwo"
            check(await world.log(started))
            return loop.time() - began, ran


@pytest.mark.parametrize("pending_wait", [False, True])
@pytest.mark.parametrize("point", ["append.after", "settle.before"])
def test_h40_the_owner_dies_after_step_created_and_before_its_message(point: str, pending_wait: bool) -> None:
    """The first turn's batch is in the log, the step has no message: the redelivered tick dispatches it, whether
    something else would wake the run later or not.
    """
    seconds, ran = run(lambda: recovered(point, 1, pending_wait=pending_wait))
    assert seconds <= TWO_LEASES
    assert ran == ["one", "two"]


@pytest.mark.parametrize("pending_wait", [False, True])
@pytest.mark.parametrize("point", ["append.before", "append.after", "settle.before", "settle.after"])
def test_h56_the_owner_dies_on_the_hot_path(point: str, pending_wait: bool) -> None:
    """[completed 1, created 2, started 2] is about to land, has landed, is about to be settled, is settled: step 2 runs
    within two leases.
    """
    seconds, ran = run(lambda: recovered(point, 2, pending_wait=pending_wait))
    assert seconds <= TWO_LEASES
    assert ran in (["one", "two"], ["one", "one", "two"], ["one", "two", "two"])


def test_h41_a_message_is_there_until_what_progress_needs_is_durable() -> None:
    """Looked at before and after each append, and before each settle: the tick's until the turn's batch has landed,
    the step's until its end has.
    """

    async def main() -> None:
        world = World()
        flow = two_steps(world, [], pending_wait=False)
        looks: list[tuple[str, list[str]]] = []
        async with world.worker("A") as a:
            await asyncio.sleep(1)
            a.seen.clear()

            def look(point: str, visit: int) -> None:
                held = at_once(world.server.client("test").peek("default", 10))
                looks.append((f"{point} {visit}", [message.key for message in held]))

            points = [
                (point, visit) for visit in (1, 2, 3) for point in ("append.before", "append.after", "settle.before")
            ]
            for point, visit in points:
                a.at(point, visit, lambda p=point, v=visit: look(p, v))  # type: ignore[misc]
            started = await world.start(flow)
            assert await started.result(10) == "onetwo"
        keys = [tick_key(started.id), step_key(started.id, "one#1"), step_key(started.id, "two#1")]
        assert looks == [(f"{point} {visit}", [keys[visit - 1]]) for point, visit in points]

    run(main)


def test_h44_after_a_flush_all_runs_move_within_a_reconcile_period() -> None:
    """Sleeping runs, runs that wait for a slot, and runs that were never taken up: the server is emptied, and each goes
    on when it would have, or a reconcile period later.
    """

    async def main() -> None:
        world = World(concurrency=1)
        loop = asyncio.get_running_loop()

        @step(registry=world.registry)
        async def work() -> None:
            await asyncio.sleep(0.1)

        @workflow(registry=world.registry)
        async def naps(seconds: float) -> float:
            await sleep(seconds)
            await work()
            return loop.time()

        async with world.worker("A"):
            await asyncio.sleep(1)
            began = loop.time()
            runs = {seconds: await world.start(naps, seconds) for seconds in (12.0, 20.0, 30.0)}
            busy = [await world.start(naps, 0.0) for _ in range(20)]
            await asyncio.sleep(1)
            world.server.flush()
            fresh = await world.start(naps, 0.0)
            world.server.flush()
            for started in (*busy, fresh):
                await started.result(100)
            assert loop.time() - began < 1 + 22 * 0.1 + RECONCILE + 2
            for seconds, started in runs.items():
                assert await started.result(100) - began < seconds + RECONCILE

    run(main)


def test_h62_a_turn_that_was_frozen_past_its_lease_walks_away() -> None:
    """A stands still while it loads; B takes the tick over and ends the run. A wakes up, sees by its own clock that
    its lease may be over, and neither appends nor settles nor hands back.
    """

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow() -> int:
            async with hook(int, token="t") as numbers:
                return await numbers

        async with world.worker("A") as a:
            await asyncio.sleep(1)
            started = await world.start(flow)
            await asyncio.sleep(1)
            real = world.memory.load

            async def freezing(run_id: str, after_seq: int = 0, stamp: int | None = None) -> Loaded | None:
                world.memory.load = real  # type: ignore[method-assign]
                loaded = await real(run_id, after_seq, stamp)
                a.store.frozen = a.queue.frozen = asyncio.Event()
                return loaded

            world.memory.load = freezing  # type: ignore[method-assign]
            await world.client().resume("t", 5)
            await asyncio.sleep(1)
            assert a.store.frozen is not None
            async with world.worker("B"):
                assert await started.result(60) == 5
                assert a.shell.runs.enter(started.id).instance is not None
                before = len(a.calls)
                a.thaw()
                await asyncio.sleep(60)
                assert not {("store", "append"), ("queue", "settle"), ("queue", "release")} & set(a.calls[before:])
                assert a.shell.runs.enter(started.id).instance is None, "what it had in memory is thrown away"
        check(await world.log(started))

    run(main)


def test_h108_a_result_that_asks_nothing_new_meets_another() -> None:
    """One of two steps ends on the hot path and the code waits for the other, whose result lands from elsewhere just
    before the append: the fence is lost, the fact is not, and the run ends at once.
    """

    async def main() -> None:
        world = World()

        @step(registry=world.registry)
        async def one() -> str:
            await asyncio.sleep(1)
            return "one"

        @step(registry=world.registry)
        async def two() -> str:
            await asyncio.sleep(1_000)
            return "never"

        @workflow(registry=world.registry)
        async def flow() -> str:
            return "".join(await asyncio.gather(one(), two()))

        async with world.worker("A") as a:
            await asyncio.sleep(1)
            started = await world.start(flow)
            loop = asyncio.get_running_loop()
            began = loop.time()

            def elsewhere() -> None:
                other = NewEvent(EventType.step_completed, "two#1", attempt=1, dedupe="Z.1", payload=b"\x02\xa3two")
                at_once(world.store.append([Batch(run_id=started.id, fence=None, events=(other,))]))

            a.at("append.before", a.seen.get("append.before", 0) + 2, elsewhere)
            assert await started.result(100) == "onetwo"
            assert loop.time() - began < 2
            ends = [event.entity for event in await world.log(started) if event.type is EventType.step_completed]
            assert ends == ["two#1", "one#1"]
        check(await world.log(started))

    run(main)
