"""A workflow to cancel, and how its end is waited for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from engine_world import World

from fencepost import errors, sleep, step, workflow
from fencepost.authoring.workflow import Workflow
from fencepost.client.run import Run


class Tidy:
    """A workflow whose only step takes for ever, and that tidies up for ``undo_seconds`` in a step."""

    def __init__(self, world: World, undo_seconds: float = 5.0) -> None:
        self.stopped: list[float] = []
        self.undone: list[str] = []

        @step(registry=world.registry)
        async def work() -> None:
            try:
                await asyncio.sleep(1_000_000)
            finally:
                self.stopped.append(asyncio.get_running_loop().time())

        @step(registry=world.registry)
        async def undo(why: str) -> None:
            await asyncio.sleep(undo_seconds)
            self.undone.append(why)

        @workflow(registry=world.registry)
        async def flow() -> str:
            try:
                await work()
            except asyncio.CancelledError as cancelled:
                await sleep(1)
                await undo(str(cancelled))
                raise
            return "worked"

        @workflow(registry=world.registry)
        async def stubborn() -> str:
            while True:
                try:
                    await work()
                except asyncio.CancelledError as cancelled:
                    if "now" in str(cancelled):
                        return "as you wish"

        self.flow, self.stubborn = flow, stubborn


async def ends(started: Run[Any], seconds: float = 300) -> errors.RunCancelled:
    """Wait for a run that is to end without a result."""
    with pytest.raises(errors.RunCancelled) as caught:
        await started.result(seconds)
    return caught.value


async def under_way(world: World, flow: Workflow[..., Any]) -> Run[Any]:
    """A run that waits for its step."""
    started = await world.start(flow)
    await asyncio.sleep(1)
    return started
