"""H125: what a step has told by heartbeat survives kill -9 of its worker."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from tests.kills.fleet import standby, worker

from fencepost.client import Client
from fencepost.config import Config
from fencepost_store import migrations


@pytest.mark.timeout(120)
async def test_h125_the_next_attempt_goes_on_where_the_dead_one_was(
    postgres_url: str, valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    """40 units, killed at 20: the second attempt begins at most the beats of one write period earlier."""
    await migrations.migrate(postgres_url, namespace)
    config = Config(database_url=postgres_url, redis_url=valkey_url, namespace=namespace, env="test")
    file = tmp_path / "attempts"
    async with standby(config) as other, worker(config) as victim, Client(config) as client:
        run = await client.start("counted", 40, str(file))
        await asyncio.wait_for(victim.death(), 60)
        other.send(signal.SIGCONT)
        assert await run.result(60) == 40
    first, second = (tuple(map(int, line.split())) for line in file.read_text().splitlines())
    assert first == (1, 0)
    assert second[0] == 2
    assert 20 - 11 <= second[1] <= 21, "at most a second, which is ten beats and the one under way"
