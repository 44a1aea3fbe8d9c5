"""The workflows that are measured. Bodies do nothing unless a case says so, so that what is measured is the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from benchmarks.cases import REAL_BODY_SECONDS
from fencepost import hook, sleep, step, workflow


@step
async def echo(value: int) -> int:
    """Does nothing."""
    return value


@step
async def fetch(value: int) -> int:
    """A real body: it waits for something."""
    await asyncio.sleep(REAL_BODY_SECONDS)
    return value


@step
def compute(value: int) -> int:
    """A sync body, which runs in a thread."""
    return value


@step
async def carry(data: bytes) -> bytes:
    """As much out as in."""
    return data[::-1]


BODIES = {"nothing": echo, "real": fetch, "thread": compute}


@workflow
async def nothing() -> int:
    """No step at all."""
    return 0


@workflow
async def sequence(count: int, body: str) -> int:
    """One step after the other."""
    call = BODIES[body]
    value = 0
    for number in range(count):
        value += await call(number)
    return value


@workflow
async def gather(count: int, body: str) -> int:
    """All steps at once."""
    call = BODIES[body]
    return sum(await asyncio.gather(*(call(number) for number in range(count))))


@workflow
async def race(count: int, body: str) -> int:
    """All steps at once, drained one by one: the code looks at every single end."""
    call = BODIES[body]
    tasks: set[asyncio.Task[int]] = {asyncio.ensure_future(_task(call(number))) for number in range(count)}
    total = 0
    while tasks:
        done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        total += sum(task.result() for task in done)
    return total


async def _task(coroutine: Coroutine[Any, Any, int]) -> int:
    return await coroutine


@workflow
async def payload_sequence(count: int, size: int) -> int:
    """The same data through one step after the other."""
    data = bytes(range(256)) * (size // 256)
    for _ in range(count):
        data = await carry(data)
    return len(data)


@workflow
async def payload_gather(count: int, size: int) -> int:
    """The same data through all steps at once."""
    data = bytes(range(256)) * (size // 256)
    return sum(len(piece) for piece in await asyncio.gather(*(carry(data) for _ in range(count))))


@workflow
async def nap(seconds: float) -> None:
    """A durable sleep."""
    await sleep(seconds)


@workflow
async def listener(token: str) -> int:
    """Ends with the first signal."""
    async with hook(int, token=token) as signals:
        return await signals


@workflow
async def long_log(count: int, token: str) -> int:
    """A long log that stays open: ``count`` steps, then a signal that may never come."""
    total = 0
    for number in range(count):
        total += await echo(number)
    async with hook(int, token=token) as signals:
        return total + await signals


@workflow
async def grows(token: str) -> int:
    """Does as many steps as a signal says, one after the other and 100 at once in turn; answers 0; ends at -1."""
    done = 0
    async with hook(int, token=token, respond=60) as numbers:
        async for number in numbers:
            if number < 0:
                break
            for at in range(0, number, 200):
                for n in range(at, min(at + 100, number)):
                    await echo(n)
                rest = range(at + 100, min(at + 200, number))
                await asyncio.gather(*(echo(n) for n in rest))
            done += number
            if number == 0:
                numbers.respond(done)
    return done
