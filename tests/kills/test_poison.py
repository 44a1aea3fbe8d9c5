"""H66, H75: a step that kills its process every time, among 50 bystanders, on a real supervised worker."""

from __future__ import annotations

import asyncio

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
