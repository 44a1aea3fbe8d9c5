"""``continue_as_new``: a run ends, and another one of the same workflow goes on with a log of its own."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, NoReturn

from fencepost.authoring.arguments import Arguments
from fencepost.errors import ArgumentError, NotInWorkflow
from fencepost.replay import interface
from fencepost.replay.limits import ContinueAsNew

RUNNING: ContextVar[tuple[str, Arguments]] = ContextVar("fencepost_running_workflow")
"""The running workflow's name and signature; in the context of its root task, and so of all its tasks."""


def continue_as_new(*args: Any, **kwargs: Any) -> NoReturn:
    """End this run here; a new one of the same workflow goes on with these arguments and an empty log.

    For workflows that live long or loop for ever: a log does not grow without bound. The new run has the queue, the
    timeout (anew) and the parent of this one; ``result()`` of this run is that of the last of the chain. It works by an
    exception that is no ``Exception``: ``finally`` blocks and ``async with`` run, what is still open ends as with any
    end of a run.

    A type checker cannot know which workflow runs here, so it does not check these arguments:
    ``poll.continue_as_new(...)``, of the workflow itself, is the same with its types.

    Raises NotInWorkflow elsewhere, also in a step; ArgumentError, PayloadError for arguments that do not fit.
    """
    continued(args, kwargs)


def continued(args: tuple[Any, ...], kwargs: Mapping[str, Any], workflow: str | None = None) -> NoReturn:
    """The same for the workflow of that name, None for whichever runs. Raises ArgumentError if another one runs."""
    running = RUNNING.get(None)
    if interface.current() is None or running is None:
        raise NotInWorkflow(
            "continue_as_new() is for workflow code: call it in the workflow's function, not in a step or a client"
        )
    name, arguments = running
    if workflow is not None and workflow != name:
        raise ArgumentError(
            f"{workflow}.continue_as_new() was called in a run of {name}: a run goes on as the workflow that it is; "
            f"call {name}.continue_as_new(...), or start the other one with `await {workflow}(...)`"
        )
    raise ContinueAsNew(arguments.encode(args, kwargs), arguments.fingerprint)
