"""Tasks of a worker's loop, and whose they are: user code can cancel its own and not the engine's, nor another body's.

``asyncio.all_tasks()`` shows a step the tasks of the engine and of every other run of this worker, and cancelling all
of them is a common way to clean up.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any

from fencepost.authoring.context import StepContext, current_or_none, hide_step_context


class WorkerTask(asyncio.Task[Any]):
    """``owner``: the attempt whose body this is, None for the engine's own. ``guarded``: not for others to cancel;
    tasks that bodies start are not, as a body may share them with another one (a connection pool's).
    """

    # Of the engine's, which are nearly all: nothing is set where one is made.
    owner: StepContext | None = None
    guarded: bool = True

    __hash__ = object.__hash__  # never a workflow's, so no number of a run; asyncio asks four times per task

    def cancel(self, msg: Any | None = None) -> bool:
        """As Task.cancel. Raises RuntimeError in a step that may not cancel this task."""
        if self.guarded:
            caller = current_or_none()
            if caller is not None and caller is not self.owner:
                raise RuntimeError(
                    f"step {caller.step_id} cancels task {self.get_name()!r}, which it has not started: the worker's"
                    " loop, and so asyncio.all_tasks(), has tasks of the engine and of other runs; keep the tasks that"
                    " you start and cancel those, or start them in an asyncio.TaskGroup"
                )
        return super().cancel(msg)


def make_task(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, Any],
    *,
    context: contextvars.Context | None = None,
    **options: Any,
) -> asyncio.Task[Any]:
    """The task factory of a worker's loop."""
    task = WorkerTask(coroutine, loop=loop, context=context, **options)
    if (owner := current_or_none()) is not None:
        task.owner, task.guarded = owner, False
    return task


def own(task: asyncio.Task[Any], context: StepContext) -> None:
    """The task is the body of this attempt."""
    if type(task) is WorkerTask:
        task.owner = context


def spawn(coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
    """A task of the engine's, whosever context asks for it (a heartbeat or a stream of a body's does)."""
    loop = asyncio.get_running_loop()
    if current_or_none() is None:
        return WorkerTask(coroutine, loop=loop, name=name)  # what the loop's factory would make
    with hide_step_context():
        return WorkerTask(coroutine, loop=loop, name=name)
