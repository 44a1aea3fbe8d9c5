"""H113, H114: a worker process is killed in the middle of a stream, with readers attached; another one goes on.

On real servers, at default settings: the dead worker is noticed by its lease.
"""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest
from tests.kills.fleet import standby, worker
from tests.kills.scenarios import BOUND_SECONDS

from fencepost import StreamChunk
from fencepost.client import Client
from fencepost.config import Config
from fencepost_store import migrations

COUNT = 40


@pytest.mark.timeout(180)
@pytest.mark.parametrize("fault", ["stream.before:17:kill", "stream.after:17:kill"])
async def test_h114_readers_see_no_gap_and_nothing_twice_when_the_writer_is_killed(
    postgres_url: str, valkey_url: str, namespace: str, fault: str
) -> None:
    """Before a chunk is sent, and after it has landed. One reader is there from the start, one comes later, one drops
    its connection after each chunk and goes on from the next index.
    """
    await migrations.migrate(postgres_url, namespace)
    config = Config(database_url=postgres_url, redis_url=valkey_url, namespace=namespace, env="test")
    async with (
        standby(config) as other,
        worker(config, fault) as victim,
        Client(config) as client,
        Client(config) as second,
    ):
        run = await client.start("told", COUNT)
        chunks: list[StreamChunk[int]] = []

        async def read() -> None:
            async for chunk in run.stream("numbers", int).chunks():
                chunks.append(chunk)

        reading = asyncio.ensure_future(read())
        resuming = asyncio.ensure_future(_one_by_one(second, run.id))
        await asyncio.wait_for(victim.death(), 60)
        other.send(signal.SIGCONT)
        late = [n async for n in second.run(run.id).stream("numbers", int, start=10)]
        await asyncio.wait_for(reading, BOUND_SECONDS + 30)
        assert [chunk.value for chunk in chunks] == list(range(COUNT))
        assert [chunk.index for chunk in chunks] == list(range(COUNT))
        assert [chunk.attempt for chunk in chunks] == sorted(chunk.attempt for chunk in chunks)
        assert {chunk.attempt for chunk in chunks} == {1, 2}
        assert late == list(range(10, COUNT))
        assert await resuming == list(range(COUNT))
        assert await run.result(BOUND_SECONDS) == sum(range(COUNT))


async def _one_by_one(client: Client, run_id: str) -> list[Any]:
    found: list[Any] = []
    while True:
        before = len(found)
        async for number in client.run(run_id).stream("numbers", int, start=before):
            found.append(number)
            break
        if len(found) == before:
            return found
