"""H220 with a worker: Redis is killed and starts from an old dump, as it does by default."""

from __future__ import annotations

import asyncio
from pathlib import Path

from engine_real import place
from tests.valkeys import servers

from fencepost import sleep, step, workflow

RUNS = 20
BODY_SECONDS = 2.0
LEASE_SECONDS = 3.0
SECONDS = 2 * LEASE_SECONDS + 3 * BODY_SECONDS + 8.0
"""Two leases, what the runs take by themselves, and the rest of the machine's."""


async def test_h220_runs_go_on_after_redis_has_started_from_an_old_dump(postgres_url: str, tmp_path: Path) -> None:
    """Bodies are under way, steps and sleeps wait, and the dump is older than all of them."""
    with servers(tmp_path, 1) as (valkey,):
        async with place(postgres_url, valkey.url, lease_seconds=LEASE_SECONDS, concurrency=RUNS // 2) as at:
            begun, half = -1, asyncio.Event()

            @step(registry=at.registry)
            async def work(n: int) -> int:
                nonlocal begun
                begun += 1
                if begun == RUNS // 2:
                    half.set()
                await asyncio.sleep(BODY_SECONDS)
                return n

            @workflow(registry=at.registry)
            async def flow(n: int) -> int:
                if n % 4 == 0:
                    await sleep(1.0)
                return await work(n)

            async with at.worker():
                assert await (await at.client.start(flow, 1)).result(30) == 1
                while valkey.raw.exists(f"fp:{{{at.config.namespace}/default/0}}:sweep"):  # noqa: ASYNC110 - there
                    await asyncio.sleep(0.05)
                valkey.raw.save()
                runs = [await at.client.start(flow, n) for n in range(RUNS)]
                await half.wait()
                valkey.kill()
                valkey.start()
                async with asyncio.timeout(SECONDS):
                    while {(await run.status()).status for run in runs} != {"completed"}:  # noqa: ASYNC110 - there
                        await asyncio.sleep(0.1)
