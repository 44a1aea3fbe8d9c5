"""Exactly once, by a count: workers with transactional steps are killed at random moments, again and again, and each
step's row is there once. ``FENCEPOST_TEST_KILLS=200`` is the long form; the gate has a short one.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import secrets
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from tests.kills.fleet import WorkerProcess
from tests.kills.test_transactional_steps import prepared

from fencepost.client import Client
from fencepost_store.events import EventType

KILLS = int(os.environ.get("FENCEPOST_TEST_KILLS", "8"))
WORKERS = 2
STEPS = 15
TOGETHER = 8


@pytest.mark.timeout(400 + 20 * KILLS)
async def test_h122_killed_at_random_moments_each_step_has_written_once(
    postgres_url: str, valkey_url: str, tmp_path: Path
) -> None:
    """Runs are started as long as there is killing; a kill counts if its worker had begun a body a moment before."""
    begun = tmp_path / "begun"
    begun.touch()
    seed = secrets.randbelow(10**6)
    chance = random.Random(seed)
    print(f"seed {seed}, {KILLS} kills")
    usual, table = await prepared(postgres_url, valkey_url)
    config = msgspec.structs.replace(usual, lease_seconds=1.5, renewal_seconds=0.4, idle_block_seconds=0.5)
    killed = 0
    numbers = itertools.count()
    runs: list[Any] = []
    async with Client(config) as client:
        killing = asyncio.Event()

        async def start() -> None:
            """So many at a time, until the killing is over."""
            while not killing.is_set():
                run = await client.start("booked_slowly", table, next(numbers) * STEPS, STEPS, str(begun))
                runs.append(run)
                await run.result()

        async def slay() -> None:
            nonlocal killed
            while killed < KILLS:
                victim = await WorkerProcess.start(config)
                met = await _at_work(begun, victim.process.pid)
                await asyncio.sleep(chance.uniform(0, 0.06))
                await victim.end()
                killed += met

        starters = [asyncio.create_task(start()) for _ in range(TOGETHER)]
        await asyncio.gather(*(slay() for _ in range(WORKERS)))
        killing.set()
        last = await WorkerProcess.start(config)
        try:
            await asyncio.wait_for(asyncio.gather(*starters), 240)
        finally:
            await last.end()
        started = 0
        for run in runs:
            started += len([event async for event in run.events() if event.type is EventType.step_started])
    admin: Any = await asyncpg.connect(config.database_url)
    found = [row["n"] for row in await admin.fetch(f'SELECT n FROM "{table}" ORDER BY n')]
    await admin.close()
    again = started - len(found)
    print(f"{killed} kills, {len(runs)} runs, {len(found)} steps, {again} attempts that were lost with their worker")
    assert found == list(range(len(runs) * STEPS)), f"seed {seed}"
    assert again >= KILLS // 4, "the kills must have met steps at work, or nothing was shown"


async def _at_work(begun: Path, pid: int, within_seconds: float = 10.0) -> bool:
    """Wait until a body has begun in that process; False if none does in time: all are under dead workers' leases."""
    loop = asyncio.get_running_loop()
    until = loop.time() + within_seconds
    while loop.time() < until:
        if str(pid) in begun.read_text("utf-8").split():  # noqa: ASYNC240 - a short file
            return True
        await asyncio.sleep(0.003)
    return False
