"""H225: a run with 100,000 events, a worker that is 5 ms away from Postgres, and twenty signals a second all the time.

In full (``make long``) only where FENCEPOST_LONG is set; else in small, so that it is run at all.
"""

from __future__ import annotations

import asyncio
import os

import pytest
from msgspec.structs import replace
from tests.last_resort import adder, watched
from tests.relay import relay

from fencepost import Client, errors
from fencepost.authoring.registry import Registry
from fencepost.config import Config
from fencepost.engine.worker import Worker
from fencepost.payload import encode
from fencepost_store.events import EventType, NewEvent
from fencepost_store.migrations import migrate
from fencepost_store.postgres import connect
from fencepost_store.protocol import Batch

FULL = bool(os.environ.get("FENCEPOST_LONG"))
SIGNALS = 99_000 if FULL else 2_000
AT_ONCE = 1_000
DELAY_SECONDS = 0.005
GAP_SECONDS = 0.05 if FULL else 0.005
"""In small a replay takes little, and signals come the faster."""
SECONDS = 600 if FULL else 60
GRACE = 10_000_000


async def grown(config: Config, run_id: str) -> None:
    """So many signals in its log, and nobody has taken one."""
    store = await connect(config.database_url, config.namespace)
    try:
        for first in range(0, SIGNALS, AT_ONCE):
            events = tuple(
                NewEvent(EventType.hook_received, "hook#1", dedupe=f"d{n}", payload=encode(1))
                for n in range(first, first + AT_ONCE)
            )
            await store.append([Batch(run_id, None, events, grace=GRACE)])
    finally:
        await store.close()


async def flood(client: Client) -> int:
    """Signals, one after the other, until nobody listens; how many were taken in."""
    sent = 0
    while True:
        await asyncio.sleep(GAP_SECONDS)
        try:
            await client.resume("t", 1, id=f"f{sent}")
        except errors.HookNotFound:
            return sent
        sent += 1


@pytest.mark.timeout(2 * SECONDS)
async def test_h225_a_long_log_under_a_flood_is_turned(postgres_url: str, valkey_url: str, namespace: str) -> None:
    registry = Registry()
    adds = adder(registry)
    near = Config(
        database_url=postgres_url, redis_url=valkey_url, namespace=namespace, env="test", conflict_limit=2,
        hook_backlog_max=200_000, events_max=200_000,
    )  # fmt: skip
    await migrate(postgres_url, namespace)
    async with Client(near) as client:
        async with Worker(near, registry):
            run = await client.start(adds)
            while (await run.status()).events < 3:  # noqa: ASYNC110 - what is waited for is in Postgres
                await asyncio.sleep(0.05)
        await grown(near, run.id)
        async with relay(postgres_url) as (wire, url):
            wire.delay = DELAY_SECONDS
            far = replace(near, database_url=url)
            async with Worker(far, registry) as worker:
                under_lock = watched(worker.shell.store)
                flooding = asyncio.create_task(flood(client))
                await client.resume("t", 0)
                total = await run.result(SECONDS)
        assert await flooding > 0
    print(f"{SIGNALS} signals and {total - SIGNALS} of the flood; under the lock: {under_lock} events")
    assert total >= SIGNALS
    assert under_lock, "the last resort was not needed"
    assert max(under_lock) < 200
