"""The few places where asyncio and anyio are not deterministic by themselves. Each patch asks whether the running
loop is a workflow's, and is the original otherwise.

They are applied to the modules' and the types' insides. Where a public name must be replaced, it is replaced wherever a
module holds it, so that ``from asyncio import all_tasks`` before this package was imported makes no difference.
"""

from __future__ import annotations

import asyncio
import builtins
import functools
from asyncio import events, futures, tasks
from collections.abc import Callable, Iterable
from typing import Any

import anyio.from_thread
from anyio._backends import _asyncio as anyio_asyncio

from fencepost.replay.ambient_chance import draw_from_the_run
from fencepost.replay.ambient_time import tell_workflow_time
from fencepost.replay.everywhere import replace_everywhere
from fencepost.replay.hashing import own_hashes
from fencepost.replay.limits import WorkflowRestriction
from fencepost.replay.loop import WorkflowLoop
from fencepost.replay.shared_primitives import guard_primitives


@functools.cache
def install() -> None:
    """Apply them, once per process."""
    for patch in PATCHES:
        patch()


def ours() -> bool:
    """True inside a workflow."""
    return type(events._get_running_loop()) is WorkflowLoop


def _set(items: Iterable[Any] = ()) -> Any:
    """``set`` as asyncio.tasks calls it. as_completed and wait make a set of their arguments before they are tasks,
    so its order would be that of addresses."""
    if not items or not ours():
        return builtins.set(items)
    ordered = dict.fromkeys(items)
    loop = events._get_running_loop()
    for item in ordered:
        if futures.isfuture(item) and futures._get_loop(item) is not loop:  # type: ignore[attr-defined]  # pyright: ignore
            raise WorkflowRestriction("a future of another loop")
    return ordered


def refuse_backend() -> None:
    """anyio has ways past the loop: threads, portals into it, sockets that are connected at once. What is not known to
    be harmless is refused."""
    backend = anyio_asyncio.AsyncIOBackend
    for name in dir(backend):
        if not name.startswith("_") and name not in HARMLESS:
            original: Any = getattr(backend, name)
            setattr(backend, name, staticmethod(_refusing_inside(original, f"anyio's {name}")))
    # connect_tcp meets the backend's refusal in a task group, where only a group of exceptions would come out of it.
    outer: tuple[Callable[..., Any], ...] = (anyio.from_thread.start_blocking_portal, anyio.connect_tcp)
    replace_everywhere({each: _refusing_inside(each) for each in outer})


HARMLESS = frozenset(
    {
        *("cancelled_exception_class", "checkpoint", "checkpoint_if_cancelled", "cancel_shielded_checkpoint", "sleep"),
        *("current_time", "current_token", "current_effective_deadline", "current_default_thread_limiter"),
        *("create_cancel_scope", "create_task_group", "create_event", "create_lock", "create_semaphore"),
        *("create_capacity_limiter", "get_current_task", "get_running_tasks", "wait_all_tasks_blocked"),
        *("run", "create_test_runner", "check_cancelled"),
    }
)
"""What anyio's backend does by the loop and its tasks alone, or refuses by itself where a loop runs."""


def order_awaitables() -> None:
    """as_completed and wait make a set of their arguments, coroutines perhaps, whose order would be that of
    addresses."""
    tasks.set = _set  # type: ignore[attr-defined]  # pyright: ignore


def all_tasks_in_order() -> None:
    """all_tasks fills a set from a registry of all the process's tasks: where hashes collide, its order hangs on the
    order in which it was filled."""
    original = tasks.all_tasks

    @functools.wraps(original)
    def all_tasks(loop: asyncio.AbstractEventLoop | None = None) -> builtins.set[asyncio.Task[Any]]:
        chosen = events._get_running_loop() if loop is None else loop
        return builtins.set(chosen.live_tasks()) if type(chosen) is WorkflowLoop else original(loop)

    replace_everywhere({original: all_tasks})


def refuse_foreign_wakers() -> None:
    """A future of a thread, or a coroutine sent to another loop, would have effects that no event of the log shows."""
    replace_everywhere({each: _refusing_inside(each) for each in (futures.wrap_future, tasks.run_coroutine_threadsafe)})


def _refusing_inside(original: Callable[..., Any], what: str = "") -> Callable[..., Any]:
    @functools.wraps(original)
    def refusing(*args: Any, **kwargs: Any) -> Any:
        if ours():
            raise WorkflowRestriction(what or f"{original.__module__.partition('.')[0]}.{original.__name__}")
        return original(*args, **kwargs)

    return refusing


PATCHES = [
    order_awaitables,
    own_hashes,
    all_tasks_in_order,
    refuse_backend,
    refuse_foreign_wakers,
    guard_primitives,
    tell_workflow_time,
    draw_from_the_run,
]
"""All of them. Tests take one out to see that it is needed."""
