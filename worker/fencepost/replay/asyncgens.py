"""Async generators that workflow code leaves suspended.

``break`` out of ``async for`` drops the generator, and its finally block then runs in a task, as in asyncio. Dropped
means by reference count, which is deterministic; the cyclic collector comes at a moment of its own. What that finds
is kept until the end of the run and closed then, so that no task appears at a moment that differs from replay to
replay.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from fencepost.replay.budget import this_thread

if TYPE_CHECKING:
    from fencepost.replay.loop import WorkflowLoop

_collecting: list[int] = []  # the thread in which the cyclic collector runs, if it does


def _on_collection(phase: str, info: dict[str, int]) -> None:
    if phase == "start":
        _collecting.append(this_thread())
    elif _collecting:
        _collecting.pop()


gc.callbacks.append(_on_collection)


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
        if self._loop.entered and this_thread() not in _collecting:
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
