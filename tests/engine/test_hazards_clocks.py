"""A worker's own clock is nobody's business (H16). On a virtual clock, by construction."""

from __future__ import annotations

import asyncio
import time

import pytest
from engine_virtual import run
from engine_world import EPOCH, World

from fencepost import errors, now, sleep, step, workflow
from fencepost_store.events import EventType


@pytest.mark.parametrize("minutes", [-15, 15])
def test_h16_a_worker_whose_clock_is_wrong_by_minutes(minutes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Due times, times of events, delays and the workflow's own clock are those of the database."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(time, "time", lambda: EPOCH / 1e6 + loop.time() + minutes * 60)
        world = World()
        began: list[float] = []

        @step(registry=world.registry, retries=1)
        async def work() -> None:
            began.append(loop.time())
            if len(began) == 1:
                raise errors.Retry("later", after=30)

        @workflow(registry=world.registry)
        async def flow() -> float:
            await sleep(10)
            await work()
            return now().timestamp()

        async with world.worker("A"):
            await asyncio.sleep(1)
            started_at = loop.time()
            started = await world.start(flow)
            told = await started.result(100)
            ended_at = loop.time()
        assert 10 <= began[0] - started_at < 11
        assert 30 <= began[1] - began[0] < 31
        assert abs(told - (EPOCH / 1e6 + began[1])) < 1
        log = await world.log(started)
        (wait,) = [event for event in log if event.type is EventType.wait_created]
        assert wait.due is not None
        assert abs(wait.due - (EPOCH + int((started_at + 10) * 1e6))) < 1_000_000
        assert all(EPOCH + int(started_at * 1e6) - 1_000 <= e.at <= EPOCH + int(ended_at * 1e6) + 1_000 for e in log)

    run(main)
