"""Locks, events, queues and memory streams, asyncio's and anyio's, belong to the run that has made them.

One of a module is shared by all runs of a process. What one run does with it is in no other's log: whether a lock is
free would hang on who else is at work, and whoever releases it would wake a run without an event. So a workflow may use
what was made in it only. What a module makes while it is imported is the module's, whoever imports it.
"""

from __future__ import annotations

import asyncio.coroutines
import functools
import inspect
import types
import weakref
from asyncio import events, locks, mixins, queues
from collections.abc import Callable
from typing import Any, cast

from anyio._backends import _asyncio as anyio_asyncio
from anyio._core import _synchronization as anyio_locks
from anyio.streams import memory as anyio_streams

from fencepost.replay.imports import importing
from fencepost.replay.limits import WorkflowRestriction
from fencepost.replay.loop import WorkflowLoop

GUARDED: dict[type, tuple[str, ...]] = {
    locks.Lock: ("acquire", "release", "locked"),
    locks.Event: ("set", "clear", "is_set", "wait"),
    locks.Semaphore: ("acquire", "release", "locked"),
    locks.BoundedSemaphore: ("release",),
    locks.Condition: ("wait", "notify", "acquire", "release", "locked"),
    locks.Barrier: ("wait", "reset", "abort", "n_waiting", "broken"),
    queues.Queue: (
        *("get", "put", "get_nowait", "put_nowait", "join", "task_done", "qsize", "empty", "full"),
        *(name for name in ("shutdown",) if hasattr(queues.Queue, name)),  # from 3.13 on
    ),
}
"""What of each of asyncio's is looked at. The rest is made of these."""

_OF_THE_LOCK = ("acquire", "release", "locked")

MADE_OUTSIDE: tuple[type, ...] = (
    anyio_locks.LockAdapter,
    anyio_locks.EventAdapter,
    anyio_locks.SemaphoreAdapter,
    anyio_locks.CapacityLimiterAdapter,
)
"""What anyio makes where no loop runs: never a workflow's own."""

MADE_ANYWHERE: tuple[type, ...] = (
    anyio_asyncio.Lock,
    anyio_asyncio.Event,
    anyio_asyncio.Semaphore,
    anyio_asyncio.CapacityLimiter,
    anyio_locks.Condition,
    anyio_streams.MemoryObjectReceiveStream,
    anyio_streams.MemoryObjectSendStream,
)
"""What anyio makes in a loop, or whether or not one runs."""

_loops: dict[int, tuple[weakref.ref[Any], weakref.ref[WorkflowLoop]]] = {}
"""By address: what anyio has made in a workflow, and that workflow's loop. Most of it has slots."""


def guard_primitives() -> None:
    """Remember who makes them, and look at each use."""
    mixins._LoopBoundMixin.__new__ = _new  # type: ignore[method-assign]  # pyright: ignore
    for cls, names in GUARDED.items():
        for name in names:
            of_the_lock = cls is locks.Condition and name in _OF_THE_LOCK
            setattr(cls, name, _OfTheLock(name) if of_the_lock else _guarded(getattr(cls, name)))
    for cls in MADE_ANYWHERE:
        made_here: Any = cls
        made_here.__init__ = _remembering(made_here.__init__)
    for cls in (*MADE_OUTSIDE, *MADE_ANYWHERE):
        for name in public_of(cls):
            setattr(cls, name, _guarded(vars(cls)[name]))


def public_of(cls: type) -> list[str]:
    """What of one of anyio's classes is looked at: all that users call, but for what the collector and ``with`` end."""
    entered = ("__aenter__", "__enter__")
    functions = [name for name, each in vars(cls).items() if inspect.isfunction(each) or isinstance(each, property)]
    return [name for name in functions if not name.startswith("_") or name in entered]


def _new(cls: type, *args: Any, **kwargs: Any) -> Any:
    made = cast(Any, object.__new__(cls))
    loop = events._get_running_loop()
    if type(loop) is WorkflowLoop and not importing():
        made._fencepost_made_in = loop
    return made


def _remembering(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        loop = events._get_running_loop()
        if type(loop) is WorkflowLoop and not importing():
            key = id(self)
            _loops[key] = weakref.ref(self, lambda _: _loops.pop(key, None)), weakref.ref(loop)
        original(self, *args, **kwargs)

    return init


_running = events._get_running_loop


def _look(thing: object) -> None:
    """Raise WorkflowRestriction if the run whose loop runs has not made it."""
    loop = _running()
    if getattr(thing, "_fencepost_made_in", None) is loop:
        return
    known = _loops.get(id(thing))
    if known is not None and known[0]() is thing and known[1]() is loop:
        return
    kind: type[Any] = type(thing)
    room, name = kind.__module__.partition(".")[0], kind.__name__.removesuffix("Adapter")
    raise WorkflowRestriction(f"an {room}.{name} that this run has not made (make it in the workflow's function)")


def _guarded(original: Any) -> Any:
    if isinstance(original, property):
        return property(_guarded(original.fget), original.fset and _guarded(original.fset), doc=original.__doc__)
    made = _with_arguments(original) if len(inspect.signature(original).parameters) > 1 else _without(original)
    if inspect.iscoroutinefunction(original):
        _declare_coroutine_function(made)
    return made


def _with_arguments(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
        if type(_running()) is WorkflowLoop:
            _look(self)
        return original(self, *args, **kwargs)

    return guarded


def _without(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def guarded(self: Any) -> Any:  # most are so, and drivers of servers call them for each query
        if type(_running()) is WorkflowLoop:
            _look(self)
        return original(self)

    return guarded


def _declare_coroutine_function(function: Any) -> None:
    """It is none, but returns what one has returned: say so to whoever asks asyncio, and inspect from 3.12 on."""
    function._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
    declare: Callable[[Any], Any] | None = getattr(inspect, "markcoroutinefunction", None)
    if declare is not None:
        declare(function)


class _OfTheLock:
    """A condition keeps its lock's methods as they were when it was made. This is asked instead, and asks the lock."""

    def __init__(self, name: str) -> None:
        @functools.wraps(getattr(locks.Lock, name))
        def method(condition: Any) -> Any:
            return getattr(condition._lock, name)()

        self._method = _guarded(method)

    def __get__(self, condition: Any, owner: type) -> Any:
        return self if condition is None else types.MethodType(self._method, condition)

    def __set__(self, condition: Any, method: object) -> None:
        """What the condition would keep is not needed."""
