"""The table of workflow shapes, and the race that several of them are made of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from replay_world import Flow

SHAPES: dict[str, Flow] = {}
CANCELLED = {"cancel_requested", "child_cancel_requested"}
"""Shapes whose run is asked to cancel on the way."""


def shape(flow: Flow) -> Flow:
    """Adds it to the table."""
    SHAPES[flow.__name__] = flow  # type: ignore[attr-defined]  # pyright: ignore
    return flow


async def first(*awaitables: Awaitable[Any]) -> Any:
    """A race: the first one's value, the losers cancelled."""
    tasks = [asyncio.ensure_future(a) for a in awaitables]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return [tasks.index(t) for t in tasks if t in done], [t.result() for t in tasks if t in done]
    finally:
        for task in tasks:
            task.cancel()
