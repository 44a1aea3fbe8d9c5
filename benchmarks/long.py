"""Does a run get slower as its log grows? A warm turn after a signal at event 100 and at event 100,000, and the last
100 of 1,000 steps against the first 100. Ratios of one run with itself, so they hold on any machine.
"""

from __future__ import annotations

import asyncio
import time
import uuid

from benchmarks import flows
from benchmarks.singles import Single
from fencepost import Client
from fencepost_store.events import EventType

ASKED = 40
"""Signals per reading: an answer each, which stands in the log before it is sent."""

FILLED_TO = 99_000
"""Events before the second reading; the limit of a log is 100,000."""

BATCH_STEPS = 3_000
"""Steps per signal while the log is filled."""

STEPS = 1_000
EDGE = 100


async def long(client: Client) -> list[Single]:
    """Some two minutes, most of them to fill the log."""
    token = f"bench:{uuid.uuid4().hex}"
    run = await client.start(flows.grows, token)
    while (await run.status()).events < 3:  # noqa: ASYNC110 (the log is in another process)
        await asyncio.sleep(0.02)
    first = await _asked(client, token)
    began = time.perf_counter()
    while (events := (await run.status()).events) < FILLED_TO:
        await client.resume(token, min(BATCH_STEPS, (FILLED_TO - events) // 3 + 1))
        await client.ask(token, 0)
        while (await run.status()).events == events:  # noqa: ASYNC110 (as above)
            await asyncio.sleep(0.05)
    took = time.perf_counter() - began
    last = await _asked(client, token)
    await client.resume(token, -1)
    assert await run.result(60) > FILLED_TO // 4
    return [
        Single("events per second while the log grew", events / took, "events/s", ""),
        Single(f"warm turn at event {events}, over that at 100", last / first, "", "<= 1.2"),
        Single(f"last {EDGE} of {STEPS} steps over the first {EDGE}", await _edges(client), "", "<= 1.1"),
    ]


async def _asked(client: Client, token: str) -> float:
    """The median time of an answer, seconds."""
    took: list[float] = []
    for _ in range(ASKED):
        began = time.perf_counter()
        reply = await client.ask(token, 0)
        took.append(time.perf_counter() - began)
        assert reply.status == 200
    return sorted(took)[len(took) // 2]


async def _edges(client: Client) -> float:
    """By the instants in the log; the best of three runs at either end."""
    firsts: list[int] = []
    lasts: list[int] = []
    for _ in range(3):
        run = await client.start(flows.sequence, STEPS, "nothing")
        await run.result(120)
        ends = [event.at async for event in run.events() if event.type is EventType.step_completed]
        firsts.append(ends[EDGE] - ends[0])
        lasts.append(ends[-1] - ends[-1 - EDGE])
    return min(lasts) / min(firsts)
