"""The workflows of the mixed load. Worker processes and judges import them."""

from __future__ import annotations

import asyncio

from tests.ordeal.bodies import ran
from tests.stress.storm_flows import storm

from fencepost import Fatal, current, hook, sleep, step, transaction, workflow

TIMEOUT_SECONDS = 0.4

BEATS = 12
"""Of a step that says how far it is."""

HASTE_SECONDS = 0.5

__all__ = [
    "booked",
    "cancelled",
    "counted",
    "dawdler",
    "fan",
    "hasty",
    "mailbox",
    "retried",
    "sequence",
    "sleeper",
    "storm",
    "timed",
    "tree",
]


@step
async def add(a: int, b: int) -> int:
    """A short body."""
    ran()
    await asyncio.sleep(0.02)
    return a + b


@step
async def square(n: int) -> int:
    """Bodies of different lengths."""
    ran()
    await asyncio.sleep(0.01 * (n % 20))
    return n * n


@step(retries=4, first_delay=0.2)
async def stubborn(n: int, fails: int) -> int:
    """Fails at first. A start that follows on a crash is an attempt too, so it may fail less often."""
    if ran() <= fails:
        raise ValueError(f"{n} fails")
    return n


@step
async def hopeless(n: int) -> int:
    """Is not tried again."""
    ran()
    raise Fatal(f"{n} is hopeless")


@step(retries=0)
async def slow(seconds: float) -> str:
    """A body that outlasts its caller's patience."""
    ran()
    await asyncio.sleep(seconds)
    return "in time"


@step
async def tidied(n: int) -> int:
    """What is done at last."""
    ran()
    return n


@step
async def book(place: int) -> int:
    """Writes to the same Postgres: there is one row for it, whatever happens to its worker."""
    ran()
    async with transaction() as connection:
        await connection.execute("INSERT INTO chaos_user.bookings VALUES ($1, $2)", current().run_id, place)
        await asyncio.sleep(0.05)
    return place


@step(heartbeat_timeout=20)
async def count(to: int) -> int:
    """Goes on where the attempt before was."""
    ran()
    for n in range(current().heartbeat_details(int) or 0, to):
        await asyncio.sleep(0.03)
        current().heartbeat(n + 1)
    return to


@workflow
async def booked(places: int) -> list[int]:
    """Transactional steps, in sequence and at once."""
    first = await book(0)
    return [first, *await asyncio.gather(*(book(place) for place in range(1, places)))]


@workflow
async def counted(n: int) -> int:
    """A step that beats."""
    return await count(BEATS) + n


@workflow
async def sequence(n: int) -> int:
    """The hot path."""
    total = 0
    for i in range(n):
        total = await add(total, i)
    return total


@workflow
async def fan(n: int) -> int:
    """Many at once."""
    return sum(await asyncio.gather(*(square(i) for i in range(n))))


@workflow
async def retried(n: int, fails: int) -> str:
    """Failures that are tried again, and one that is not."""
    first = await stubborn(n, fails)
    try:
        await hopeless(n)
    except Fatal as error:
        return f"{first}, {error}"
    return "no error"


@workflow
async def timed(n: int, seconds: float) -> str:
    """A step under a timeout; what comes first in the log decides."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await slow(seconds)
    except TimeoutError:
        return f"late, {await tidied(n)}"


@workflow
async def cancelled(token: str, n: int) -> None:
    """Waits for a signal that never comes; is cancelled, and tidies up."""
    try:
        async with hook(int, token=token) as never:
            await never
    finally:
        await sleep(0.2)
        await tidied(n)


@workflow
async def sleeper(n: int, seconds: float) -> int:
    """Sleeps for longer than a lease between two steps."""
    first = await add(n, 1)
    await sleep(seconds)
    return await add(first, 1)


@workflow
async def mailbox(token: str, count: int) -> list[int]:
    """Takes in signals of several senders, with a step for every third one."""
    taken: list[int] = []
    async with hook(int, token=token) as letters:
        while len(taken) < count:
            taken.append(await letters)
            if len(taken) % 3 == 0:
                await add(len(taken), 0)
    return taken


@workflow
async def tree(depth: int) -> int:
    """Child runs, and theirs; counts them all."""
    if depth == 0:
        return await add(1, 0)
    return 1 + sum(await asyncio.gather(tree(depth - 1), tree(depth - 1)))


@workflow
async def dawdler(seconds: float) -> str:
    """A child that may be cancelled."""
    await sleep(seconds)
    return "in time"


@workflow
async def hasty(n: int, seconds: float) -> str:
    """A child under a timeout: what it came to decides."""
    try:
        async with asyncio.timeout(HASTE_SECONDS):
            return await dawdler(seconds)
    except TimeoutError:
        return f"late, {await tidied(n)}"
