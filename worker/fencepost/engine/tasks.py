"""Tasks of a worker's loop, and whose they are: user code sees and cancels its own, and cannot cancel the engine's.

``asyncio.all_tasks()`` of asyncio's own has the tasks of the engine and of every other run of this worker, and
cancelling all of them is a common way to clean up. In a body it answers as in a program of the body alone: with the
body's task and those that it has started, as far as contexts tell. Startup code of a worker is such a program, too.

What is refused is to cancel a task of the engine's, or another body's own. A task that another body has started may be
cancelled by who holds it: a client that bodies share starts its reader in the one that came first, and ends it in
whichever closes the connection. Nobody comes to such a task by accident, as ``all_tasks`` does not show it.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from asyncio import tasks
from collections.abc import Coroutine
from typing import Any

from fencepost.authoring.context import StepContext, current_in, current_or_none, hide_step_context
from fencepost.replay.everywhere import replace_everywhere
from fencepost.replay.tasks import context_of


class Life:
    """Startup and shutdown code of the worker, as an owner of tasks."""


_life: contextvars.ContextVar[Life | None] = contextvars.ContextVar("fencepost_life", default=None)

Owner = StepContext | Life


class WorkerTask(asyncio.Task[Any]):
    """``owner``: the attempt whose body this is or has started it, None for the engine's own. ``guarded``: not for
    others to cancel.
    """

    # Of the engine's, which are nearly all: nothing is set where one is made.
    owner: Owner | None = None
    guarded: bool = True

    # Never a workflow's, so no number of a run. asyncio asks four times per task, and a method would be Python code.
    __hash__: Any = object.__hash__

    def cancel(self, msg: Any | None = None) -> bool:
        """As Task.cancel. Raises RuntimeError in a step that may not cancel this task."""
        if self.guarded:
            caller = current_or_none() or _life.get()
            if caller is not None and caller is not self.owner:
                who = f"step {caller.step_id}" if isinstance(caller, StepContext) else "the worker's startup code"
                raise RuntimeError(
                    f"{who} cancels task {self.get_name()!r}, which is the engine's or the body of another step: keep"
                    " the tasks that you start and cancel those (asyncio.all_tasks() has no others), or start them in"
                    " an asyncio.TaskGroup"
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
    if (owner := current_or_none() or _life.get()) is not None:
        task.owner, task.guarded = owner, False
    return task


def own(task: asyncio.Task[Any], context: StepContext) -> None:
    """The task is the body of this attempt."""
    if type(task) is WorkerTask:
        task.owner = context


def live() -> None:
    """The running task, with what it will start, is the worker's startup and shutdown code."""
    life = Life()
    _life.set(life)
    task = asyncio.current_task()
    if type(task) is WorkerTask:
        task.owner = life


def spawn(coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
    """A task of the engine's, whosever context asks for it (a heartbeat or a stream of a body's does)."""
    loop = asyncio.get_running_loop()
    if current_or_none() is None:
        return WorkerTask(coroutine, loop=loop, name=name)  # what the loop's factory would make
    with hide_step_context():
        return WorkerTask(coroutine, loop=loop, name=name)


@functools.cache
def show_bodies_their_own() -> None:
    """Have ``asyncio.all_tasks`` answer so, once per process."""
    original = tasks.all_tasks

    @functools.wraps(original)
    def all_tasks(loop: asyncio.AbstractEventLoop | None = None) -> set[asyncio.Task[Any]]:
        found = original(loop)
        owner = current_or_none() or _life.get()
        return found if owner is None else {task for task in found if _owner_of(task) is owner}

    replace_everywhere({original: all_tasks})


def _owner_of(task: asyncio.Task[Any]) -> Owner | None:
    if isinstance(task, WorkerTask):
        return task.owner
    context = context_of(task)  # made past the loop's factory, by a body's own, or in a loop of a thread's
    return None if context is None else current_in(context) or context.get(_life)
