"""asyncio's locks, events and queues belong to the run that has made them.

One of a module is shared by all runs of a process. What one run does with it is in no other's log: whether a lock is
free would hang on who else is at work, and whoever releases it would wake a run without an event. So a workflow may use
what was made in it only.
"""

from __future__ import annotations

import functools
import inspect
from asyncio import events, locks, mixins, queues
from collections.abc import Callable
from typing import Any, cast

from fencepost.replay.limits import WorkflowRestriction
from fencepost.replay.loop import WorkflowLoop

GUARDED: dict[type, tuple[str, ...]] = {
    locks.Lock: ("acquire", "release", "locked"),
    locks.Event: ("set", "clear", "is_set", "wait"),
    locks.Semaphore: ("acquire", "release", "locked"),
    locks.BoundedSemaphore: ("release",),
    locks.Condition: ("wait", "notify"),
    locks.Barrier: ("wait", "reset", "abort"),
    queues.Queue: ("get", "put", "get_nowait", "put_nowait", "join", "task_done", "qsize", "empty", "full"),
}
"""What of each is looked at. The rest is made of these."""


def guard_primitives() -> None:
    """Remember who makes them, and look at each use."""
    mixins._LoopBoundMixin.__new__ = _new  # type: ignore[method-assign]  # pyright: ignore
    for cls, names in GUARDED.items():
        for name in names:
            setattr(cls, name, _guarded(getattr(cls, name)))


def _new(cls: type, *args: Any, **kwargs: Any) -> Any:
    made = cast(Any, object.__new__(cls))
    loop = events._get_running_loop()
    if type(loop) is WorkflowLoop:
        made._fencepost_made_in = loop
    return made


def _guarded(original: Callable[..., Any]) -> Callable[..., Any]:
    if len(inspect.signature(original).parameters) > 1:

        @functools.wraps(original)
        def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
            if type(_running()) is WorkflowLoop:
                _look(self)
            return original(self, *args, **kwargs)

        return guarded

    @functools.wraps(original)
    def guarded_without_arguments(self: Any) -> Any:  # most are, and drivers of servers call them for each query
        if type(_running()) is WorkflowLoop:
            _look(self)
        return original(self)

    return guarded_without_arguments


_running = events._get_running_loop


def _look(primitive: Any) -> None:
    """Raise WorkflowRestriction if the run whose loop runs has not made it."""
    if getattr(primitive, "_fencepost_made_in", None) is not _running():
        raise WorkflowRestriction(
            f"an asyncio.{type(primitive).__name__} that this run has not made (make it in the workflow's function)"
        )
