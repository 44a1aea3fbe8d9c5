"""Shapes whose futures, tasks and coroutines are made past the loop's factories, and stand in sets and dicts."""

from __future__ import annotations

import _asyncio
import asyncio
import contextvars
import sys
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from replay_catalogue import shape
from replay_world import W


class OwnFuture(asyncio.Future[Any]):
    """A library's future."""


class OwnTask(asyncio.Task[Any]):
    """A library's task."""


FUTURES: tuple[Callable[[], asyncio.Future[Any]], ...] = (
    asyncio.Future,
    _asyncio.Future,
    asyncio.futures._PyFuture,  # type: ignore[attr-defined]  # pyright: ignore
    OwnFuture,
)
TASKS: tuple[Callable[..., asyncio.Task[Any]], ...] = (
    asyncio.Task,
    _asyncio.Task,
    asyncio.tasks._PyTask,  # type: ignore[attr-defined]  # pyright: ignore
    OwnTask,
)


@shape("completed", events=28)
async def futures_by_class(w: W) -> object:
    """The order of a set decides which receipt belongs to which step."""
    futures = {make(): n for n, make in enumerate(FUTURES * 3)}
    order: list[object] = []
    for future in set(futures):
        future.set_result(futures[future])
    for done in (await asyncio.wait(futures))[0]:
        order.append((done.result(), await w.step("charge", done.result())))
    return order


async def _work(w: W, n: int) -> object:
    try:
        return n, await w.step("work", n)
    except asyncio.CancelledError:
        return n, await w.step("undo", n)


@shape("completed", events=40)
async def tasks_by_class(w: W) -> object:
    """Cancelled in the order of a set; each has ids of its own."""
    loop = asyncio.get_running_loop()
    tasks = {make(_work(w, n), loop=loop) for n, make in enumerate(TASKS * 4)}
    names = sorted(task.get_name() for task in tasks)
    await w.step("before")
    for task in tasks:
        task.cancel()
    return [names, [task.result() for task in (await asyncio.wait(tasks))[0]]]


@shape("completed", events=20)
async def eager_tasks_by_class(w: W) -> object:
    """They begin at once, from 3.12 on; before, as other tasks do."""
    loop = asyncio.get_running_loop()
    eager = {"eager_start": True} if sys.version_info >= (3, 12) else {}
    tasks = {make(_work(w, n), loop=loop, **eager) for n, make in enumerate((asyncio.Task, OwnTask) * 4)}
    done = asyncio.Task(asyncio.sleep(0, "at once"), loop=loop, **eager)
    await w.step("before")
    for task in tasks:
        task.cancel()
    return [[task.result() for task in (await asyncio.wait(tasks))[0]], await done]


@shape("completed", events=24)
async def nested_gathers(w: W) -> object:
    """In each other, in wait, in as_completed, in a dict."""
    inner = asyncio.gather(w.step("a"), w.step("b"))
    both = await asyncio.gather(inner, asyncio.gather(asyncio.gather(w.step("c")), w.step("d")))
    names = {asyncio.gather(w.step("e", n)): n for n in range(4)}
    done, _ = await asyncio.wait(names)
    order = [names[future] for future in done]  # type: ignore[index]  # pyright: ignore
    completed = [await each for each in asyncio.as_completed([asyncio.gather(w.step("f", n)) for n in range(3)])]
    return [both, order, completed]


@shape("completed", events=26)
async def sets_of_coroutines(w: W) -> object:
    """The order of a set decides which coroutine becomes the first task."""

    async def one(n: int) -> object:
        return n, await w.step("one", n)

    calls: set[Coroutine[Any, Any, object]] = {one(n) for n in range(12)}
    return await asyncio.gather(*calls)


@shape("completed", events=20)
async def all_tasks_of_the_run(w: W) -> object:
    """In an order that does not hang on other runs of the process."""
    tasks = [asyncio.create_task(_work(w, n)) for n in range(8)]
    await w.step("before")
    mine = asyncio.current_task()
    seen = [task.get_name() for task in asyncio.all_tasks() - {mine}]  # type: ignore[arg-type]
    for task in asyncio.all_tasks():
        if task is not mine:
            task.cancel()
    return [seen, await asyncio.gather(*tasks)]


@shape("completed", events=28)
async def sets_of_primitives(w: W) -> object:
    """Locks, events, queues and task groups hash as what the run has made."""
    things: dict[object, int] = {}
    for n in range(3):
        made: Iterable[object] = (asyncio.Lock(), asyncio.Event(), asyncio.Queue[int](), asyncio.TaskGroup())
        things.update((each, n) for each in made)
    return [(type(each).__name__, things[each], await w.step("seen")) for each in set(things)]


@shape("completed", events=15)
async def empty_contexts(w: W) -> object:
    """Tasks and callbacks in a context that has nothing of the run's."""
    found = asyncio.get_running_loop().create_future()

    def later() -> None:
        asyncio.get_running_loop().call_later(0.5, found.set_result, 1, context=contextvars.Context())

    def begin() -> None:
        made.append(asyncio.ensure_future(_work(w, 9)))

    made: list[asyncio.Future[object]] = []
    asyncio.get_running_loop().call_soon(later, context=contextvars.Context())
    asyncio.get_running_loop().call_soon(begin, context=contextvars.Context())
    shared = contextvars.Context()
    tasks = [asyncio.create_task(_work(w, n), context=contextvars.Context()) for n in range(3)]
    tasks += [asyncio.create_task(_work(w, n), context=shared) for n in range(2)]
    return [await asyncio.gather(*tasks), await found, await made[0]]
