"""The workflows that kill tests run. Worker processes import them: their folder is the working folder."""

from __future__ import annotations

import asyncio
import os
import signal
import time

from fencepost import current, step, stream, workflow


@step
async def add(a: int, b: int) -> int:
    """A plain step."""
    return a + b


@step(retries=0)
async def suicide(n: int) -> int:
    """Kills its process on the first attempt."""
    if current().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


@step(retries=0)
async def poison(n: int) -> int:
    """Kills its process on every attempt."""
    os.kill(os.getpid(), signal.SIGKILL)
    return n


@step(retries=0)
async def slow(n: int) -> int:
    """A body that takes a while, beside others that do not live that long."""
    await asyncio.sleep(0.3)
    return n


@workflow
async def sums(n: int) -> int:
    """Sequential steps: the hot path."""
    total = 0
    for i in range(n):
        total = await add(total, i)
    return total


@workflow
async def sums_under_a_timeout(n: int) -> int:
    """The same, with a wait pending all the time."""
    async with asyncio.timeout(3600):
        total = 0
        for i in range(n):
            total = await add(total, i)
        return total


@workflow
async def killed_mid_step(n: int) -> int:
    """A worker dies in a body."""
    return await suicide(await add(n, 0))


@workflow
async def poisoned(n: int) -> int:
    """A step that kills its process for ever."""
    return await poison(n)


@workflow
async def bystander(n: int) -> int:
    """One of many that share a worker with a poison."""
    return await slow(n)


@step(retries=0)
async def blocks(path: str, seconds: float) -> int:
    """Holds up the worker's loop, and writes down that it began."""
    with open(path, "a", encoding="utf-8") as began:  # noqa: ASYNC230 - it is here to block
        began.write(f"{os.getpid()}\n")
    time.sleep(seconds)  # noqa: ASYNC251 - the same
    return 1


@workflow
async def blocked(path: str, seconds: float) -> int:
    """User code that blocks the loop for longer than a lease."""
    return await blocks(path, seconds)


@workflow
async def long(n: int) -> int:
    """Takes a second of the worker's loop before its first step, so that a turn of it can be caught at work."""
    time.sleep(1)  # noqa: ASYNC251 - it is here to block
    return await slow(n)


@workflow
async def spins() -> None:
    """A workflow that never comes to rest."""
    while True:
        pass


@workflow
async def mixed(n: int) -> int:
    """Sequence, fan, sleep: something of everything, for floods and flushes."""
    first = await add(n, 1)
    parts = await asyncio.gather(*(add(first, i) for i in range(5)))
    await asyncio.sleep(0.2)
    return await add(sum(parts), 0)


@step
async def counts(n: int) -> int:
    """Writes numbers, each by itself, and goes on where it was when it starts again."""
    async with stream("numbers", int, on_retry="continue") as out:
        for i in range(n):
            await out.write(i)
            await out.flush()
    return n


@step
async def adds() -> int:
    """Reads them in another step, perhaps in another process."""
    total = 0
    async for number in stream("numbers", int).read():
        total += number
    return total


@workflow
async def counted(n: int) -> int:
    """A writer and a reader side by side."""
    _, total = await asyncio.gather(counts(n), adds())
    return total
