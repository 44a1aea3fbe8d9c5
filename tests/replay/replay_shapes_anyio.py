"""Shapes made of anyio's task groups, cancel scopes and primitives."""

from __future__ import annotations

import asyncio

import anyio
import anyio.abc
from anyio.streams.memory import MemoryObjectReceiveStream
from replay_catalogue import shape
from replay_world import StepError, W


@shape("completed", events=15)
async def anyio_group(w: W) -> object:
    seen: list[object] = []

    async def child(n: int) -> None:
        await anyio.sleep(0.1 * n)
        seen.append(await w.step("a", n))

    async with anyio.create_task_group() as group:
        for n in range(5):
            group.start_soon(child, n)
    return seen


@shape("completed", events=14)
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


@shape("completed", events=20)
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


@shape("completed", events=21)
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


@shape("completed", events=15)
async def anyio_primitives(w: W) -> object:
    send, receive = anyio.create_memory_object_stream[int](1)
    limiter, event, lock, semaphore = anyio.CapacityLimiter(2), anyio.Event(), anyio.Lock(), anyio.Semaphore(2)
    seen: list[object] = []

    async def consumer(n: int, stream: MemoryObjectReceiveStream[int]) -> None:
        async with stream:
            await event.wait()
            async for item in stream:
                async with limiter, semaphore:
                    value = await w.step("work", item)
                    async with lock:
                        seen.append((n, value))

    async with anyio.create_task_group() as group, send:
        for n in range(3):
            group.start_soon(consumer, n, receive.clone())
        receive.close()
        await w.step("open")
        event.set()
        for n in range(6):
            await send.send(n)
    return seen


@shape("completed", events=5)
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


@shape("completed", events=6)
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
