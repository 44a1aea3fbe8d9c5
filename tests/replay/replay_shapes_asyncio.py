"""Shapes made of asyncio's own tools: gather, task groups, queues, locks, generators, callbacks, errors."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator
from contextlib import aclosing

from replay_catalogue import shape
from replay_world import StepError, W


@shape("completed", events=9)
async def sequential(w: W) -> object:
    return [await w.step("charge", n) for n in range(5)]


@shape("completed", events=13)
async def gathered(w: W) -> object:
    return await asyncio.gather(*(w.step("a") for _ in range(4)), *(w.step("b") for _ in range(3)))


@shape("completed", events=8)
async def bare_futures(w: W) -> object:
    futures = [w.future("a") for _ in range(4)]
    return [f.result().entity for f in futures if await f]


@shape("completed", events=15)
async def task_group(w: W) -> object:
    async def ship(n: int) -> object:
        return [await w.step("label", n), await w.step("post", n)]

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ship(n)) for n in range(4)]
    return [t.result() for t in tasks]


@shape("completed", events=27)
async def task_group_abort(w: W) -> object:
    log: list[object] = []

    async def child(n: int) -> None:
        try:
            await w.step("bad" if n == 3 else "work", n)
            await w.step("more", n)
        except asyncio.CancelledError:
            log.append(n)
            await w.step("undo", n)
            raise

    try:
        async with asyncio.TaskGroup() as group:
            for n in range(8):
                group.create_task(child(n))
    except* StepError as errors:
        log.append([str(e) for e in errors.exceptions])
    return log


@shape("completed", events=12)
async def as_completed_coroutines(w: W) -> object:
    async def one(n: int) -> object:
        return n, await w.step("a", n)

    return [await c for c in asyncio.as_completed([one(n) for n in range(6)])]


@shape("completed", events=11)
async def as_completed_with_timeout(w: W) -> object:
    seen: list[object] = []
    try:
        for c in asyncio.as_completed([w.step("a", n) for n in range(5)], timeout=2.0):
            seen.append(await c)
    except TimeoutError:
        seen.append("timeout")
    return seen


@shape("completed", events=15)
async def queue_of_workers(w: W) -> object:
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=3)
    done: list[object] = []

    async def worker(name: str) -> None:
        while True:
            item = await queue.get()
            done.append((name, await w.step("work", item)))
            queue.task_done()

    workers = [asyncio.create_task(worker(f"w{n}")) for n in range(3)]
    for n in range(9):
        await queue.put(n)
    await queue.join()
    for task in workers:
        task.cancel()
    return done


@shape("completed", events=17)
async def locks_and_semaphores(w: W) -> object:
    lock, semaphore = asyncio.Lock(), asyncio.Semaphore(2)
    order: list[object] = []

    async def one(n: int) -> None:
        async with semaphore:
            await w.step("read", n)
            async with lock:
                order.append((n, await w.step("write", n)))

    await asyncio.gather(*(one(n) for n in range(5)))
    return order


@shape("completed", events=9)
async def events_conditions_barriers(w: W) -> object:
    event, barrier, condition = asyncio.Event(), asyncio.Barrier(3), asyncio.Condition()
    order: list[object] = []

    async def waiter(n: int) -> None:
        await event.wait()
        order.append((n, await w.step("meet", n)))
        order.append(await barrier.wait() >= 0)
        async with condition:
            await condition.wait_for(lambda: "go" in order)
        order.append(("went", n))

    tasks = [asyncio.create_task(waiter(n)) for n in range(3)]
    await w.step("open")
    event.set()
    await asyncio.sleep(3)
    async with condition:
        order.append("go")
        condition.notify_all()
    await asyncio.gather(*tasks)
    return order


@shape("completed", events=17)
async def nested_groups(w: W) -> object:
    async def leaf(n: int) -> object:
        await asyncio.sleep(0.1 * n)
        return await w.step("flaky", n)

    async def branch(n: int) -> object:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(leaf(10 * n + k)) for k in range(2)]
        return [t.result() for t in tasks]

    results = await asyncio.gather(*(branch(n) for n in range(3)), return_exceptions=True)
    return [type(r).__name__ if isinstance(r, BaseException) else r for r in results]


@shape("completed", events=11)
async def generator_with_break(w: W) -> object:
    seen: list[object] = []

    async def pages() -> AsyncIterator[object]:
        try:
            for n in range(5):
                yield await w.step("page", n)
        finally:
            seen.append("closing")
            await w.step("close")
            seen.append("closed")

    async for page in pages():
        seen.append(page)
        if len(seen) == 2:
            break
    await w.step("after")
    async with aclosing(pages()) as stream:  # type: ignore[type-var]  # pyright: ignore
        async for page in stream:
            seen.append(page)
            break
    return seen


@shape("completed", events=8)
async def context_variables(w: W) -> object:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="root")
    seen: list[object] = []

    async def child(n: int) -> None:
        var.set(f"child-{n}")
        await w.step("a", n)
        seen.append(var.get())

    await asyncio.gather(child(1), child(2))
    shared = contextvars.copy_context()
    await asyncio.create_task(child(3), context=shared)
    await asyncio.create_task(child(4), context=shared)
    return seen, var.get(), shared[var]


@shape("completed", events=9)
async def callbacks(w: W) -> object:
    loop, seen = asyncio.get_running_loop(), list[object]()
    loop.call_later(2.0, seen.append, "later")
    cancelled = loop.call_later(1.0, seen.append, "never")
    loop.call_soon(seen.append, "soon")
    loop.call_at(loop.time() + 0.5, lambda: seen.append(float(loop.time())))
    await w.step("a")
    cancelled.cancel()
    await asyncio.sleep(3)
    return seen


@shape("failed", events=5, error="ValueError: both failed")
async def errors_with_causes(w: W) -> object:
    try:
        await w.step("bad")
    except StepError as error:
        try:
            await w.step("bad_too")
        except StepError as second:
            raise ValueError("both failed") from second
        raise AssertionError from error


@shape("failed", events=6, error="ExceptionGroup: unhandled errors in a TaskGroup")
async def error_in_a_group(w: W) -> object:
    async with asyncio.TaskGroup() as group:
        group.create_task(w.step("bad"))
        group.create_task(w.step("worse_bad"))
        group.create_task(asyncio.sleep(100))


@shape("completed", events=8)
async def leftover_tasks(w: W) -> object:
    async def forgotten(n: int) -> None:
        try:
            await w.step("forgotten", n)
        finally:
            await w.step("never_asked", n)

    tasks = [asyncio.create_task(forgotten(n)) for n in range(3)]
    await w.step("a")
    tasks.append(asyncio.create_task(forgotten(4)))
    return len(tasks)


@shape("completed", events=9)
async def sleeps_side_by_side(w: W) -> object:
    order: list[object] = []

    async def one(n: int) -> None:
        await asyncio.sleep(0.1 * (5 - n))
        order.append((n, w.now()))

    await asyncio.gather(*(one(n) for n in range(5)))
    return order


@shape("completed", events=5)
async def swallows_cancellation(w: W) -> object:
    task = asyncio.ensure_future(w.step("a"))
    await w.step("b")
    task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return await w.step("c")


@shape("cancelled", events=8)
async def cancel_requested(w: W) -> object:
    try:
        for n in range(50):
            await w.step("work", n)
    finally:
        await w.step("compensate")
