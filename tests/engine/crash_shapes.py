"""The workflows that the fault sweep drives: each a shape of what a run can be doing when something goes wrong."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from crash_children import CHILDREN
from engine_world import World

from fencepost import continue_as_new, hook, patched, sleep, step, stream, workflow
from fencepost.authoring.workflow import Workflow

Bodies = Counter[str]
Signal = Callable[[World], Awaitable[None]]
Shape = Callable[[World, Bodies], Workflow[..., Any]]


async def no_signal(world: World) -> None:
    """No signal is sent."""


async def _signals(world: World) -> None:
    client = world.client()
    for n in range(3):
        while True:
            try:
                await client.resume("token", n, id=f"delivery-{n}")
                break
            except LookupError:
                await asyncio.sleep(0.5)


async def _cancels(world: World) -> None:
    await asyncio.sleep(0.5)
    client = world.client()
    (started,) = await client.list()
    await client.run(started.id).cancel("4", grace=60)


def sequence(world: World, bodies: Bodies) -> Workflow[..., Any]:
    """Steps one after another: the hot path."""

    @step(registry=world.registry)
    async def one(n: int) -> int:
        bodies[f"one{n}"] += 1
        return n + 1

    @workflow(registry=world.registry)
    async def main() -> int:
        x = 0
        for _ in range(4):
            x = await one(x)
        return x

    return main


def sequence_with_pending_wait(world: World, bodies: Bodies) -> Workflow[..., Any]:
    """The same under a timeout that never comes: a wait is pending all the time."""

    @step(registry=world.registry)
    async def one(n: int) -> int:
        bodies[f"one{n}"] += 1
        return n + 1

    @workflow(registry=world.registry)
    async def main() -> int:
        x = 0
        async with asyncio.timeout(500):
            for _ in range(4):
                x = await one(x)
        return x

    return main


def fan(world: World, bodies: Bodies) -> Workflow[..., Any]:
    """More parallel steps than slots."""

    @step(registry=world.registry)
    async def one(n: int) -> int:
        bodies[f"one{n}"] += 1
        await asyncio.sleep(0.01 * n)
        return n + 1

    @workflow(registry=world.registry)
    async def main() -> int:
        return sum(await asyncio.gather(*(one(n) for n in range(6)))) - 17

    return main


def retry_and_sleep(world: World, bodies: Bodies) -> Workflow[..., Any]:
    """A step that fails twice, and sleeps around it."""

    @step(registry=world.registry, first_delay=1.0)
    async def flaky() -> int:
        bodies["flaky"] += 1
        if bodies["flaky"] < 3:
            raise ValueError("not yet")
        return 3

    @workflow(registry=world.registry)
    async def main() -> int:
        await sleep(2)
        x = await flaky()
        await sleep(2)
        return x + 1

    return main


def race(world: World, bodies: Bodies) -> Workflow[..., Any]:
    """A hook against a sleep, three times, with a step on whichever branch wins."""

    @step(registry=world.registry)
    async def took(n: int) -> int:
        bodies[f"took{n}"] += 1
        return n

    @workflow(registry=world.registry)
    async def main() -> int:
        total = 0
        async with hook(int, token="token") as numbers:
            for _ in range(3):
                async with asyncio.timeout(400):
                    total += await took(await numbers)
        return total + 1

    return main


def contended(world: World, bodies: Bodies) -> Workflow[..., Any]:
    """Steps in sequence and in parallel beside a hook that nobody awaits: signals to it move the fence anywhere."""

    @step(registry=world.registry)
    async def one(n: int) -> int:
        bodies[f"one{n}"] += 1
        await asyncio.sleep(0.01)
        return n

    @workflow(registry=world.registry)
    async def main() -> int:
        async with hook(int, token="spare"):
            a = await one(1)
            b = sum(await asyncio.gather(one(2), one(3), one(4)))
            await sleep(1)
            return await one(5) + a + b - 11

    return main


def cancelled(world: World, bodies: Bodies) -> Workflow[..., Any]:
    """Cancelled from outside while its steps run; cleans up with a step and a sleep, and ends cancelled. The answer is
    the reason.
    """

    @step(registry=world.registry)
    async def work(n: int) -> None:
        bodies[f"work{n}"] += 1
        await asyncio.sleep(5_000)

    @step(registry=world.registry)
    async def undo() -> None:
        bodies["undo"] += 1
        await asyncio.sleep(0.2)

    @workflow(registry=world.registry)
    async def main() -> None:
        try:
            await asyncio.gather(work(1), work(2))
        finally:
            await sleep(1)
            await undo()

    return main


def out_of_grace(world: World, bodies: Bodies) -> Workflow[..., Any]:
    """Its cleanup outlasts the grace that the cancellation gave: terminated."""

    @step(registry=world.registry)
    async def work(n: int) -> None:
        bodies[f"work{n}"] += 1
        await asyncio.sleep(5_000)

    @workflow(registry=world.registry, name="out_of_grace")
    async def main() -> None:
        try:
            await work(1)
        finally:
            await work(2)

    return main


def patches(world: World, bodies: Bodies) -> Workflow[..., Any]:
    """Changes of the code: between steps, in parallel tasks, beside a hook whose signals move the fence anywhere."""

    @step(registry=world.registry)
    async def one(n: int) -> int:
        bodies[f"one{n}"] += 1
        return n

    async def branch(n: int) -> int:
        return await one(n) if patched(f"b{n}") else 100

    @workflow(registry=world.registry)
    async def main() -> int:
        async with hook(int, token="spare"):
            a = await one(1)
            a += await one(2) if patched("middle") else 100
            b = sum(await asyncio.gather(branch(3), branch(4)))
            return a + b - 6 if patched("last") and patched("middle") else 100

    return main


def streaming(world: World, bodies: Bodies) -> Workflow[..., Any]:
    """One step writes a stream while another reads it, and the workflow writes one itself; in the end each chunk is
    there once.
    """

    @step(registry=world.registry)
    async def produce() -> None:
        bodies["produce"] += 1
        async with stream("numbers", int, on_retry="continue") as out:
            for n in range(4):
                await out.write(n)
                await asyncio.sleep(0.01)

    @step(registry=world.registry)
    async def consume() -> list[int]:
        bodies["consume"] += 1
        return [n async for n in stream("numbers", int).read()]

    @step(registry=world.registry)
    async def look() -> list[int]:
        bodies["look"] += 1
        return [n async for n in stream("progress", int).read()]

    @workflow(registry=world.registry)
    async def main() -> int:
        async with stream("progress", int) as progress:
            await progress.write(7)
            _, read = await asyncio.gather(produce(), consume())
            await progress.write(8)
        return 4 if (read, await look()) == ([0, 1, 2, 3], [7, 8]) else 0

    return main


def handed_on(world: World, bodies: Bodies) -> Workflow[..., Any]:
    """A chain of runs that take one signal each, while others come: H173, H174, H175."""

    @step(registry=world.registry)
    async def note(generation: int) -> int:
        bodies[f"note{generation}"] += 1
        return generation

    @workflow(registry=world.registry)
    async def main(total: int = 1, generation: int = 1) -> int:
        async with hook(int, token="token") as numbers:
            total += await numbers
            await note(generation)
            if generation < 3:
                continue_as_new(total, generation + 1)
        return total

    return main


SHAPES: list[tuple[Shape, Signal, int]] = [
    (sequence, no_signal, 2),
    (sequence_with_pending_wait, no_signal, 2),
    (fan, no_signal, 2),
    (retry_and_sleep, no_signal, 5),
    (race, _signals, 2),
    (contended, no_signal, 2),
    (cancelled, _cancels, 2),
    (out_of_grace, _cancels, 3),
    (patches, no_signal, 2),
    (streaming, no_signal, 2),
    (handed_on, _signals, 2),
    *((shape, no_signal, most) for shape, most in CHILDREN),
]
