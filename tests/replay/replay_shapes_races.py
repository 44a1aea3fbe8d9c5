"""Shapes in which something wins and something is withdrawn: timeouts, waits, hooks, losers."""

from __future__ import annotations

import asyncio
from typing import Any

from replay_catalogue import first, shape
from replay_world import StepError, W


@shape("completed", events=15)
async def raced(w: W) -> object:
    return [await first(w.step("a"), w.step("b"), w.step("c")) for _ in range(3)]


@shape("completed", events=14)
async def raced_with_sleep(w: W) -> object:
    return [await first(w.step("slow"), asyncio.sleep(0.9, "late")) for _ in range(4)]


@shape("completed", events=15)
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


@shape("completed", events=14)
async def waited_for(w: W) -> object:
    seen: list[object] = []
    for _ in range(4):
        try:
            seen.append(await asyncio.wait_for(w.step("slow"), 0.7))
        except TimeoutError:
            seen.append("timeout")
    return seen


@shape("completed", events=16)
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


@shape("completed", events=24)
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


@shape("completed", events=5)
async def shielded(w: W) -> object:
    inner = asyncio.ensure_future(w.step("important"))
    try:
        async with asyncio.timeout(0.3):
            return await asyncio.shield(inner)
    except TimeoutError:
        return "late", await inner


@shape("completed", events=18)
async def hook_in_a_loop(w: W) -> object:
    async with w.hook("t") as hook:
        return [(await hook.next(), await w.step("handle")) for _ in range(6)]


@shape("completed", events=14)
async def hook_flood(w: W) -> object:
    async with w.hook("t") as hook:
        await w.step("busy")
        await asyncio.sleep(5)
        return [await hook.next() for _ in range(10)]


@shape("completed", events=23)
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


@shape("completed", events=20)
async def hook_raced_by_tasks(w: W) -> object:
    seen: list[object] = []
    async with w.hook("t") as hook:
        while len(seen) < 8:
            seen.append(await first(hook.next(), asyncio.sleep(0.3, "late"), w.step("poll")))
    return seen


@shape("completed", events=9)
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


@shape("completed", events=8)
async def all_hooks_or_sleep(w: W) -> object:
    async with w.hook("t1") as one, w.hook("t2") as two:
        return await first(asyncio.gather(one.next(), two.next()), asyncio.sleep(1.5, "late"))


@shape("completed", events=15)
async def branch_decides_the_step(w: W) -> object:
    seen: list[object] = []
    async with w.hook("t") as hook:
        for _ in range(4):
            winner, _ = await first(w.step("work"), hook.next())
            seen.append(await w.step("sync" if winner == [0] else "drain"))
    return seen


@shape("completed", events=9)
async def hook_made_again(w: W) -> object:
    seen: list[object] = []
    for _ in range(3):
        async with w.hook("t") as hook:
            seen.append(await hook.next())
    return seen


@shape("completed", events=7)
async def two_awaiters_of_one_hook(w: W) -> object:
    async with w.hook("t") as hook:
        one, two, three = (asyncio.create_task(hook.next()) for _ in range(3))
        await w.step("a")
        two.cancel()
        return await asyncio.gather(one, three)


@shape("completed", events=36)
async def drained_one_by_one(w: W) -> object:
    pending = {asyncio.ensure_future(w.step("a", n)) for n in range(10)}
    seen: list[object] = []
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            seen.append(await w.step("drain", task.result()))
    return seen


@shape("completed", events=18)
async def retries_of_losers(w: W) -> object:
    async def stubborn(name: str) -> object:
        while True:
            try:
                return await w.step(f"flaky_{name}")
            except StepError:
                await asyncio.sleep(0.2)

    return [await first(stubborn("a"), stubborn("b"), stubborn("c")) for _ in range(3)]
