"""The workflows that kill tests run. Worker processes import them: their folder is the working folder."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import random
import re
import signal
import time

import asyncpg

from fencepost import continue_as_new, current, hook, sleep, step, stream, transaction, workflow


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
async def tells(n: int) -> int:
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
async def told(n: int) -> int:
    """A writer and a reader side by side."""
    _, total = await asyncio.gather(tells(n), adds())
    return total


@step
async def book(table: str, order: int, dies: bool) -> int:
    """Writes a row in the transaction that carries its end; where it is to die, behind the write, at first."""
    async with transaction() as connection:
        await connection.execute(f"INSERT INTO {table} VALUES ($1, $2)", order, current().attempt)
        if dies and current().attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return order


@step(first_delay=0.01)
async def book_slowly(table: str, order: int, begun: str) -> int:
    """The same, with time to die in: before the write, behind it, behind the block. Tells who is at it in a file."""
    with open(begun, "a", encoding="utf-8") as file:  # noqa: ASYNC230 - a line
        file.write(f"{os.getpid()}\n")
    await asyncio.sleep(random.uniform(0, 0.02))
    async with transaction() as connection:
        await connection.execute(f"INSERT INTO {table} VALUES ($1, $2)", order, current().attempt)
        await asyncio.sleep(random.uniform(0, 0.02))
    await asyncio.sleep(random.uniform(0, 0.01))
    return order


@workflow
async def booked_slowly(table: str, first: int, n: int, begun: str) -> int:
    """Many transactional steps, one after the other."""
    return sum([await book_slowly(table, order, begun) for order in range(first, first + n)])


@step
async def book_plainly(table: str, order: int) -> int:
    """The same on a connection of its own: the row is there before the step has ended."""
    connection = await asyncpg.connect(os.environ["FENCEPOST_DATABASE_URL"])
    await connection.execute(f"INSERT INTO {table} VALUES ($1, $2)", order, current().attempt)
    await connection.close()
    return order


@workflow
async def booked(table: str, dies: bool) -> int:
    """Three transactional steps."""
    return sum([await book(table, order, dies and order == 1) for order in range(3)])


@workflow
async def booked_plainly(table: str) -> int:
    """Three plain ones."""
    return sum([await book_plainly(table, order) for order in range(3)])


@step(retries=0)
async def counts(end: int, file: str) -> int:
    """Counts on from where the last attempt was, and dies half-way at first."""
    context = current()
    first = context.heartbeat_details(int) or 0
    with open(file, "a", encoding="utf-8") as began:  # noqa: ASYNC230 - a line
        began.write(f"{context.attempt} {first}\n")
    for n in range(first, end):
        context.heartbeat(n + 1)
        await asyncio.sleep(0.1)
        if context.attempt == 1 and n == end // 2:
            os.kill(os.getpid(), signal.SIGKILL)
    return end


@workflow
async def counted(end: int, file: str) -> int:
    """A long step that beats."""
    return await counts(end, file)


@workflow
async def fib(n: int) -> int:
    """A run per call: all but the leaves wait for children."""
    if n < 2:
        return await add(n, 0) if n else 0
    a, b = await asyncio.gather(fib(n - 1), fib(n - 2))
    return a + b


@workflow
async def countdown(n: int, total: int = 0) -> int:
    """A chain of n + 1 runs, with a child in each."""
    total += await fib(2)
    if n:
        continue_as_new(n - 1, total)
    return total


@workflow
async def family(n: int) -> int:
    """The chain as a child."""
    return await countdown(n)


@workflow
async def drained(got: list[list[int]], want: int, generations: int = 1) -> list[object]:
    """Takes some signals, drains what else is there, up to twelve in all, and goes on as new with what it has."""
    async with hook(list[int], token="drain") as numbers:
        for _ in range(min(3, want - len(got))):
            got.append(await numbers)
        try:
            while len(got) < min(want, generations * 12):
                async with asyncio.timeout(0.02):
                    got.append(await numbers)
        except TimeoutError:
            pass
        if len(got) < want:
            drained.continue_as_new(got, want, generations + 1)
    return [got, generations]


@workflow
async def sleeps_in_c(seconds: float) -> int:
    """Blocks where no exception can be raised in it."""
    time.sleep(seconds)  # noqa: ASYNC251 - it is the point
    return 1


@workflow
async def holds_the_gil(how: str) -> int:
    """No other thread of the process can do anything meanwhile."""
    if how == "regular expression":
        re.match(r"(a+)+$", "a" * 60 + "b")
    elif how == "integer":
        return int(7 ** (10**9) > 0)
    ctypes.PyDLL(None).sleep(3600)
    return 1


@step(timeout=0.5, retries=1, first_delay=0.01)
async def blocks_beyond(mark: str) -> None:
    """A call that blocks, in an ``async def``."""
    with open(mark, "a") as file:  # noqa: ASYNC230 - as above
        file.write("began\n")
    time.sleep(3600)  # noqa: ASYNC251 - as above


@step(retries=0)
async def blocks_for_ever(mark: str) -> None:
    """The same without a timeout."""
    with open(mark, "a") as file:  # noqa: ASYNC230 - as above
        file.write("began\n")
    time.sleep(3600)  # noqa: ASYNC251 - as above


@workflow
async def blocked_beyond(mark: str, bounded: bool) -> None:
    """One of them."""
    await (blocks_beyond(mark) if bounded else blocks_for_ever(mark))


@workflow
async def swallows(n: int) -> int:
    """Catches whatever is raised in it, and goes on."""
    while True:
        with contextlib.suppress(BaseException):
            await add(n, n)
            await sleep(3600)
