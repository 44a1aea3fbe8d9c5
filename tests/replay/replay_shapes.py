"""Workflow shapes, as users write them. Each returns what it observed, so that an order that differs shows in its
output."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from typing import Any

import anyio
import anyio.abc
from replay_world import Flow, StepError, W

SHAPES: dict[str, Flow] = {}
CANCELLED: set[str] = set()
"""Shapes whose run is asked to cancel on the way."""


def shape(flow: Flow) -> Flow:
    """Adds it to the table."""
    SHAPES[flow.__name__] = flow  # type: ignore[attr-defined]  # pyright: ignore
    return flow


async def first(*awaitables: Awaitable[Any]) -> Any:
    """A race: the first one's value, the losers cancelled."""
    tasks = [asyncio.ensure_future(a) for a in awaitables]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return [tasks.index(t) for t in tasks if t in done], [t.result() for t in tasks if t in done]
    finally:
        for task in tasks:
            task.cancel()


@shape
async def sequential(w: W) -> object:
    return [await w.step("charge", n) for n in range(5)]


@shape
async def gathered(w: W) -> object:
    return await asyncio.gather(*(w.step("a") for _ in range(4)), *(w.step("b") for _ in range(3)))


@shape
async def bare_futures(w: W) -> object:
    futures = [w.future("a") for _ in range(4)]
    return [f.result().entity for f in futures if await f]


@shape
async def raced(w: W) -> object:
    return [await first(w.step("a"), w.step("b"), w.step("c")) for _ in range(3)]


@shape
async def raced_with_sleep(w: W) -> object:
    return [await first(w.step("slow"), asyncio.sleep(0.9, "late")) for _ in range(4)]


@shape
async def timeout_with_retries(w: W) -> object:
    seen: list[object] = []
    for attempt in range(4):
        try:
            async with asyncio.timeout(0.5):
                seen.append(await w.step("slow", attempt))
        except TimeoutError:
            seen.append("timeout")
            await asyncio.sleep(0.25 * 2**attempt)
    return seen


@shape
async def waited_for(w: W) -> object:
    seen: list[object] = []
    for _ in range(4):
        try:
            seen.append(await asyncio.wait_for(w.step("slow"), 0.7))
        except TimeoutError:
            seen.append("timeout")
    return seen


@shape
async def task_group(w: W) -> object:
    async def ship(n: int) -> object:
        return [await w.step("label", n), await w.step("post", n)]

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ship(n)) for n in range(4)]
    return [t.result() for t in tasks]


@shape
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


@shape
async def as_completed_coroutines(w: W) -> object:
    async def one(n: int) -> object:
        return n, await w.step("a", n)

    return [await c for c in asyncio.as_completed([one(n) for n in range(6)])]


@shape
async def as_completed_with_timeout(w: W) -> object:
    seen: list[object] = []
    try:
        for c in asyncio.as_completed([w.step("a", n) for n in range(5)], timeout=2.0):
            seen.append(await c)
    except TimeoutError:
        seen.append("timeout")
    return seen


@shape
async def repeated_wait(w: W) -> object:
    pending: set[asyncio.Future[Any]] = {asyncio.ensure_future(w.step("a", n)) for n in range(8)}
    order: list[object] = []
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        order.append([t.result() for t in done])
        if len(order) == 4:
            for task in pending:  # in set order, on purpose
                task.cancel()
            await w.step("settle")
            order.append([t.cancelled() for t in pending])
            break
    return order


@shape
async def wait_on_gathers(w: W) -> object:
    waiting: set[asyncio.Future[Any]] = {asyncio.gather(w.step("a", n), w.step("b", n)) for n in range(6)}
    order: list[object] = []
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        order.append([f.result() for f in done])
        if len(waiting) <= 3:
            for future in waiting:  # in set order, on purpose
                future.cancel()
            break
    return order


@shape
async def shielded(w: W) -> object:
    inner = asyncio.ensure_future(w.step("important"))
    try:
        async with asyncio.timeout(0.3):
            return await asyncio.shield(inner)
    except TimeoutError:
        return "late", await inner


@shape
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


@shape
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


@shape
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


@shape
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


@shape
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


@shape
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


@shape
async def callbacks(w: W) -> object:
    loop, seen = asyncio.get_running_loop(), list[object]()
    loop.call_later(2.0, seen.append, "later")
    cancelled = loop.call_later(1.0, seen.append, "never")
    loop.call_soon(seen.append, "soon")
    loop.call_at(loop.time() + 0.5, lambda: seen.append(loop.time()))
    await w.step("a")
    cancelled.cancel()
    await asyncio.sleep(3)
    return seen


@shape
async def hook_in_a_loop(w: W) -> object:
    async with w.hook("t") as hook:
        return [(await hook.next(), await w.step("handle")) for _ in range(6)]


@shape
async def hook_flood(w: W) -> object:
    async with w.hook("t") as hook:
        await w.step("busy")
        await asyncio.sleep(5)
        return [await hook.next() for _ in range(10)]


@shape
async def hook_raced_with_sleep(w: W) -> object:
    seen: list[object] = []
    async with w.hook("t") as hook:
        while len([s for s in seen if s != "late"]) < 10:
            try:
                async with asyncio.timeout(0.4):
                    seen.append(await hook.next())
            except TimeoutError:
                seen.append("late")
    return seen


@shape
async def hook_raced_by_tasks(w: W) -> object:
    seen: list[object] = []
    async with w.hook("t") as hook:
        while len(seen) < 8:
            seen.append(await first(hook.next(), asyncio.sleep(0.3, "late"), w.step("poll")))
    return seen


@shape
async def same_sleep_raced_twice(w: W) -> object:
    sleep = asyncio.ensure_future(asyncio.sleep(2, "slept"))
    seen: list[object] = []
    async with w.hook("t") as hook:
        for _ in range(2):
            waiting = asyncio.ensure_future(hook.next())
            done, _ = await asyncio.wait([sleep, waiting], return_when=asyncio.FIRST_COMPLETED)
            seen.append([t.result() for t in (sleep, waiting) if t in done])
            waiting.cancel()
            await w.step("between")
    return seen


@shape
async def all_hooks_or_sleep(w: W) -> object:
    async with w.hook("t1") as one, w.hook("t2") as two:
        return await first(asyncio.gather(one.next(), two.next()), asyncio.sleep(1.5, "late"))


@shape
async def branch_decides_the_step(w: W) -> object:
    seen: list[object] = []
    async with w.hook("t") as hook:
        for _ in range(4):
            winner, _ = await first(w.step("work"), hook.next())
            seen.append(await w.step("sync" if winner == [0] else "drain"))
    return seen


@shape
async def hook_made_again(w: W) -> object:
    seen: list[object] = []
    for _ in range(3):
        async with w.hook("t") as hook:
            seen.append(await hook.next())
    return seen


@shape
async def two_awaiters_of_one_hook(w: W) -> object:
    async with w.hook("t") as hook:
        one, two, three = (asyncio.create_task(hook.next()) for _ in range(3))
        await w.step("a")
        two.cancel()
        return await asyncio.gather(one, three)


@shape
async def drained_one_by_one(w: W) -> object:
    pending = {asyncio.ensure_future(w.step("a", n)) for n in range(10)}
    seen: list[object] = []
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            seen.append(await w.step("drain", task.result()))
    return seen


@shape
async def retries_of_losers(w: W) -> object:
    async def stubborn(name: str) -> object:
        while True:
            try:
                return await w.step(f"flaky_{name}")
            except StepError:
                await asyncio.sleep(0.2)

    return [await first(stubborn("a"), stubborn("b"), stubborn("c")) for _ in range(3)]


@shape
async def errors_with_causes(w: W) -> object:
    try:
        await w.step("bad")
    except StepError as error:
        try:
            await w.step("bad_too")
        except StepError as second:
            raise ValueError("both failed") from second
        raise AssertionError from error


@shape
async def error_in_a_group(w: W) -> object:
    async with asyncio.TaskGroup() as group:
        group.create_task(w.step("bad"))
        group.create_task(w.step("worse_bad"))
        group.create_task(asyncio.sleep(100))


@shape
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


@shape
async def anyio_group(w: W) -> object:
    seen: list[object] = []

    async def child(n: int) -> None:
        await anyio.sleep(0.1 * n)
        seen.append(await w.step("a", n))

    async with anyio.create_task_group() as group:
        for n in range(5):
            group.start_soon(child, n)
    return seen


@shape
async def anyio_group_abort(w: W) -> object:
    log: list[object] = []

    async def child(n: int) -> None:
        try:
            await w.step("bad" if n == 2 else "work", n)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                log.append((n, await w.step("undo", n)))
            raise

    try:
        async with anyio.create_task_group() as group:
            for n in range(6):
                group.start_soon(child, n)
    except* StepError as errors:
        log.append([str(e) for e in errors.exceptions])
    return log


@shape
async def anyio_scopes(w: W) -> object:
    seen: list[object] = []
    for n in range(3):
        with anyio.move_on_after(0.6) as scope:
            seen.append(await w.step("slow", n))
        seen.append(scope.cancelled_caught)
        try:
            with anyio.fail_after(0.6):
                seen.append(await w.step("slow", n))
        except TimeoutError:
            seen.append("timeout")
    return seen


@shape
async def anyio_child_scopes(w: W) -> object:
    """One scope over many child scopes: they are cancelled in the order of a set."""
    seen: list[object] = []

    async def child(n: int) -> None:
        with anyio.CancelScope():
            try:
                await w.step("work", n)
            except asyncio.CancelledError:
                seen.append(n)
                raise

    async with anyio.create_task_group() as group:
        for n in range(12):
            group.start_soon(child, n)
        await w.step("a")
        group.cancel_scope.cancel()
    return seen


@shape
async def anyio_primitives(w: W) -> object:
    send, receive = anyio.create_memory_object_stream[int](1)
    limiter, event, lock, semaphore = anyio.CapacityLimiter(2), anyio.Event(), anyio.Lock(), anyio.Semaphore(2)
    seen: list[object] = []

    async def consumer(n: int) -> None:
        async with receive.clone() as stream:
            await event.wait()
            async for item in stream:
                async with limiter, semaphore:
                    value = await w.step("work", item)
                    async with lock:
                        seen.append((n, value))

    async with anyio.create_task_group() as group, send:
        for n in range(3):
            group.start_soon(consumer, n)
        receive.close()
        await w.step("open")
        event.set()
        for n in range(6):
            await send.send(n)
    return seen


@shape
async def anyio_started(w: W) -> object:
    async def service(n: int, *, task_status: anyio.abc.TaskStatus[int]) -> None:
        await w.step("boot", n)
        task_status.started(n)
        await anyio.sleep_forever()

    started: list[int] = []
    async with anyio.create_task_group() as group:
        started += [await group.start(service, n) for n in range(2)]
        group.cancel_scope.cancel()
    return started


@shape
async def anyio_around_task_group(w: W) -> object:
    """A cancelled scope around a TaskGroup whose child waits in finally: anyio would re-arm for ever."""
    seen: list[object] = []

    async def child() -> None:
        try:
            await w.step("slow")
            await w.step("slow")
        finally:
            seen.append(await w.step("cleanup"))

    with anyio.move_on_after(0.1):
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
    return seen


@shape
async def sleeps_side_by_side(w: W) -> object:
    order: list[object] = []

    async def one(n: int) -> None:
        await asyncio.sleep(0.1 * (5 - n))
        order.append((n, w.now()))

    await asyncio.gather(*(one(n) for n in range(5)))
    return order


@shape
async def swallows_cancellation(w: W) -> object:
    task = asyncio.ensure_future(w.step("a"))
    await w.step("b")
    task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return await w.step("c")


@shape
async def cancel_requested(w: W) -> object:
    try:
        for n in range(50):
            await w.step("work", n)
    finally:
        await w.step("compensate")


CANCELLED.add("cancel_requested")
