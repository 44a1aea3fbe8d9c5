"""H66, H75: a step that kills its process every time, among 50 bystanders, on a real supervised worker."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.kills.fleet import worker

from fencepost.client import Client
from fencepost.config import Config
from fencepost.errors import STEP_CRASHED, RunFailed
from fencepost_store import migrations

BYSTANDERS = 50


@pytest.mark.timeout(240)
async def test_h66_h75_a_poison_step_fails_alone(postgres_url: str, valkey_url: str, namespace: str) -> None:
    """It takes down its worker twice, is then run alone, and fails with STEP_CRASHED after two proofs; the bystanders
    complete.
    """
    await migrations.migrate(postgres_url, namespace)
    config = Config(database_url=postgres_url, redis_url=valkey_url, namespace=namespace, env="test")
    async with Client(config) as client:
        bad = await client.start("poisoned", 0)
        good = [await client.start("bystander", n) for n in range(BYSTANDERS)]
        async with worker(config, "", "--processes", "1") as supervised:
            with pytest.raises(RunFailed) as caught:
                await bad.result(120)
            assert caught.value.code == STEP_CRASHED
            results = await asyncio.gather(*(run.result(120) for run in good))
            assert results == list(range(BYSTANDERS))
            deaths = sum("worker_started" in line for line in supervised.lines) - 1
            proofs = sum("suspect_crashed" in line for line in supervised.lines)
            print(f"workers lost: {deaths}, proofs in solitude: {proofs}, bystanders unharmed: {len(results)}")
            assert deaths == 2, "the fleet loses two processes, not more"
            assert proofs == 2


async def test_a_suspect_does_not_outlive_its_worker(postgres_url: str, valkey_url: str, namespace: str) -> None:
    """kill -9 of the worker while its suspect runs alone: the child sees the end of its pipe and is gone too."""
    await migrations.migrate(postgres_url, namespace)
    config = Config(database_url=postgres_url, redis_url=valkey_url, namespace=namespace, env="test")
    async with Client(config) as client:
        run = await client.start("long", 0)
        queue = client._open.queue  # pyright: ignore[reportPrivateUsage] - plays two workers that die
        claimed = await queue.claim("default", 1, 60_000)
        await queue.expire(queue.owner)
        claimed = await queue.claim("default", 1, 60_000)
        assert claimed.deliveries[0].crashes == 1
        await queue.renew(claimed.deliveries, 60_000, begin=True)
        await queue.expire(queue.owner)
        async with worker(config) as host:
            # its tick is a suspect and is run alone; the step then runs in the worker itself
            while not (children := _children(host.process.pid)):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.01)
            await host.end()
            gone = asyncio.get_running_loop().time() + 10
            while any(_alive(pid) for pid in children):
                assert asyncio.get_running_loop().time() < gone
                await asyncio.sleep(0.01)
        assert not (await run.status()).ended


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
