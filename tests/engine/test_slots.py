"""How many bodies run at once, and who gets the slot of one that has ended."""

from __future__ import annotations

import asyncio

from engine_flows import land_signal, race_flow
from engine_virtual import run
from engine_world import World

from fencepost import step, workflow
from fencepost.engine.slots import Slots
from fencepost_store.events import Event, EventType


def test_a_saturated_worker_stays_on_the_hot_path() -> None:
    """With as many slots as runs, each step's end and the next step's start still share an append: slots pass on, also
    when all bodies end at once.
    """

    async def main() -> None:
        world = World(concurrency=4)
        running: list[int] = []

        @step(registry=world.registry)
        async def body(n: int) -> int:
            running.append(n)
            assert len(running) <= 4, "four slots, four bodies"
            await asyncio.sleep(1)
            running.remove(n)
            return n

        @workflow(registry=world.registry)
        async def chain(count: int) -> int:
            return sum([await body(n) for n in range(count)])

        async with world.worker("A") as a:
            await asyncio.sleep(1)
            started = [await world.start(chain, 10) for _ in range(4)]
            assert [await one.result(60) for one in started] == [45] * 4
            starts = [e for one in started for e in await world.log(one) if e.type is EventType.step_started]
            assert len(starts) == 40
            assert {by_itself(await world.log(one)) for one in started} == {0}
            await handlers_return()
            assert a.shell.slots.taken == 0

    run(main)


def test_steps_that_did_not_land_give_their_slots_back() -> None:
    """The turn at the timeout has taken a slot for the step that it creates, and loses its fence to a signal."""

    async def main() -> None:
        world = World(concurrency=1)
        flow = race_flow(world)
        async with world.worker("A") as a:
            await asyncio.sleep(1)
            started = await world.start(flow)
            await asyncio.sleep(99)
            conflicts: list[int] = []

            def outrun() -> None:
                conflicts.append(a.shell.slots.taken)
                land_signal(world, "t", 7)

            a.at("append.before", a.seen["append.before"] + 1, outrun)
            assert await started.result(10) == "drained 7"
            assert conflicts == [1], "a slot was taken for what did not land"
            await handlers_return()
            assert a.shell.slots.taken == 0

    run(main)


def test_a_gather_on_one_slot_runs_its_bodies_one_by_one() -> None:
    """What the ended body's slot allows is one more body, not all that the workflow asks for."""

    async def main() -> None:
        world = World(concurrency=1)
        running: list[int] = []

        @step(registry=world.registry)
        async def body(n: int) -> int:
            running.append(n)
            assert len(running) == 1, "one slot, one body"
            await asyncio.sleep(1)
            running.remove(n)
            return n

        @workflow(registry=world.registry)
        async def fan() -> int:
            first = await body(100)
            return first + sum(await asyncio.gather(*(body(n) for n in range(4))))

        async with world.worker("A") as a:
            started = await world.start(fan)
            assert await started.result(60) == 106
            await handlers_return()
            assert a.shell.slots.taken == 0

    run(main)


def test_a_draining_worker_takes_no_next_step() -> None:
    """H54: the body under way ends, its result lands, and the next step is left to the other worker."""

    async def main() -> None:
        world = World()

        @step(registry=world.registry)
        async def body(n: int) -> int:
            await asyncio.sleep(5)
            return n

        @workflow(registry=world.registry)
        async def chain() -> int:
            return sum([await body(n) for n in range(3)])

        async with world.worker("A") as a:
            started = await world.start(chain)
            await asyncio.sleep(1)
            a.shell.slots.close()
            async with world.worker("B"):
                assert await started.result(60) == 3
            assert a.shell.slots.taken == 0
        starts = [e.dedupe or "" for e in await world.log(started) if e.type is EventType.step_started]
        assert [owner[0] for owner in starts] == ["A", "B", "B"]

    run(main)


def test_closed_slots_are_neither_free_nor_passed_on() -> None:
    """Whatever is given back."""
    slots = Slots(2)
    slots.take()
    assert (slots.free, slots.room) == (1, True)
    slots.take()
    assert (slots.free, slots.room) == (0, False)
    with slots.ending():
        assert (slots.free, slots.room) == (0, True)
        slots.take()
        assert (slots.free, slots.room) == (-1, False)
    slots.give(2)
    assert (slots.free, slots.room) == (1, True)
    slots.close()
    with slots.ending():
        assert (slots.free, slots.room) == (0, False)


def by_itself(log: list[Event]) -> int:
    """How many steps but the first were not started by the append that brought the end of the one before."""
    starts = [event.dedupe for event in log if event.type is EventType.step_started]
    ends = [event.dedupe for event in log if event.type is EventType.step_completed]
    return sum(start != end for start, end in zip(starts[1:], ends, strict=False))


async def handlers_return() -> None:
    """Let handlers that have settled return."""
    await asyncio.sleep(0.001)
