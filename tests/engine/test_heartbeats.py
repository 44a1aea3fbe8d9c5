"""Heartbeats: liveness within ``heartbeat_timeout``, and details for the next attempt. On a virtual clock."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from engine_virtual import run
from engine_world import World, at_once
from oracle import check

from fencepost import current, errors, step, workflow
from fencepost_store.events import EventType, NewEvent
from fencepost_store.protocol import Batch, StoreTrouble


def flow_of(world: World, body: Any, **given: Any) -> Any:
    """A workflow of this one step; it answers the bound that was hit, if one was."""
    options: dict[str, Any] = {"first_delay": 0.0, **given}
    work: Any = step(registry=world.registry, name="work", **options)(body)

    @workflow(registry=world.registry)
    async def flow() -> Any:
        try:
            return await work()
        except errors.StepTimeout as timeout:
            return timeout.which

    return flow


def test_a_silent_attempt_is_ended_and_tried_again_and_a_lively_one_is_not() -> None:
    """The first attempt falls silent after three beats; the second beats to its end, far beyond the timeout."""

    async def main() -> None:
        world = World()
        loop = asyncio.get_running_loop()
        began: list[float] = []
        stopped: list[float] = []

        async def body() -> str:
            began.append(loop.time())
            try:
                for _ in range(3 if len(began) == 1 else 40):
                    await asyncio.sleep(4)
                    current().heartbeat()
                if len(began) == 1:
                    await asyncio.sleep(1_000)
            except asyncio.CancelledError:
                stopped.append(loop.time())
                raise
            return f"attempt {current().attempt}"

        flow = flow_of(world, body, heartbeat_timeout=5)
        async with world.worker("A"):
            started = await world.start(flow)
            assert await started.result(600) == "attempt 2"
        assert stopped[0] - began[0] == pytest.approx(12 + 5, abs=0.001)
        check(await world.log(started))

    run(main)


def test_silence_on_every_attempt_is_a_timeout_that_names_itself() -> None:
    async def main() -> None:
        world = World()

        async def body() -> None:
            await asyncio.sleep(1_000)

        flow = flow_of(world, body, heartbeat_timeout=5, timeout=100, retries=1)
        async with world.worker("A"):
            started = await world.start(flow)
            assert await started.result(600) == "heartbeat_timeout"
            types = [event.type for event in await world.log(started)]
            assert types.count(EventType.step_started) == 2

    run(main)


def test_the_next_attempt_receives_the_last_details_after_an_error() -> None:
    """Whatever had not been written yet is written before the retry; typed; and gone with the step's end."""

    async def main() -> None:
        world = World()
        seen: list[Any] = []

        async def body() -> str:
            context = current()
            seen.append(context.heartbeat_details(list[int]))
            if context.attempt < 3:
                for n in range(10):
                    context.heartbeat([context.attempt, n])
                raise ValueError
            return "done"

        flow = flow_of(world, body)
        async with world.worker("A") as a:
            started = await world.start(flow)
            assert await started.result(60) == "done"
            await asyncio.sleep(1)
            assert seen == [None, [1, 9], [2, 9]]
            assert await world.memory.last_beat(started.id, "work#1") is None
            assert a.calls.count(("store", "beat")) <= 4, "coalesced"
            assert ("store", "forget_beat") in a.calls

    run(main)


def test_beats_are_written_once_per_period_and_never_into_the_log() -> None:
    """10,000 beats in 100 s: a hundred writes, and no event."""

    async def main() -> None:
        world = World()

        async def body() -> None:
            for n in range(10_000):
                current().heartbeat(n)
                await asyncio.sleep(0.01)

        flow = flow_of(world, body)
        async with world.worker("A") as a:
            started = await world.start(flow)
            await started.result(200)
            assert 90 <= a.calls.count(("store", "beat")) <= 102
        assert len(await world.log(started)) == 6

    run(main)


def test_a_step_that_never_beats_costs_no_call_more() -> None:
    async def main() -> None:
        world = World()

        async def body() -> None:
            await asyncio.sleep(1)

        flow = flow_of(world, body, heartbeat_timeout=5)
        async with world.worker("A") as a:
            await (await world.start(flow)).result(60)
            await asyncio.sleep(1)
            assert not {name for _, name in a.calls} & {"beat", "last_beat", "forget_beat"}

    run(main)


def test_h125_a_zombies_beats_are_not_kept_and_it_is_told() -> None:
    """Another attempt has been started: the old one's details are refused, and its ``cancelled`` is raised."""

    async def main() -> None:
        world = World()
        told: list[bool] = []

        async def body() -> str:
            context = current()
            if context.attempt == 1:
                context.heartbeat("mine")
                await asyncio.sleep(2)
                start = NewEvent(EventType.step_started, "work#1", attempt=2, dedupe="B.1")
                at_once(world.store.append([Batch(started.id, None, (start,))]))
                context.heartbeat("zombie's")
                await asyncio.sleep(2)
                told.append(context.cancelled)
            return "done"

        flow = flow_of(world, body)
        async with world.worker("A"):
            started = await world.start(flow)
            await asyncio.sleep(3.5)
            assert (await world.memory.last_beat(started.id, "work#1") or b"").endswith(b"mine")
            assert await started.result(60) == "done"
            assert told == [True]

    run(main)


def test_h125_an_end_that_does_not_land_leaves_the_details_to_the_next_attempt() -> None:
    """Trouble with the store when the attempt is through: it is handed back, and done again from where it was."""

    async def main() -> None:
        world = World()
        seen: list[Any] = []

        async def body() -> str:
            seen.append(current().heartbeat_details(str))
            current().heartbeat(f"by {current().attempt}")
            await asyncio.sleep(2)
            return "done"

        def away() -> None:
            raise StoreTrouble("away")

        flow = flow_of(world, body)
        async with world.worker("A") as a:
            a.at("append.before", 2, away)
            assert await (await world.start(flow)).result(60) == "done"
        assert seen == [None, "by 1"]

    run(main)


def test_trouble_while_a_beat_is_written_does_not_end_the_body() -> None:
    """It is written a period later, or a newer one is."""

    async def main() -> None:
        world = World()
        fails = [3]
        kept = world.memory.beat

        async def beat(*args: Any) -> bool:
            if fails[0]:
                fails[0] -= 1
                raise StoreTrouble("away")
            return await kept(*args)

        world.memory.beat = beat  # type: ignore[method-assign]

        async def body() -> str:
            current().heartbeat("x")
            await asyncio.sleep(10)
            last = await world.memory.last_beat(current().run_id, "work#1")
            return "kept" if last is not None else "lost"

        flow = flow_of(world, body)
        async with world.worker("A"):
            assert await (await world.start(flow)).result(60) == "kept"

    run(main)


def test_a_thread_beats_too_and_knows_its_attempt() -> None:
    """A ``def`` body: the same context, in another thread's copy."""

    async def main() -> None:
        world = World()
        seen: list[Any] = []

        def body() -> None:
            context = current()
            seen.append((context.queue, context.deadline is not None, context.heartbeat_details()))
            context.heartbeat({"at": 7})
            if context.attempt == 1:
                raise ValueError

        flow = flow_of(world, body, timeout=30)
        async with world.worker("A"):
            await (await world.start(flow)).result(60)
        assert seen == [("default", True, None), ("default", True, {"at": 7})]

    run(main)


def test_details_too_large_and_other_processes_are_refused_where_they_are_called() -> None:
    async def main() -> None:
        world = World()

        async def body() -> str:
            with pytest.raises(errors.PayloadTooLarge, match="65,536"):
                current().heartbeat("x" * 70_000)
            return "went on"

        flow = flow_of(world, body)
        async with world.worker("A"):
            assert await (await world.start(flow)).result(60) == "went on"

    run(main)
