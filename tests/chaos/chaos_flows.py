"""The workflows of the mixed load. Worker processes and judges import them."""

from __future__ import annotations

import asyncio

from tests.ordeal.bodies import ran
from tests.stress.storm_flows import storm

from fencepost import Fatal, hook, sleep, step, workflow

TIMEOUT_SECONDS = 0.4

__all__ = ["cancelled", "fan", "mailbox", "retried", "sequence", "sleeper", "storm", "timed"]


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
