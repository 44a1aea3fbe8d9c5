"""H34, H61, H62: user code that blocks the loop or spins, and a process that is frozen past its lease."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest
from tests.kills.fleet import worker

from fencepost.client import Client
from fencepost.config import Config
from fencepost.errors import MAX_DELIVERIES_EXCEEDED, REPLAY_TIMEOUT, STEP_TIMEOUT, RunCancelled, RunFailed
from fencepost_queue.limits import COMPANY_MAX
from fencepost_store import migrations
from fencepost_store.events import EventType

LEASE = 2.0


@pytest.fixture
async def config(postgres_url: str, valkey_url: str, namespace: str) -> Config:
    """Short leases: these tests wait for them to run out."""
    await migrations.migrate(postgres_url, namespace)
    return Config(
        database_url=postgres_url,
        redis_url=valkey_url,
        namespace=namespace,
        env="test",
        lease_seconds=LEASE,
        renewal_seconds=0.5,
        idle_block_seconds=0.5,
        replay_budget_seconds=1.0,
    )


async def test_h61_a_blocked_loop_is_not_a_dead_worker(config: Config, tmp_path: Path) -> None:
    """The body blocks the loop for three leases: its lease is renewed by the thread, the body runs once, one warning
    shows the stack.
    """
    began = tmp_path / "began"
    async with worker(config) as first, worker(config) as second, Client(config) as client:
        run = await client.start("blocked", str(began), 3 * LEASE)
        assert await run.result(30) == 1
        assert len(began.read_text().splitlines()) == 1
        warnings = [line for line in first.lines + second.lines if "loop_blocked" in line]
        assert len(warnings) == 1
        assert any("blocks" in line for line in first.lines + second.lines)


async def test_h62_a_frozen_process_comes_back_and_does_no_harm(config: Config) -> None:
    """SIGSTOP for longer than the lease while a body runs: another worker takes the step; the frozen one wakes, is
    refused, and goes on with other work.
    """
    async with worker(config) as frozen, Client(config) as client:
        run = await client.start("bystander", 7)
        while True:
            starts = [event async for event in run.events() if event.type is EventType.step_started]
            if starts:
                break
        frozen.send(signal.SIGSTOP)
        async with worker(config):
            assert await run.result(30) == 7
            frozen.send(signal.SIGCONT)
            again = [await client.start("bystander", n) for n in range(20)]
            assert await asyncio.gather(*(one.result(30) for one in again)) == list(range(20))
        events = [event async for event in run.events()]
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert sum(event.type is EventType.step_completed for event in events) == 1
        assert frozen.process.returncode is None


async def test_h34_a_spinning_workflow_fails_alone(config: Config) -> None:
    """``while True: pass`` is stopped by the replay budget with REPLAY_TIMEOUT and the stack; the worker's other runs
    go on.
    """
    async with worker(config) as one, Client(config) as client:
        spinning = await client.start("spins")
        good = [await client.start("bystander", n) for n in range(10)]
        with pytest.raises(RunFailed) as caught:
            await spinning.result(30)
        assert caught.value.code == REPLAY_TIMEOUT
        assert await asyncio.gather(*(run.result(30) for run in good)) == list(range(10))
        assert one.process.returncode is None
        assert any("replay_budget" in line for line in one.lines)


async def test_h149_code_that_blocks_in_c_fails_its_run_and_costs_one_process(config: Config) -> None:
    """No exception reaches it: the run fails with REPLAY_TIMEOUT, where it stands is told, and one worker process is
    replaced, once. Innocent runs go on.
    """
    async with Client(config) as client, worker(config, "", "--processes", "1") as supervised:
        bad = await client.start("sleeps_in_c", 3600.0)
        good = [await client.start("bystander", n) for n in range(8)]
        with pytest.raises(RunFailed, match=r"kill_flows\.py:\d+") as caught:
            await bad.result(60)
        assert caught.value.code == REPLAY_TIMEOUT
        assert await asyncio.gather(*(run.result(60) for run in good)) == list(range(8))
        again = await client.start("bystander", 9)
        assert await again.result(60) == 9
        assert sum("child_died" in line for line in supervised.lines) == 1
        assert not any("suspect_alone" in line for line in supervised.lines)


async def _make_suspects(client: Client, config: Config, count: int) -> None:
    """Plays two workers that die with all of it. Not more than are blamed together."""
    assert count <= COMPANY_MAX
    queue = client._open.queue  # pyright: ignore[reportPrivateUsage]
    for _ in range(2):
        found = 0
        while found < count:
            deliveries = (await queue.claim("default", 64, 60_000)).deliveries
            await queue.renew(deliveries, 60_000, begin=True)
            found += len(deliveries)
        await queue.expire(queue.owner)


async def test_h149_blocking_code_in_quarantine_is_stopped_and_innocents_get_out(config: Config) -> None:
    """Two runs that block take both seats of the quarantine: they fail with REPLAY_TIMEOUT there, one that is
    terminated meanwhile is ended, and five innocent ones behind them complete. The worker itself lives.
    """
    async with Client(config) as client:
        bad = [await client.start("sleeps_in_c", 3600.0) for _ in range(2)]
        ended = await client.start("sleeps_in_c", 3600.0)
        good = [await client.start("bystander", n) for n in range(5)]
        await _make_suspects(client, config, 8)
        async with worker(config) as host:
            while not any("suspect_alone" in line for line in host.lines):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.02)
            await ended.terminate("stuck")
            for run in bad:
                with pytest.raises(RunFailed) as caught:
                    await run.result(90)
                assert caught.value.code == REPLAY_TIMEOUT
            assert await asyncio.gather(*(run.result(90) for run in good)) == list(range(5))
            assert host.process.returncode is None


@pytest.mark.parametrize("how", ["regular expression", "integer"])
@pytest.mark.parametrize("quarantined", [False, True])
async def test_h149_code_that_holds_the_gil_and_lets_signals_in_fails_its_run(
    config: Config, how: str, quarantined: bool
) -> None:
    """By REPLAY_TIMEOUT, with no process lost: no thread could have looked, so a signal does."""
    async with Client(config) as client:
        bad = await client.start("holds_the_gil", how)
        if quarantined:
            await _make_suspects(client, config, 1)
        async with worker(config) as host:
            good = await client.start("bystander", 3)
            with pytest.raises(RunFailed) as caught:
                await bad.result(30)
            assert caught.value.code == REPLAY_TIMEOUT
            assert await good.result(30) == 3
            assert host.process.returncode is None
            assert any("suspect_alone" in line for line in host.lines) == quarantined
            assert not any("suspect_crashed" in line for line in host.lines)


@pytest.mark.timeout(120)
async def test_h149_code_that_holds_the_gil_in_quarantine_is_killed(config: Config) -> None:
    """Nothing of its process can be heard: that is a proof, two of them end the run, and the worker itself lives."""
    async with Client(config) as client:
        bad = await client.start("holds_the_gil", "sleep")
        await _make_suspects(client, config, 1)
        async with worker(config) as host:
            assert await (await client.start("bystander", 3)).result(30) == 3
            with pytest.raises(RunFailed) as caught:
                await bad.result(60)
            assert caught.value.code == MAX_DELIVERIES_EXCEEDED
            assert sum("suspect_crashed" in line for line in host.lines) == 2
            assert host.process.returncode is None


async def test_h149_a_body_that_blocks_the_loop_beyond_its_time_is_ended(config: Config, tmp_path: Path) -> None:
    """With its process, a lease behind its timeout: each attempt is a STEP_TIMEOUT that says what to do, and bystanders
    go on in the next process.
    """
    mark = tmp_path / "mark"
    async with Client(config) as client, worker(config, "", "--processes", "1") as supervised:
        bad = await client.start("blocked_beyond", str(mark), True)
        while not mark.exists():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.02)
        good = [await client.start("bystander", n) for n in range(4)]
        with pytest.raises(RunFailed, match="make it a `def` step") as caught:
            await bad.result(30)
        assert caught.value.code == STEP_TIMEOUT
        assert mark.read_text() == "began\n" * 2
        assert await asyncio.gather(*(run.result(30) for run in good)) == list(range(4))
        assert sum("child_died" in line for line in supervised.lines) == 2
        assert sum("body_blocks" in line for line in supervised.lines) == 2
        assert not any("suspect_crashed" in line for line in supervised.lines)


@pytest.mark.parametrize("how", ["cancel", "terminate"])
async def test_h149_a_body_that_blocks_the_loop_is_ended_with_its_run(config: Config, tmp_path: Path, how: str) -> None:
    """It has no timeout: what ends it is that it is not wanted any more."""
    mark = tmp_path / "mark"
    async with Client(config) as client, worker(config) as other, worker(config) as host:
        bad = await client.start("blocked_beyond", str(mark), False)
        while not mark.exists():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.02)
        await (bad.cancel("stuck", grace=1) if how == "cancel" else bad.terminate("stuck"))
        with pytest.raises(RunCancelled):
            await bad.result(30)
        ends = [asyncio.ensure_future(one.process.wait()) for one in (other, host)]
        done, left = await asyncio.wait(ends, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        assert [end.result() for end in done] == [70]
        for end in left:
            end.cancel()
        assert await (await client.start("bystander", 7)).result(30) == 7
        assert mark.read_text() == "began\n"


async def test_h149_startup_code_that_blocks_the_loop_leaves_the_watch_alone(config: Config, tmp_path: Path) -> None:
    """A task of it blocks for longer than a lease: told once, and a body that blocks later is ended all the same."""
    mark = tmp_path / "mark"
    async with Client(config) as client, worker(config, module="blocking_startup") as host:
        while not any("loop_blocked" in line for line in host.lines):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.02)
        assert await (await client.start("bystander", 3)).result(30) == 3
        await client.start("blocked_beyond", str(mark), True)
        assert await asyncio.wait_for(host.process.wait(), 30) == 70


async def test_h150_runs_that_swallow_everything_hold_up_no_drain(config: Config) -> None:
    """Three of them live in the worker: on SIGTERM it ends by itself and well, in no time."""
    async with Client(config) as client, worker(config) as host:
        started = [await client.start("swallows", n) for n in range(3)]
        for run in started:
            while not [event async for event in run.events() if event.type is EventType.wait_created]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        began = time.monotonic()
        host.send(signal.SIGTERM)
        assert await asyncio.wait_for(host.process.wait(), 30) == 0
        assert time.monotonic() - began < 5.0
        assert sum("code_abandoned" in line for line in host.lines) == 3
        assert [(await run.status()).status for run in started] == ["running"] * 3
