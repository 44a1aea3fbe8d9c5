"""Things that must not be left behind when a signal comes while they are being made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


@asynccontextmanager
async def owned(start: Coroutine[Any, Any, T], end: Callable[[T], Awaitable[None]]) -> AsyncGenerator[T]:
    """``async with owned(start(), end) as thing``: cancelled while ``start`` is under way, wait for it to finish and
    end what it made. Counts on the demo's rule that it is cancelled once and then left to clean up.
    """
    task = asyncio.create_task(start)
    try:
        thing = await asyncio.shield(task)
    except asyncio.CancelledError:
        await end(await task)
        raise
    try:
        yield thing
    finally:
        await end(thing)
