"""H68, H85: both servers are stopped under load and come back; workers reconnect, nothing is lost, nothing fails."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kills.fleet import worker

from fencepost.client import Client
from fencepost.config import Config
from fencepost.dev.servers import EmbeddedServers, erase, start
from fencepost.errors import ServerUnavailable
from fencepost_store import migrations

RUNS = 60


@pytest.fixture
def folder() -> Iterator[Path]:
    """The state of a pair of servers of this test alone."""
    made = Path(tempfile.mkdtemp(prefix="fencepost-test-"))
    made.chmod(0o711)
    yield made
    erase(made / "state")
    made.rmdir()


def expected(n: int) -> int:
    """What ``mixed`` returns, by hand."""
    return sum(n + 1 + i for i in range(5))


async def result(config: Config, run_id: str) -> int:
    """As a patient producer: trouble with a server is not an answer, so ask again."""
    while True:
        try:
            async with Client(config) as client:
                return int(await client.run(run_id).result(60))
        except ServerUnavailable:
            await asyncio.sleep(0.2)  # the server is being started; there is nothing to wait on but time


@pytest.mark.timeout(240)
async def test_h68_h85_servers_restart_under_load(folder: Path) -> None:
    """Stopped when a third of the runs has ended, down for some seconds, then back with their data."""
    servers: EmbeddedServers = await asyncio.to_thread(start, folder / "state")
    try:
        await migrations.migrate(servers.postgres_url, "restarts")
        config = Config(
            database_url=servers.postgres_url, redis_url=servers.redis_url, namespace="restarts", env="test"
        )
        async with worker(config) as one, worker(config) as two:
            async with Client(config) as client:
                runs = [await client.start("mixed", n) for n in range(RUNS)]
                while len(await client.list(status="completed", limit=RUNS)) < RUNS // 3:  # noqa: ASYNC110 - of a server
                    await asyncio.sleep(0.01)
                open_runs = RUNS - len(await client.list(status="completed", limit=RUNS))
            assert open_runs > 0
            await asyncio.to_thread(servers.stop)
            # a while with only one of them, so that each is missed alone and both together
            servers = await asyncio.to_thread(start, folder / "state", postgres=False)
            await asyncio.to_thread(servers.stop)
            servers = await asyncio.to_thread(start, folder / "state")
            assert (servers.postgres_url, servers.redis_url) == (config.database_url, config.redis_url)
            results = await asyncio.gather(*(result(config, run.id) for run in runs))
            assert results == [expected(n) for n in range(RUNS)]
            assert one.process.returncode is None
            assert two.process.returncode is None
            print(f"restarted with {open_runs} runs open; all {RUNS} ended with their results")
    finally:
        await asyncio.to_thread(servers.stop)
