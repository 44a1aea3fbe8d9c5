"""Waiting for a result: pushed, found in the log, and not misled by what anybody may publish."""

from __future__ import annotations

import asyncio

import pytest
from engine_virtual import run
from engine_world import World

from fencepost import sleep, step, workflow
from fencepost.client.run import POLL_SECONDS


def test_the_end_is_pushed_and_read_from_the_log() -> None:
    """The result is there the moment the run ends, not a poll later."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def nap() -> str:
            await sleep(POLL_SECONDS * 10.25)
            return "rested"

        async with world.worker("A"):
            loop = asyncio.get_running_loop()
            began = loop.time()
            started = await world.start(nap)
            assert await started.result(60) == "rested"
            assert loop.time() - began < POLL_SECONDS * 10.25 + 0.2
            assert await started.result(60) == "rested"  # and again, when it has long ended

    run(main)


@pytest.mark.parametrize("hint", [b"", b"1", b"3", b"99999", b"9" * 30, b"-1", "²".encode(), b"\xff"])
def test_a_false_hint_is_only_a_reason_to_look(hint: bytes) -> None:
    """Whatever it says, the answer comes from the log: the run has not ended, so nothing is returned yet."""

    async def main() -> None:
        world = World()

        @step(registry=world.registry)
        async def slow() -> int:
            await asyncio.sleep(5)
            return 7

        @workflow(registry=world.registry)
        async def flow() -> int:
            return await slow()

        async with world.worker("A"):
            started = await world.start(flow)
            waiting = asyncio.create_task(started.result(60))
            for _ in range(3):
                await asyncio.sleep(1)
                await world.server.client("liar").publish(f"ended:{started.id}", hint)
            assert not waiting.done()
            assert await waiting == 7

    run(main)
