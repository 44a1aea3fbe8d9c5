"""What an attempt leaves behind is freed at its end, and not by a garbage collection later. A collection stops
all bodies of the process, and finalizers of user objects would run late.
"""

from __future__ import annotations

import gc
from typing import Any

import pytest
from engine_virtual import run
from engine_world import World

from fencepost import step, workflow

STEPS = 100


@pytest.mark.parametrize("kind", ["async", "def"])
def test_a_step_leaves_no_cycles(kind: str) -> None:
    """The run itself may, once: far less than one object per step."""

    async def main() -> int:
        world = World()

        async def in_the_loop(n: int) -> int:
            return n

        def in_a_thread(n: int) -> int:
            return n

        code: Any = in_the_loop if kind == "async" else in_a_thread
        body: Any = step(registry=world.registry, name="body")(code)

        @workflow(registry=world.registry)
        async def flow() -> None:
            for n in range(STEPS):
                await body(n)

        async with world.worker("A"):
            await (await world.start(flow)).result(60)
            gc.collect()
            gc.disable()
            try:
                await (await world.start(flow)).result(60)
                return gc.collect()
            finally:
                gc.enable()

    assert run(main) < STEPS
