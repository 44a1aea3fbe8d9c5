"""A worker whose startup code leaves a task that blocks the loop for longer than a lease, once."""

from __future__ import annotations

import asyncio
import time

from kill_flows import blocked_beyond, bystander

from fencepost import on_startup

__all__ = ["blocked_beyond", "bystander"]
kept: list[asyncio.Task[None]] = []


@on_startup
async def begins() -> None:
    """Blocks when the worker consumes already."""
    kept.append(asyncio.create_task(_blocks()))


async def _blocks() -> None:
    await asyncio.sleep(1)
    time.sleep(5)  # noqa: ASYNC251 - it is the point
