"""H159: workflow code that waits for what no event can bring stands in a state that says so, with the line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from engine_virtual import run
from engine_world import World

from fencepost import Workflow, step, workflow
from fencepost.authoring.registry import Registry


async def a_future() -> None:
    """Nobody sets it."""
    await asyncio.Future()  # vain: a_future


async def an_event() -> None:
    """Nobody sets it."""
    await asyncio.Event().wait()  # vain: an_event


async def a_deadlock() -> None:
    """Two tasks hold what the other one wants."""
    one, two = asyncio.Lock(), asyncio.Lock()

    async def takes(first: asyncio.Lock, second: asyncio.Lock) -> None:
        async with first:
            await asyncio.sleep(0)
            async with second:  # vain: a_deadlock
                pass

    await asyncio.gather(takes(one, two), takes(two, one))


async def an_empty_queue() -> None:
    """Nobody puts anything in."""
    await asyncio.Queue[int]().get()  # vain: an_empty_queue


WAYS: list[Callable[[], Awaitable[None]]] = [a_future, an_event, a_deadlock, an_empty_queue]


def line_of(name: str) -> str:
    """Where it waits."""
    lines = Path(__file__).read_text().split("\n")
    return f"{Path(__file__).name}:{1 + next(n for n, line in enumerate(lines) if line.endswith(f'# vain: {name}'))}"


def flow_of(registry: Registry, way: Callable[[], Awaitable[None]], steps: int) -> Workflow[..., Any]:
    """A run that comes to it after so many steps."""

    @step(registry=registry)
    async def work(n: int) -> int:
        return n

    @workflow(registry=registry, name="flow")
    async def flow() -> str:
        for n in range(steps):
            await work(n)
        await way()
        return "done"

    return flow


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_h159_a_run_that_waits_in_vain_is_parked_with_the_line(way: Callable[[], Awaitable[None]], steps: int) -> None:
    """On its first turn or later; nobody spins meanwhile; a cancellation still ends it."""

    async def main() -> None:
        world = World()
        flow = flow_of(world.registry, way, steps)
        async with world.worker("A") as a:
            await asyncio.sleep(1)
            started = await world.start(flow)
            await asyncio.sleep(60)
            info = await started.status()
            assert info.status == "parked"
            assert info.parked is not None
            assert "nothing open" in info.parked.recorded
            assert line_of(way.__name__) in info.parked.source
            loads = a.calls.count(("store", "load"))
            await asyncio.sleep(120)
            assert a.calls.count(("store", "load")) - loads < 5
            await started.cancel("enough")
            await asyncio.sleep(60)
            assert (await started.status()).status == "cancelled"

    run(main)


def test_h159_other_code_takes_it_up() -> None:
    """A build that does not wait in vain goes on from the log."""

    async def main() -> None:
        world = World(build="one")
        flow = flow_of(world.registry, a_future, 2)
        async with world.worker("A"):
            await asyncio.sleep(1)
            started = await world.start(flow)
            await asyncio.sleep(30)
            assert (await started.status()).status == "parked"
        world.registry = Registry()
        flow_of(world.registry, lambda: asyncio.sleep(0), 2)
        world.config = World(build="two").config
        async with world.worker("B"):
            assert await started.result(60) == "done"

    run(main)


def test_h159_a_run_for_which_something_is_open_is_not_parked() -> None:
    """Even if it is not what the code awaits: what comes may change that."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow() -> str:
            event = asyncio.Event()
            asyncio.get_running_loop().call_later(100, event.set)
            await event.wait()
            return "woken"

        async with world.worker("A"):
            await asyncio.sleep(1)
            started = await world.start(flow)
            await asyncio.sleep(50)
            assert (await started.status()).status == "running"
            await asyncio.sleep(80)
            assert (await started.status()).status == "completed"

    run(main)
