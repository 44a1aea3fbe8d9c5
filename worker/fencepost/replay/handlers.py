"""The workflow's own exception handler (``loop.set_exception_handler``): how it is called.

As asyncio calls it from 3.12 on, whatever the version: in the context of the task, future or callback that the error is
of. What it raises is logged and ends nothing.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fencepost.replay.limits import ReplayBudgetExceeded
from fencepost.replay.tasks import context_of

if TYPE_CHECKING:
    from fencepost.replay.loop import WorkflowLoop

Handler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]


def call_handler(loop: WorkflowLoop, handler: Handler, context: dict[str, Any]) -> BaseException | None:
    """Call it. Returns what it raised. Raises ReplayBudgetExceeded, which is not the handler's."""
    try:
        _within(_context_in(context) or loop.root_context, lambda: handler(loop, context))
    except ReplayBudgetExceeded:
        raise
    except BaseException as error:  # noqa: BLE001  # whatever a user's handler raises
        return error
    return None


def _context_in(context: dict[str, Any]) -> contextvars.Context | None:
    for key in ("task", "future"):
        thing: asyncio.Task[Any] | object = context.get(key)
        if isinstance(thing, asyncio.Task):
            return context_of(thing)  # pyright: ignore[reportUnknownArgumentType]
    return getattr(context.get("handle"), "_context", None)


def _within(context: contextvars.Context, call: Callable[[], object]) -> None:
    try:
        context.run(_nothing)
    except RuntimeError:  # it is entered already: the code itself has called the loop's handler
        call()
    else:
        context.run(call)


def _nothing() -> None:
    """Shows whether a context can be entered."""
