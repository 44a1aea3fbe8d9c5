"""Hazards of the sweep after a loss of the queue's data: whoever was to do it does not get to its end. On a virtual
clock, by construction.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from engine_virtual import run
from engine_world import Member, World
from oracle import check
from tests.log_lines import captured

from fencepost import sleep, step, workflow
from fencepost_queue.protocol import QueueTrouble
from fencepost_store.protocol import StoreTrouble

LEASE = 10.0
BLOCK = 2.0
RENEWALS = 3.5
"""What a sweep waits before it begins."""


async def dies(world: World, a: Member) -> None:
    """kill -9."""
    a.store.cut = a.queue.cut = True


async def drains(world: World, a: Member) -> None:
    """SIGTERM."""
    await a.drain()


async def loses_the_store(world: World, a: Member) -> None:
    """In the middle of the sweep; this worker lives on."""
    real = world.memory.scan_deadlines

    async def scan(*args: Any) -> Any:
        world.memory.scan_deadlines = real  # type: ignore[method-assign]
        raise StoreTrouble("the connection was lost")

    world.memory.scan_deadlines = scan  # type: ignore[method-assign]


def never_hears(a: Member) -> None:
    """The answer of the claim that asks it to sweep is lost."""
    queue: Any = a.queue
    claim = queue.claim

    async def lost(*args: Any, **kwargs: Any) -> Any:
        claimed = await claim(*args, **kwargs)
        if claimed.sweep:
            del queue.claim
            raise QueueTrouble("the reply was lost")
        return claimed

    queue.claim = lost


@pytest.mark.parametrize("how", [dies, drains, loses_the_store, None], ids=lambda how: how.__name__ if how else "deaf")
def test_h127_a_sweep_that_did_not_get_to_its_end_is_done_within_a_lease(how: Any) -> None:
    """A is asked to sweep and fails at it. A step that waited for a slot, and whose message was lost, begins a lease
    later, not at its run's deadline.
    """

    async def main() -> None:
        world = World(concurrency=1)
        loop = asyncio.get_running_loop()

        bodies = 0

        @step(registry=world.registry)
        async def work() -> float:
            nonlocal bodies
            bodies += 1
            began = loop.time()
            await asyncio.sleep(200 if bodies == 1 else 0)
            return began

        @workflow(registry=world.registry)
        async def flow() -> float:
            return await work()

        async with AsyncExitStack() as stack:
            a = await stack.enter_async_context(world.worker("A"))
            await world.start(flow)
            await asyncio.sleep(0.5)
            started = await world.start(flow)
            await asyncio.sleep(0.5)
            assert await world.shape(started) == ["run_created", "run_started", "step_created work#1"]
            if how is None:
                never_hears(a)
            world.server.flush()
            flushed = loop.time()
            await asyncio.sleep(BLOCK + 0.5)
            lane = world.server.lane("default")
            assert lane.generation is not None
            assert lane.swept_until is not None
            if how is not None:
                await how(world, a)
            with captured() as logs:
                await stack.enter_async_context(world.worker("B"))
                begun = await started.result(300)
                await asyncio.sleep(LEASE)
            assert begun - flushed <= BLOCK + RENEWALS + LEASE + BLOCK + RENEWALS
            assert len([1 for line in logs if line["event"] == "reconciled" and line["full"]]) == 1
            assert lane.swept_until is None
        check(await world.log(started))

    run(main)


def test_h127_a_sweep_that_takes_longer_than_a_lease_is_nobody_elses() -> None:
    """Page by page it says that it is at it."""

    async def main() -> None:
        world = World()
        asked = 0

        @workflow(registry=world.registry)
        async def nap() -> None:
            await sleep(500)

        async with world.worker("A") as a:
            await asyncio.sleep(5)
            for _ in range(40):
                await world.start(nap)
            await asyncio.sleep(1)
            real = world.memory.scan_deadlines

            async def slowly(cursor: str | None, limit: int) -> Any:
                nonlocal asked
                asked += cursor is None
                await asyncio.sleep(LEASE * 0.9)
                return await real(cursor, 10)

            world.memory.scan_deadlines = slowly  # type: ignore[method-assign]
            world.server.flush()
            async with world.worker("B"):
                await asyncio.sleep(10 * LEASE)
                assert asked == 1
                assert world.server.lane("default").swept_until is None
            assert a.suspects == []

    run(main)


def test_h127_a_sweep_of_data_that_is_lost_again_leaves_it_to_the_next_one() -> None:
    """Another flush while it is under way: whoever finds that sweeps from the beginning, and this one stops."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def nap() -> None:
            await sleep(500)

        async with world.worker("A"):
            await asyncio.sleep(5)
            for _ in range(3):
                await world.start(nap)
            await asyncio.sleep(1)
            real = world.memory.scan_deadlines
            pages: list[str | None] = []

            async def one(cursor: str | None, limit: int) -> Any:
                pages.append(cursor)
                if len(pages) == 2:
                    world.server.flush()
                    await asyncio.sleep(BLOCK)
                return await real(cursor, 1)

            world.memory.scan_deadlines = one  # type: ignore[method-assign]
            world.server.flush()
            with captured() as logs:
                await asyncio.sleep(3 * LEASE)
            firsts = [at for at, cursor in enumerate(pages) if cursor is None]
            assert firsts == [0, 2]
            assert len(pages) == 6
            assert [line["count"] for line in logs if line["event"] == "reconciled" and line["full"]] == [3]

    run(main)
