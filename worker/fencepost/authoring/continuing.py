"""``continue_as_new``: a run ends, and another one of the same workflow goes on with a log of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, NoReturn

from fencepost.errors import NotInWorkflow
from fencepost.replay import interface
from fencepost.replay.limits import ContinueAsNew

Encode = Callable[[tuple[Any, ...], Mapping[str, Any]], bytes]

RUNNING: ContextVar[Encode] = ContextVar("fencepost_running_workflow")
"""How the running workflow's arguments are encoded; in the context of its root task, and so of all its tasks."""


def continue_as_new(*args: Any, **kwargs: Any) -> NoReturn:
    """End this run here; a new one of the same workflow goes on with these arguments and an empty log.

    For workflows that live long or loop for ever: a log does not grow without bound. The new run has the queue, the
    timeout (anew) and the parent of this one; ``result()`` of this run is that of the last of the chain. It works by an
    exception that is no ``Exception``: ``finally`` blocks and ``async with`` run, what is still open ends as with any
    end of a run.

    Raises NotInWorkflow elsewhere, also in a step; ArgumentError, PayloadError for arguments that do not fit.
    """
    encode = RUNNING.get(None)
    if interface.current() is None or encode is None:
        raise NotInWorkflow(
            "continue_as_new() is for workflow code: call it in the workflow's function, not in a step or a client"
        )
    raise ContinueAsNew(encode(args, kwargs))
