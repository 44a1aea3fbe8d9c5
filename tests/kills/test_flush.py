"""H44: FLUSHALL under load, on real servers with two worker processes: no run lost, no result changed."""

from __future__ import annotations

import asyncio
import time

from redis.asyncio import Redis
from tests.kills.fleet import worker

from fencepost.client import Client
from fencepost.config import Config
from fencepost_store import migrations

RUNS = 120
FLUSHES = 4


def expected(n: int) -> int:
    """What ``mixed`` returns, by hand."""
    return sum(n + 1 + i for i in range(5))


async def test_h44_flushall_under_load(postgres_url: str, valkey_url: str, namespace: str) -> None:
    """Every run completes with its result although the queue is emptied again and again while they run."""
    await migrations.migrate(postgres_url, namespace)
    config = Config(database_url=postgres_url, redis_url=valkey_url, namespace=namespace, env="test")
    server = Redis.from_url(valkey_url)
    async with worker(config), worker(config), Client(config) as client:

        async def one(n: int) -> int:
            run = await client.start("mixed", n)
            return int(await run.result(90))

        waiting = [asyncio.create_task(one(n)) for n in range(RUNS)]
        for flush in range(FLUSHES):
            # in the middle of the work: when a share of the runs has ended, not after a time
            while sum(task.done() for task in waiting) < RUNS * flush // (FLUSHES + 1):
                await asyncio.wait([task for task in waiting if not task.done()], return_when=asyncio.FIRST_COMPLETED)
            open_runs = sum(not task.done() for task in waiting)
            await server.flushall()
            print(f"FLUSHALL with {open_runs} runs open")
            assert open_runs > 0
        flushed = time.monotonic()
        assert await asyncio.gather(*waiting) == [expected(n) for n in range(RUNS)]
        print(f"all {RUNS} runs ended {time.monotonic() - flushed:.1f} s after the last of {FLUSHES} flushes")
        assert {run.status for run in await client.list(limit=RUNS)} == {"completed"}
    await server.aclose()
