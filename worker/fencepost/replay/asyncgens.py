"""Async generators that workflow code leaves suspended, and the cyclic garbage collector that may find them.

``break`` out of ``async for`` drops the generator, and its finally block then runs in a task, as in asyncio. Dropped
means by reference count, which is deterministic. The cyclic collector comes at a moment of its own, so it is held still
while a loop is driven; what it finds between turns is kept until the run's end and closed then. Thus no task appears at
a moment that differs from replay to replay.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from fencepost.replay.budget import mutex

if TYPE_CHECKING:
    from fencepost.replay.loop import WorkflowLoop


class CollectorPause:
    """Holds the automatic collector still while at least one thread drives a loop. The switch is the process's."""

    __slots__ = ("_held", "_lock", "_restore")

    def __init__(self) -> None:
        self._lock = mutex()
        self._held = 0
        self._restore = False

    def begin(self) -> None:
        """One more loop is driven."""
        with self._lock:
            if self._held == 0:
                self._restore = gc.isenabled()
                gc.disable()
            self._held += 1

    def end(self) -> None:
        """One less. The last one gives back what the first one found."""
        with self._lock:
            self._held -= 1
            if self._held == 0 and self._restore:
                gc.enable()


class AsyncGenerators:
    """The hooks of one loop (``sys.set_asyncgen_hooks``)."""

    __slots__ = ("_found", "_live", "_loop")

    def __init__(self, loop: WorkflowLoop) -> None:
        self._loop = loop
        self._live: weakref.WeakSet[AsyncGenerator[Any, Any]] = weakref.WeakSet()
        self._found: list[AsyncGenerator[Any, Any]] = []

    def started(self, generator: AsyncGenerator[Any, Any]) -> None:
        """First iteration. Held weakly: a strong reference would keep a dropped generator from being closed."""
        self._live.add(generator)

    def abandoned(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Dropped while suspended."""
        self._live.discard(generator)
        if self._loop.entered:
            self._loop.call_soon(self._close, generator)
        elif not self._loop.fencepost_instance.evicted:
            self._found.append(generator)

    def close_all(self) -> None:
        """Close what is still suspended."""
        generators = [*self._found, *self._live]
        self._found.clear()
        self._live.clear()
        for generator in generators:
            self._close(generator)

    def _close(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._loop.spawn(generator.aclose(), "aclose")
