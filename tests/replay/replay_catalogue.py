"""The table of workflow shapes, and the race that several of them are made of.

Each shape says how its runs end and how many events they have at least. Without that, two replays of a run that fails
at once are equal, and show nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from replay_world import Flow

from fencepost import records
from fencepost_store.events import Event

SHAPES: dict[str, Flow] = {}
EXPECTED: dict[str, Expected] = {}
CANCELLED = {"cancel_requested", "child_cancel_requested"}
"""Shapes whose run is asked to cancel on the way."""


@dataclass(frozen=True, slots=True)
class Expected:
    """``ends``: the types of the run's last event, without ``run_``. ``events``: how many there are at least.
    ``error``: what the message of a failure begins with, after its class."""

    ends: tuple[str, ...]
    events: int
    error: str = ""


def shape(*ends: str, events: int, error: str = "") -> Callable[[Flow], Flow]:
    """Adds it to the table."""
    assert ("failed" in ends) == bool(error), "a shape that fails says with which error"

    def add(flow: Flow) -> Flow:
        name: str = flow.__name__  # type: ignore[attr-defined]  # pyright: ignore
        SHAPES[name], EXPECTED[name] = flow, Expected(ends, events, error)
        return flow

    return add


def check(name: str, events: Sequence[Event]) -> None:
    """Raise AssertionError unless the run of a shape went as the shape says."""
    expected, last = EXPECTED[name], events[-1]
    end = last.type.name.removeprefix("run_")
    error = ""
    if end == "failed":
        failure = records.unpack(last.payload, records.RunFailed).error
        error = f"{failure.type}: {failure.message}"
    assert end in expected.ends, f"{name} ended as {end} {error}, not as {expected.ends}"
    assert len(events) >= expected.events, f"{name} has {len(events)} events, not {expected.events}"
    assert error.startswith(expected.error), f"{name} failed with {error}, not {expected.error}"


async def first(*awaitables: Awaitable[Any]) -> Any:
    """A race: the first one's value, the losers cancelled."""
    tasks = [asyncio.ensure_future(a) for a in awaitables]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return [tasks.index(t) for t in tasks if t in done], [t.result() for t in tasks if t in done]
    finally:
        for task in tasks:
            task.cancel()
