"""The workflows of the storm. Worker processes and judges import them."""

from __future__ import annotations

import asyncio
import os
import signal

from tests.ordeal.bodies import ran

from fencepost import current, hook, step, workflow
from fencepost.authoring.hook import Hook

PER_TOKEN = 10
"""Payloads that are fired at one token; then the hook is closed and another one opened."""

PAUSE_SECONDS = 0.005
FLAKY = 7
"""Of the steps of a step storm, every so many-th fails once."""


@step
async def took(loop: int, value: int) -> str:
    """On the hook's branch."""
    ran()
    return f"{loop} took {value}"


@step
async def weighed(value: int) -> int:
    """On the hook's branch, beside it."""
    ran()
    return value * 3


@step
async def missed(loop: int) -> str:
    """On the sleep's branch."""
    ran()
    return f"{loop} missed"


@step
async def noted(loop: int) -> int:
    """On the sleep's branch, after it."""
    ran()
    return loop * 5


@workflow
async def storm(base: str, loops: int, sleep_ms: int) -> list[str]:
    """race(hook, sleep) in a loop; parallel sleeps and differently named steps on each branch."""
    trail: list[str] = []
    tokens = 0
    while len(trail) < loops:
        tokens += 1
        taken = 0
        async with hook(int, token=f"{base}:{tokens}") as payloads:
            while taken < PER_TOKEN and len(trail) < loops:
                value = await _race(payloads, sleep_ms / 1000)
                if value is None:
                    trail.append(await _on_silence(len(trail)))
                else:
                    taken += 1
                    trail.append(await _on_payload(len(trail), value))
    return trail


async def _race(payloads: Hook[int], seconds: float) -> int | None:
    """The next payload, or None if the sleep was over before."""
    payload, sleeping = asyncio.create_task(next_payload(payloads)), asyncio.create_task(nap(seconds))
    done, left = await asyncio.wait({payload, sleeping}, return_when=asyncio.FIRST_COMPLETED)
    for task in left:
        task.cancel()
    await asyncio.wait({payload, sleeping})
    return payload.result() if payload in done else None


async def next_payload(payloads: Hook[int]) -> int:
    """A task of its own, that is cancelled when it has lost."""
    return await payloads


async def nap(seconds: float) -> None:
    """The sleep of the race; its name stands in the log."""
    await asyncio.sleep(seconds)


async def pause() -> None:
    """A sleep beside the steps of a branch."""
    await asyncio.sleep(PAUSE_SECONDS)


async def _on_payload(loop: int, value: int) -> str:
    text, weight, _ = await asyncio.gather(took(loop, value), weighed(value), pause())
    return f"{text}, {weight}"


async def _on_silence(loop: int) -> str:
    _, text, _ = await asyncio.gather(pause(), missed(loop), pause())
    return f"{text}, {await noted(loop)}"


@step(first_delay=0.05)
async def one_of_many(n: int) -> int:
    """A step of a step storm; some fail at first."""
    if ran() == 1 and n % FLAKY == 0:
        raise ValueError(f"{n} fails once")
    return n


@workflow
async def step_storm(width: int) -> int:
    """Many steps at once, and many more when they are back."""
    first = await asyncio.gather(*(one_of_many(n) for n in range(width)))
    second = await asyncio.gather(*(one_of_many(n + 1) for n in first))
    return sum(second)


@workflow
async def flooded(token: str, payloads: int) -> list[int]:
    """One run, one hook, everything at once."""
    async with hook(int, token=token) as numbers:
        return [await numbers for _ in range(payloads)]


@workflow
async def wakes(token: str, times: int) -> int:
    """Woken again and again by short sleeps, beside a hook on which nothing comes until the end."""
    async with hook(int, token=token) as last:
        for _ in range(times):
            await asyncio.sleep(0.05)
        return await last


@step
async def half(n: int) -> int:
    """One of two that end in the same tick."""
    ran()
    return n


@workflow
async def pair_then_webhook(token: str) -> int:
    """Two steps that end together, then a webhook."""
    async with hook(int, token=token, http=True) as webhook:
        first, second = await asyncio.gather(half(1), half(2))
        return first + second + await webhook


@step(retries=0)
async def deadly() -> int:
    """kill -9 of its own worker, the first time."""
    ran()
    if current().attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return current().attempt


@workflow
async def kills_once() -> bool:
    """Its worker dies in the body: there is always a message that another one has to take over."""
    return await deadly() > 1
