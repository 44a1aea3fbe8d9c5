"""Shapes of the fault sweep with children, and with runs that continue as new."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from engine_world import World

from fencepost import ChildCancelled, ChildFailed, continue_as_new, now, sleep, step, workflow
from fencepost.authoring.workflow import Workflow

Bodies = Counter[str]


def _one(world: World, bodies: Bodies) -> Callable[[int], Awaitable[int]]:
    @step(registry=world.registry)
    async def one(n: int) -> int:
        bodies[f"one{n}"] += 1
        return n

    return one


def _lasting(world: World, bodies: Bodies) -> Workflow[[], int]:
    """A child that never ends by itself, and cleans up with a step."""

    @step(registry=world.registry)
    async def work() -> None:
        bodies["work"] += 1
        await asyncio.sleep(5_000)

    @step(registry=world.registry)
    async def undo() -> None:
        bodies["undo"] += 1

    @workflow(registry=world.registry)
    async def lasting() -> int:
        try:
            await work()
        finally:
            await undo()
        return 100

    return lasting


def child(world: World, bodies: Bodies) -> Workflow[..., Any]:
    """A child with a child: each is awaited."""
    one = _one(world, bodies)

    @workflow(registry=world.registry)
    async def inner(n: int) -> int:
        return await one(n)

    @workflow(registry=world.registry)
    async def outer(n: int) -> int:
        return await inner(n) + await inner(n + 1)

    @workflow(registry=world.registry)
    async def main() -> int:
        return await outer(1) + await one(1)

    return main


def children(world: World, bodies: Bodies) -> Workflow[..., Any]:
    """Several at once, beside a step; one of them fails."""
    one = _one(world, bodies)

    @workflow(registry=world.registry)
    async def part(n: int) -> int:
        if n == 3:
            raise ValueError(str(await one(n)))
        return await one(n)

    @workflow(registry=world.registry)
    async def main() -> int:
        found = await asyncio.gather(part(1), part(2), part(3), one(4), return_exceptions=True)
        failed = found[2]
        assert isinstance(failed, ChildFailed)
        cause = failed.__cause__
        assert isinstance(cause, ValueError)
        return sum(n for n in found if isinstance(n, int)) - int(str(cause))

    return main


def child_given_up(world: World, bodies: Bodies) -> Workflow[..., Any]:
    """A child out of time: it is asked to cancel, and the parent goes on when its cleanup is over."""
    lasting = _lasting(world, bodies)

    @workflow(registry=world.registry)
    async def main() -> int:
        try:
            async with asyncio.timeout(2):
                return await lasting()
        except TimeoutError:
            return 4

    return main


def child_handle(world: World, bodies: Bodies) -> Workflow[..., Any]:
    """A child that is started, cancelled by its handle, and awaited."""
    lasting = _lasting(world, bodies)

    @workflow(registry=world.registry)
    async def main() -> int:
        handle = lasting.start()
        await sleep(1)
        handle.cancel("4")
        try:
            return await handle.result()
        except ChildCancelled as cancelled:
            return int(cancelled.message)

    return main


def _closing(policy: Any) -> Callable[[World, Bodies], Workflow[..., Any]]:
    def closing(world: World, bodies: Bodies) -> Workflow[..., Any]:
        lasting = _lasting(world, bodies)
        one = _one(world, bodies)

        @workflow(registry=world.registry)
        async def left() -> int:
            await sleep(3)
            return await one(4)

        @workflow(registry=world.registry)
        async def main() -> int:
            flow = left if policy == "abandon" else lasting
            flow.with_options(parent_close=policy).start()
            await sleep(1)
            if policy == "abandon":
                left.with_options(parent_close=policy).start()  # in one batch with the end
            return 4

        return main

    closing.__name__ = f"closing_{policy}"
    closing.__doc__ = f"The parent ends first; its children are to be: {policy}."
    return closing


def continued(world: World, bodies: Bodies) -> Workflow[..., Any]:
    """A chain of runs, each with a step; the first one has the key's place."""
    one = _one(world, bodies)

    @workflow(registry=world.registry)
    async def main(n: int = 1) -> int:
        await one(n)
        if n < 4:
            continue_as_new(n + 1)
        return n

    return main


def continued_child(world: World, bodies: Bodies) -> Workflow[..., Any]:
    """A child that continues as new is one child to its parent; it is asked to cancel in the last run of its chain."""
    one = _one(world, bodies)

    @workflow(registry=world.registry)
    async def counting(n: int, until: int) -> int:
        began = now()
        await one(n)
        await sleep(1)
        if n < until:
            continue_as_new(n + 1, until)
        return n if now() > began else 0

    @workflow(registry=world.registry)
    async def main() -> int:
        first = await counting(2, 3)
        endless = counting.start(10, 1_000_000)
        await sleep(1.5)
        endless.cancel("1")
        try:
            return await endless.result()
        except ChildCancelled as cancelled:
            return first + int(cancelled.message)

    return main


CHILDREN: list[tuple[Callable[[World, Bodies], Workflow[..., Any]], int]] = [
    (child, 4),
    (children, 2),
    (child_given_up, 2),
    (child_handle, 2),
    (_closing("cancel"), 2),
    (_closing("abandon"), 4),
    (_closing("terminate"), 2),
    (continued, 2),
    (continued_child, 2),
]
"""Each with how often one body may run at most, a fault included. Where a name stands for several steps, for all of
them."""
