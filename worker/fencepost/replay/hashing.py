"""Hashes that are the same in every process, for what asyncio and anyio keep in sets and what users do.

The stock hash of such an object is its address, and a set is iterated in the order of hashes. So who is cancelled
first, or which coroutine gets the lower id, would differ from process to process. In a workflow an object gets a number
of its run instead, at the first use of its hash, and keeps it.

What is a future or a task carries its number itself, whatever class made it: the loop's factories, ``asyncio.Future()``
or ``asyncio.Task(coro)``, a subclass, gather. Everything else is looked up in a table by address as long as it lives.
A class of the user's own has ``object``'s hash, which nobody can change: give it a ``__hash__``, or use a list.
"""

from __future__ import annotations

import types
import weakref
from asyncio import events, futures, locks, queues, taskgroups, tasks, timeouts
from collections.abc import Callable
from typing import Any

from anyio._backends import _asyncio as anyio_asyncio
from anyio._core import _synchronization as anyio_locks
from anyio.streams import memory as anyio_streams

from fencepost.replay.builtin_types import put_hash
from fencepost.replay.loop import ReadyHandle, WorkflowLoop

_numbers: dict[int, tuple[weakref.ref[Any], int]] = {}
"""By address: what has such a hash, and the hash."""


def hash_of_future(self: Any) -> int:
    """The hash of a future made past ``create_future``."""
    loop: object = self._loop
    if type(loop) is not WorkflowLoop:
        return object.__hash__(self)
    try:
        known: int = self._fencepost_hash
    except AttributeError:
        known = self._fencepost_hash = loop.hashes.next()
    return known


def hash_of_task(self: Any) -> int:
    """The hash of a task made past ``create_task``. asyncio's registry of tasks asks for it while the task is being
    made, and that is how its loop hears of it.
    """
    loop: object = self._loop
    if type(loop) is not WorkflowLoop:
        return object.__hash__(self)
    try:
        known: int = self._fencepost_hash
    except AttributeError:
        known = self._fencepost_hash = loop.hashes.next()
        loop.adopt(self)
    return known


def hash_of_object(self: object) -> int:
    """The hash of anything else that is made while workflow code runs."""
    key = id(self)
    known = _numbers.get(key)
    if known is not None and known[0]() is self:
        return known[1]
    loop = events._get_running_loop()
    if type(loop) is not WorkflowLoop:
        return object.__hash__(self)
    number = loop.hashes.next()

    def forget(_: object) -> None:
        _numbers.pop(key, None)

    _numbers[key] = weakref.ref(self, forget), number
    return number


OBJECTS: tuple[type, ...] = (
    types.CoroutineType,
    types.AsyncGeneratorType,
    types.GeneratorType,
    locks.Lock,
    locks.Event,
    locks.Condition,
    locks.Semaphore,
    locks.Barrier,
    queues.Queue,
    taskgroups.TaskGroup,
    timeouts.Timeout,
    ReadyHandle,
    anyio_asyncio.CancelScope,
    anyio_asyncio.TaskGroup,
    anyio_asyncio.Event,
    anyio_asyncio.Lock,
    anyio_asyncio.Semaphore,
    anyio_asyncio.CapacityLimiter,
    anyio_locks.Condition,
    anyio_streams.MemoryObjectReceiveStream,
    anyio_streams.MemoryObjectSendStream,
)
"""What has ``object``'s hash and is likely to stand in somebody's set: asyncio's and anyio's own things."""

_FUTURES: tuple[type, ...] = (futures.Future, futures._PyFuture)  # type: ignore[attr-defined]  # pyright: ignore
_TASKS: tuple[type, ...] = (tasks.Task, tasks._PyTask)  # type: ignore[attr-defined]  # pyright: ignore


def own_hashes() -> None:
    """Give all of these classes their hash. Subclasses that exist already get it too."""
    rows: list[tuple[type, Callable[[Any], int]]] = [
        *((cls, hash_of_future) for cls in _FUTURES),
        *((cls, hash_of_task) for cls in _TASKS),
        *((cls, hash_of_object) for cls in OBJECTS),
    ]
    for cls, function in rows:
        put_hash(cls, function)
