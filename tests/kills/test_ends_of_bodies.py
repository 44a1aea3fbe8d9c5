"""H139, H140, H141 on real processes: whatever user code does, the worker that ran it goes on, with all its runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.kills.fleet import worker

from fencepost.client import Client
from fencepost.config import Config
from fencepost.errors import RunFailed
from fencepost_store import migrations
from fencepost_store.events import EventType

CASES = [
    ("async", "argparse", "SystemExit"),
    ("async", "interrupt", "KeyboardInterrupt"),
    ("async", "cancel all", "CancelledError"),
    ("async", "cancel itself", "CancelledError"),
    ("async", "stop the loop", "SystemExit"),
    ("async", "leave a task", "GeneratorExit"),
    ("async", "set a task factory", "ZeroDivisionError"),
    ("async", "leave a generator", "SystemExit"),
    ("async", "await another loop", "RuntimeError"),
    ("thread", "stop", "StopIteration"),
    ("thread", "exit", "SystemExit"),
    ("process", "interrupt", "KeyboardInterrupt"),
    ("process", "exit", "SystemExit"),
    ("process", "die", "StepCrashed"),
    ("process", "leave an alarm", "leave an alarm"),
    ("process", "wait for an alarm", "True"),
    ("process", "return a function", "cannot be encoded"),
]
AT_ONCE = {"return a function"}
"""The value cannot be recorded however often it is returned."""


@pytest.fixture
async def config(postgres_url: str, valkey_url: str, namespace: str) -> Config:
    """A place of its own."""
    await migrations.migrate(postgres_url, namespace)
    return Config(database_url=postgres_url, redis_url=valkey_url, namespace=namespace, env="test")


async def test_h139_h140_a_worker_outlives_every_end_of_a_body(config: Config, tmp_path: Path) -> None:
    """Each run fails by what was raised, after as many attempts as it has; the bystander's body is begun once and
    ends in the process in which it began; the worker is the one that was started.
    """
    begun, until = tmp_path / "begun", tmp_path / "until"
    async with worker(config, module="end_flows") as one, Client(config) as client:
        beside = await client.start("innocent", str(begun), str(until))
        for number, (place, how, raised) in enumerate(CASES):
            mark = tmp_path / f"mark{number}"
            run = await client.start("ends", place, how, str(mark))
            with pytest.raises(RunFailed) as caught:
                await run.result(60)
            assert raised in str(caught.value), how
            retries = 0 if how in AT_ONCE else 1
            assert mark.read_text().splitlines() == [how] * (retries + 1), "n retries are n + 1 attempts"
            types = [event.type async for event in run.events()]
            assert types.count(EventType.step_retrying) == retries
            assert types.count(EventType.step_failed) == 1
        run = await client.start("ends", "workflow", "", "")
        with pytest.raises(RunFailed, match="SystemExit"):
            await run.result(60)
        until.touch()
        assert await beside.result(30) == one.process.pid
        assert begun.read_text() == "begun\n"
        assert one.process.returncode is None
        assert any("exit_contained" in line for line in one.lines)


async def test_h141_a_worker_says_which_threads_it_has_lost(config: Config, tmp_path: Path) -> None:
    """In its log and in its health file; the next ``def`` step has another one."""
    until, health = tmp_path / "until", tmp_path / "health"
    options = ("--no-supervisor", "--concurrency", "2")
    (tmp_path / "fencepost.toml").write_text(f'health_file = "{health}"\nrenewal_seconds = 0.2\n')
    for name in ("end_flows.py",):
        (tmp_path / name).write_text((Path(__file__).parent / name).read_text())
    async with worker(config, "", *options, module="end_flows", folder=tmp_path) as one, Client(config) as client:
        runs = [await client.start("blocks", str(until)) for _ in range(6)]
        for run in runs:
            with pytest.raises(RunFailed, match="STEP_TIMEOUT"):
                await run.result(60)
        assert (await (await client.start("threaded")).result(30)).startswith("fencepost-step")
        assert sum("body_left_behind" in line for line in one.lines) == 6
        while len(health.read_text().splitlines()) < 6:  # noqa: ASYNC110 - it is written once per renewal
            await asyncio.sleep(0.05)
        assert f"step stuck#1 of run {runs[0].id} (thread) since " in health.read_text()
        until.touch()
        while health.read_text():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.05)
