"""Child runs on real servers: many that wait, and workers that die at each of their duties."""

from __future__ import annotations

import time

import pytest
from tests.kills.fleet import standby, worker

from fencepost.client import Client
from fencepost.config import Config
from fencepost_store import migrations

FIB_12 = 144
RUNS_OF_FIB_12 = 465
LEASE_SECONDS = 2.0


async def test_h51_recursive_children_complete_on_one_worker_with_one_slot(
    postgres_url: str, valkey_url: str, namespace: str
) -> None:
    """fib(12) is 465 runs, of which 232 wait for children while one body runs at a time: waiting takes no slot."""
    await migrations.migrate(postgres_url, namespace)
    config = Config(database_url=postgres_url, redis_url=valkey_url, namespace=namespace, env="test")
    async with worker(config, "", "--no-supervisor", "--concurrency", "1"), Client(config) as client:
        began = time.monotonic()
        run = await client.start("fib", 12)
        assert await run.result(240) == FIB_12
        print(f"fib(12): {RUNS_OF_FIB_12} runs in {time.monotonic() - began:.1f} s")
        rows = await client.list(limit=1_000)
        assert {row.status for row in rows} == {"completed"}
        assert len(rows) == RUNS_OF_FIB_12
        assert {row.wake_at for row in rows} == {None}
        assert len(await client.list(parent=run.id)) == 2


@pytest.mark.parametrize(
    "fault",
    [
        "child.before:2:kill",
        "child.started:2:kill",
        "parent.before:2:kill",
        "parent.told:2:kill",
        "successor.started:1:kill",
    ],
)
async def test_h52_h96_a_worker_dies_at_a_duty(postgres_url: str, valkey_url: str, namespace: str, fault: str) -> None:
    """By SIGKILL, before or after it made a child, told a parent or made a successor: another one does it, once."""
    await migrations.migrate(postgres_url, namespace)
    config = Config(
        database_url=postgres_url,
        redis_url=valkey_url,
        namespace=namespace,
        env="test",
        lease_seconds=LEASE_SECONDS,
        renewal_seconds=LEASE_SECONDS / 4,
    )
    async with standby(config) as second, worker(config, fault) as first, Client(config) as client:
        run = await client.start("family", 2)
        await first.death()
        second.send(18)  # SIGCONT
        assert await run.result(60) == 3
        rows = await client.list(limit=1_000)
        assert len(rows) == 1 + 3 * (1 + 3)
        (chain,) = {row.parent_entity for row in await client.list(parent=run.id)}
        told = [event.type.name async for event in run.events() if event.entity == chain]
        assert told == ["child_created", "child_completed"]
        assert sorted(row.status for row in rows).count("continued") == 2
