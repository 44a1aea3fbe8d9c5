"""H122, H123: a worker process is killed, or frozen, at every point of a transactional step, from its begin to its
settle; another takes over. The step's row is there once. The same death duplicates the row of a plain step.
"""

from __future__ import annotations

import asyncio
import signal
import uuid
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.kills.fleet import standby, worker

from fencepost.client import Client
from fencepost.config import Config
from fencepost_store import migrations

# The run's first settle is its first turn's, the second that of the step. "": in the body, behind the write.
POINTS = (
    "joint.begun:1",
    "",
    "joint.sealed:1",
    "joint.appended:1",
    "joint.committed:1",
    "settle.before:2",
    "settle.after:2",
    "joint.appended:3",
)
FROZEN = ("joint.begun:1", "joint.sealed:1", "joint.appended:1", "joint.committed:1")


async def prepared(postgres_url: str, valkey_url: str) -> tuple[Config, str]:
    """A namespace and a table of its own."""
    namespace = f"k_{uuid.uuid4().hex[:16]}"
    await migrations.migrate(postgres_url, namespace)
    admin: Any = await asyncpg.connect(postgres_url)
    await admin.execute(f'CREATE TABLE "rows_{namespace}" (n integer, attempt integer)')
    await admin.close()
    config = Config(database_url=postgres_url, redis_url=valkey_url, namespace=namespace, env="test")
    return config, f"rows_{namespace}"


async def rows(config: Config, table: str) -> list[int]:
    """The numbers that stand in the table."""
    admin: Any = await asyncpg.connect(config.database_url)
    try:
        return [row["n"] for row in await admin.fetch(f"SELECT n FROM {table} ORDER BY n")]
    finally:
        await admin.close()


async def killed_at(config: Config, table: str, workflow: str, point: str, *arguments: Any) -> list[int]:
    """The table after a run whose first worker ended itself at the point."""
    fault = f"{point}:kill" if point else ""
    async with standby(config) as other, worker(config, fault) as victim, Client(config) as client:
        run = await client.start(workflow, table, *arguments)
        await asyncio.wait_for(victim.death(), 60)
        other.send(signal.SIGCONT)
        assert await run.result(60) == 3
        return await rows(config, table)


@pytest.mark.timeout(400)
async def test_h122_a_transactional_step_killed_at_every_point_has_written_once(
    postgres_url: str, valkey_url: str
) -> None:
    """kill -9 at each point in turn, several side by side: they wait for leases most of the time."""
    room = asyncio.Semaphore(3)

    async def one(point: str) -> tuple[str, list[int]]:
        async with room:
            config, table = await prepared(postgres_url, valkey_url)
            return point, await killed_at(config, table, "booked", point, not point)

    found = await asyncio.gather(*(one(point) for point in POINTS))
    print(f"killed at {len(found)} points, rows: {[numbers for _, numbers in found]}")
    assert found == [(point, [0, 1, 2]) for point in POINTS]


@pytest.mark.timeout(200)
async def test_h122_a_plain_step_killed_between_its_write_and_its_end_has_written_twice(
    postgres_url: str, valkey_url: str
) -> None:
    """What transaction() is for: the same death, and the row is there twice."""
    config, table = await prepared(postgres_url, valkey_url)
    assert await killed_at(config, table, "booked_plainly", "append.before:2") == [0, 0, 1, 2]


@pytest.mark.timeout(400)
async def test_h123_a_frozen_worker_keeps_neither_the_runs_row_nor_writes_twice(
    postgres_url: str, valkey_url: str
) -> None:
    """SIGSTOP at each point, one of them with the run's row locked: the server ends the session, another worker goes
    on. The frozen one wakes behind the run's end and changes nothing.
    """
    room = asyncio.Semaphore(2)

    async def one(point: str) -> tuple[str, list[int]]:
        async with room:
            config, table = await prepared(postgres_url, valkey_url)
            async with standby(config) as other, worker(config, f"{point}:stop") as victim, Client(config) as client:
                run = await client.start("booked", table, False)
                await _stopped(victim.process.pid)
                other.send(signal.SIGCONT)
                assert await run.result(90) == 3
                victim.send(signal.SIGCONT)
                await asyncio.sleep(1)
                assert victim.process.returncode is None
                return point, await rows(config, table)

    found = await asyncio.gather(*(one(point) for point in FROZEN))
    assert found == [(point, [0, 1, 2]) for point in FROZEN]


async def _stopped(pid: int) -> None:
    while not _is_stopped(pid):  # noqa: ASYNC110 - of another process
        await asyncio.sleep(0.01)


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
