"""Hazards of waits: wakes that come early or twice, and sleeps longer than any queue's delay. On a virtual clock."""

from __future__ import annotations

import asyncio

from engine_virtual import run
from engine_world import World
from oracle import check

from fencepost import sleep, workflow
from fencepost_queue.protocol import Entry, tick_key

YEAR = 366 * 86_400.0


def test_h46_a_wake_that_comes_early_or_twice_is_armed_again() -> None:
    """Ticks in the middle of a sleep, two at once, on two workers: it ends at its time, once."""

    async def main() -> None:
        world = World()
        loop = asyncio.get_running_loop()

        @workflow(registry=world.registry)
        async def flow() -> float:
            await sleep(100)
            return loop.time()

        async with world.worker("A"), world.worker("B"):
            await asyncio.sleep(1)
            began = loop.time()
            started = await world.start(flow)
            waker = world.server.client("waker")
            for _ in range(10):
                await asyncio.sleep(5)
                for _ in range(2):
                    await waker.enqueue([Entry("default", tick_key(started.id))])
            assert 100 <= await started.result(200) - began < 101
        check(await world.log(started))

    run(main)


def test_h47_a_hundred_sleeps_of_a_year_hold_nothing_in_the_queue() -> None:
    """A row each. The queue learns of one when it is near, and each wakes at its time."""

    async def main() -> None:
        world = World()
        loop = asyncio.get_running_loop()

        @workflow(registry=world.registry)
        async def flow(n: int) -> float:
            await sleep(YEAR + n)
            return loop.time()

        async with world.worker("A"):
            await asyncio.sleep(1)
            began = loop.time()
            runs = [await world.start(flow, n) for n in range(100)]
            await asyncio.sleep(60)
            (lane,) = await world.server.client("look").depth()
            assert (lane.ready, lane.leased, lane.delayed) == (0, 0, 0)
            assert None not in [(await started.status()).wake_at for started in runs]
            world.config = World(cache_instances_max=10).config
        # The year passes without a worker; one comes when the first are near.
        await asyncio.sleep(YEAR - 300)
        async with world.worker("B"):
            await asyncio.sleep(120)
            (lane,) = await world.server.client("look").depth()
            assert lane.delayed > 0
            late = [await runs[n].result(2_000) - began - YEAR - n for n in (0, 50, 99)]
            assert all(0 <= seconds < 2 for seconds in late), late

    run(main)
