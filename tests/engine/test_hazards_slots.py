"""Waiting takes no slot (H51). On a virtual clock, by construction."""

from __future__ import annotations

import asyncio

from engine_virtual import run
from engine_world import World

from fencepost import step, workflow


def test_h51_recursive_children_complete_with_one_slot() -> None:
    """Parents wait for children that wait for children, and at the bottom there are bodies to be run: one worker, one
    slot.
    """

    async def main() -> None:
        world = World(concurrency=1)

        @step(registry=world.registry)
        async def one() -> int:
            await asyncio.sleep(0.01)
            return 1

        @workflow(registry=world.registry)
        async def fib(n: int) -> int:
            if n < 2:
                return await one() if n else 0
            return sum(await asyncio.gather(fib(n - 1), fib(n - 2)))

        async with world.worker("A") as a:
            assert await (await world.start(fib, 7)).result(60) == 13
            await asyncio.sleep(0.001)
            assert a.shell.slots.taken == 0

    run(main)
