"""H131, H133: two builds of one application side by side under load, in both directions: no run fails; what only one
build can do waits for it.
"""

from __future__ import annotations

import asyncio
import re
import signal
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.kills.fleet import WorkerProcess, worker

from fencepost.client import Client
from fencepost.client.run import Run
from fencepost.config import Config
from fencepost.errors import HookNotFound
from fencepost_store import migrations

CODE = Path(__file__).parent / "skew"
RESULT = re.compile(r"(old|new) (removed|added) (?P<n>\d+)!? on (\d+)\.?")
EACH = 12


@asynccontextmanager
async def build(config: Config, name: str) -> AsyncGenerator[WorkerProcess]:
    """A worker of the old or the new code."""
    options = ("--no-supervisor", "--build", name)
    async with worker(config, "", *options, module=f"skew_{name}", folder=CODE) as started:
        yield started


async def go(client: Client, number: int) -> None:
    """Send the signal that an order waits for, once its hook is open."""
    while True:
        try:
            await client.resume(f"go:{number}", "on", id=f"go-{number}")
            return
        except HookNotFound:
            await asyncio.sleep(0.1)  # of another process; the test's timeout bounds it


async def ended(run: Run[str]) -> str:
    """The result. A run that failed raises here."""
    return str(await run.result(60))


@pytest.mark.timeout(180)
async def test_h131_h133_no_run_fails_in_a_rolling_deploy(postgres_url: str, valkey_url: str) -> None:
    """Old and new together; then new alone; then back to old, and new again. Steps are added, removed and renamed, and
    signatures and classes changed, of steps in the loop and in processes, workflows and children.
    """
    namespace = f"k_{uuid.uuid4().hex[:16]}"
    await migrations.migrate(postgres_url, namespace)
    servers = {"database_url": postgres_url, "redis_url": valkey_url, "namespace": namespace}
    config = Config(**servers, env="test", reconcile_period_seconds=1.0)  # type: ignore[arg-type]  # all are texts
    async with Client(config) as client:
        async with build(config, "old") as old, build(config, "new") as new:
            runs = [await client.start("order", n) for n in range(EACH)]
            runs += [await client.start("order", EACH + n, "USD") for n in range(EACH)]
            both = [await client.start(f"only_{name}", n) for n in range(EACH) for name in ("old", "new")]
            await asyncio.gather(*(go(client, n) for n in range(0, 2 * EACH, 2)))
            assert await asyncio.gather(*map(ended, both)) == [
                f"{word} {n}" for n in range(EACH) for word in ("removed", "added")
            ]
            old.send(signal.SIGTERM)
            await old.death()
            await asyncio.gather(*(go(client, n) for n in range(1, 2 * EACH, 2)))
            for n, text in enumerate(await asyncio.gather(*map(ended, runs))):
                told = RESULT.fullmatch(text)
                assert told is not None, text
                assert told["n"] == str(n)
            said = "\n".join(old.lines + new.lines)
            assert "code_unfit" in said
            assert "workflow_missing" in said
            more = [await client.start("order", 100 + n, "USD") for n in range(EACH)]
            await asyncio.gather(*(go(client, 100 + n) for n in range(EACH // 2)))
            new.send(signal.SIGKILL)
            await new.death()
        async with build(config, "old") as back:
            waiting = [await client.start("only_new", n) for n in range(3)]
            assert await ended(await client.start("only_old", 7)) == "removed 7"
            async with build(config, "new"):
                assert await asyncio.gather(*map(ended, waiting)) == [f"added {n}" for n in range(3)]
                await asyncio.gather(*(go(client, 100 + n) for n in range(EACH // 2, EACH)))
                for text in await asyncio.gather(*map(ended, more)):
                    assert RESULT.fullmatch(text), text
            assert back.process.returncode is None
        assert await client.list(status="failed") == []
