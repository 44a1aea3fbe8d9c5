"""Enters what ``authoring/worker_life.py`` has registered, and leaves it at the worker's end.

All of it is entered and left in one task of its own, for task groups and cancel scopes must be left where they were
entered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

from fencepost.engine.tasks import live
from fencepost.telemetry import note

SHUTDOWN_SECONDS = 10.0
"""What all shutdown code of a process gets together: by then its bodies have had ``drain_seconds``."""

Lifespan = tuple[str, Callable[[], AbstractAsyncContextManager[Any]]]


class StartupFailed(Exception):
    """Startup code of the user's raised: the worker does not start."""


class WorkerLife:
    """``start`` returns when everything has been entered; ``stop`` when everything has been left, or given up."""

    def __init__(self, lifespans: Sequence[Lifespan]) -> None:
        self._lifespans = tuple(lifespans)
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises StartupFailed, with the place of the code and its error as the cause."""
        if not self._lifespans:
            return
        entered = asyncio.Event()
        self._task = asyncio.create_task(self._live(entered), name="worker lifespan")
        entering = asyncio.create_task(entered.wait())
        try:
            await asyncio.wait({self._task, entering}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._task.cancel()
            raise
        finally:
            entering.cancel()
        if self._task.done():
            task, self._task = self._task, None
            task.result()

    async def stop(self) -> None:
        """Idempotent. Raises nothing: what shutdown code raises, or that it takes too long, is logged."""
        task, self._task = self._task, None
        if task is None:
            return
        self._stop.set()
        await asyncio.wait({task}, timeout=SHUTDOWN_SECONDS)
        if not task.done():
            note("shutdown_failed", code="all of it", error=f"it has not ended within {SHUTDOWN_SECONDS:g} s")
            task.cancel()
            await asyncio.wait({task}, timeout=1.0)

    async def _live(self, entered: asyncio.Event) -> None:
        live()
        async with AsyncExitStack() as stack:
            for place, lifespan in self._lifespans:
                await _enter(stack, place, lifespan)
            entered.set()
            await self._stop.wait()


async def _enter(stack: AsyncExitStack, place: str, lifespan: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
    try:
        made = lifespan()
        await made.__aenter__()
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) and _asked_to_end():
            raise
        raise StartupFailed(f"startup code {place} raised {type(error).__name__}: {error}") from error

    async def leave() -> None:
        try:
            await made.__aexit__(None, None, None)
        except BaseException as error:  # told; the next one is left all the same
            if isinstance(error, asyncio.CancelledError) and _asked_to_end():
                raise
            note("shutdown_failed", code=place, error=f"{type(error).__name__}: {error}")

    stack.push_async_callback(leave)


def _asked_to_end() -> bool:
    """True if the worker has cancelled the task. A CancelledError that it has not sent is the code's own."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
