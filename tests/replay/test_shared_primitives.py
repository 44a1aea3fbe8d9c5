"""H160: locks, events and queues of a module are shared by all runs of a process, and refused in a workflow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from replay_world import Bench, W

from fencepost.replay.limits import WorkflowRestriction
from fencepost.replay.shared_primitives import GUARDED

MAKE: dict[str, Callable[[], Any]] = {
    "Lock": asyncio.Lock,
    "Event": asyncio.Event,
    "Semaphore": lambda: asyncio.Semaphore(2),
    "Condition": asyncio.Condition,
    "Barrier": lambda: asyncio.Barrier(2),
    "Queue": asyncio.Queue[int],
    "BoundedSemaphore": lambda: asyncio.BoundedSemaphore(1),
    "PriorityQueue": asyncio.PriorityQueue[int],
}
CASES = [
    *((cls.__name__, name) for cls, names in GUARDED.items() for name in names),
    ("PriorityQueue", "get_nowait"),
    ("PriorityQueue", "put"),
]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_h160_what_a_run_has_not_made_is_refused_with_the_way_out(kind: str, name: str) -> None:
    """At once, whether or not anybody else uses it just now."""
    shared = MAKE[kind]()

    async def flow(w: W) -> object:
        method = getattr(shared, name)
        with pytest.raises(WorkflowRestriction, match="make it in the workflow"):
            method(1) if name in ("put", "put_nowait") else method()
        return None

    assert Bench(flow).asked() == ["run_completed"]


def test_h160_another_runs_are_refused_too() -> None:
    """A run that got hold of one by a global; its own it may use."""
    made: list[asyncio.Lock] = []

    async def flow(w: W) -> object:
        made.append(asyncio.Lock())
        async with made[-1]:
            pass
        if len(made) == 1:
            return "own"
        with pytest.raises(WorkflowRestriction):
            async with made[0]:
                pass
        return "refused"

    assert [Bench(flow).output(), Bench(flow).output()] == ["own", "refused"]


def test_h160_outside_a_workflow_they_are_as_they_were() -> None:
    """Made anywhere, used in any loop."""
    things = {kind: make() for kind, make in MAKE.items()}

    async def main() -> None:
        async with things["Lock"], things["Semaphore"], things["Condition"]:
            things["Event"].set()
            await things["Event"].wait()
        await things["Queue"].put(1)
        assert await things["Queue"].get() == 1
        assert things["Queue"].empty()

    asyncio.run(main())
