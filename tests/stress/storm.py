"""The storm from its servers to its verdict."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
from tests.ordeal.fleet import Fleet
from tests.ordeal.follower import Follower, Seen
from tests.stress.cycle import Storm
from tests.stress.profile import Profile, Tally, told
from tests.stress.senders import Senders
from tests.stress.unfenced import remove_fences

from fencepost.client import Client
from fencepost.config import Config
from fencepost_store.events import EventType
from fencepost_store.migrations import migrate

FOLLOW_SECONDS = 0.03
"""A fraction of the sleeps that the senders aim at."""

Say = Callable[[str], None]


@asynccontextmanager
async def storm(
    profile: Profile, postgres_url: str, redis_url: str, logs: Path, namespace: str, *, fences: bool
) -> AsyncGenerator[Storm]:
    """Schema, workers, client, senders; all are gone when the block is left."""
    await migrate(postgres_url, namespace)
    if not fences:
        await remove_fences(postgres_url, namespace)
    config = Config(
        database_url=postgres_url,
        redis_url=redis_url,
        namespace=namespace,
        env="test",
        lease_seconds=profile.lease_seconds,
        renewal_seconds=profile.lease_seconds / 3.5,
        idle_block_seconds=min(2.0, profile.lease_seconds),
    )
    fleet = Fleet(config, "tests.stress.storm_flows", logs)
    try:
        await asyncio.gather(*(fleet.boot() for _ in range(profile.workers)))
        async with Client(config) as client:
            senders = Senders(client, profile.window_ms, profile.seed)
            storms: Callable[[Seen], None] = senders.saw
            kinds = (EventType.hook_created, EventType.wait_created)
            async with Follower(
                postgres_url, namespace, period=FOLLOW_SECONDS, types=kinds, on_event=storms
            ) as follower:
                yield Storm(profile, fleet, client, senders, follower)
    finally:
        await fleet.end()


async def fenced(profile: Profile, postgres_url: str, redis_url: str, logs: Path, say: Say) -> Tally:
    """All cycles with fences on; the counts of all of them."""
    total = Tally()
    async with storm(profile, postgres_url, redis_url, logs, "storm", fences=True) as made:
        for number in range(1, profile.cycles + 1):
            tally = await made.cycle(number)
            say(f"cycle {number} of {profile.cycles}: {told(tally)}")
            for line in tally.notes[:20]:
                say(f"  {line}")
            total.add(tally)
            if not tally.wrong.total() and not tally.late:
                await _forget(made, postgres_url)
        say_bugs(made, say)
    return total


async def unfenced(
    profile: Profile, postgres_url: str, redis_url: str, logs: Path, say: Say, namespace: str = "unfenced"
) -> Tally:
    """One cycle with fences off."""
    async with storm(profile, postgres_url, redis_url, logs, namespace, fences=False) as made:
        tally = await made.cycle(1)
    say(f"with fences off: {told(tally)}; {tally.parked} of the corrupted runs are parked")
    for line in tally.notes[:3]:
        say(f"  such as {line}")
    return tally


def say_bugs(made: Storm, say: Say) -> None:
    """What workers themselves called a bug of fencepost's."""
    for bug in [bug for worker in made.fleet.all for bug in worker.log.bugs][:5]:
        say(f"handler_failed: {bug}")


async def _forget(made: Storm, postgres_url: str) -> None:
    """Empty the tables after a cycle without a flaw: forty of them would be some ten million events."""
    made.follower.forget()
    made.senders.sent.clear()
    connection: Any = await cast(Any, asyncpg).connect(postgres_url)
    try:
        await connection.execute("TRUNCATE storm.runs, storm.events, storm.hooks CASCADE")
    finally:
        await connection.close()
