"""H150: workflow code that catches everything and goes on, when its live instance is thrown away or has returned."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time

import pytest
from replay_world import BENCHES, Bench, Flow, W, completed
from tests.replay.test_eviction import silence

from fencepost.replay.interface import current


async def _swallows_everything(w: W) -> object:
    while True:
        with contextlib.suppress(BaseException):
            await w.step("a")


async def _swallows_everything_and_asks_at_once(w: W) -> object:
    """It does not get as far as to wait."""
    while True:
        with contextlib.suppress(BaseException):
            asked = current()
            assert asked is not None
            asked.mark("m", b"")
            await w.step("a")


async def _swallows_everything_in_a_group(w: W) -> object:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(5):
            tasks.create_task(_swallows_everything(w))  # type: ignore[arg-type]


async def _swallows_everything_after_its_return(w: W) -> object:
    tasks.append(asyncio.create_task(_swallows_everything(w)))  # type: ignore[arg-type]
    await w.step("b")
    return 1


tasks: list[object] = []
SWALLOWERS = [
    _swallows_everything,
    _swallows_everything_and_asks_at_once,
    _swallows_everything_in_a_group,
]


@pytest.mark.parametrize("flow", SWALLOWERS)
def test_h150_code_that_swallows_everything_is_abandoned_soon(
    flow: Flow, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a fraction of any replay budget, with nothing said, and not run once more when memory is freed."""
    with silence(monkeypatch, capsys):
        bench = Bench(flow)
        began = time.monotonic()
        bench.live.evict()
        assert time.monotonic() - began < 2.0
        assert bench.live.abandoned
        assert "_swallows_everything" in bench.live.abandoned[-1]
        BENCHES.clear()
        del bench
        gc.collect()


def test_h150_code_that_is_known_to_swallow_is_not_run_again() -> None:
    """It is left where it stands, at once."""
    seen: list[str] = []

    async def flow(w: W) -> object:
        while True:
            try:
                await w.step("a")
            except BaseException as error:  # noqa: BLE001
                seen.append(type(error).__name__)

    bench = Bench(flow)
    bench.live.evict(abandon=True)
    assert seen == []
    assert any("test_swallowing.py" in place for place in bench.live.abandoned)


def test_h150_tasks_that_swallow_everything_do_not_hold_up_the_runs_end() -> None:
    """The workflow returns, and leaves such a task behind: it is cancelled, comes to rest, and the end is there."""
    bench = Bench(_swallows_everything_after_its_return)
    began = time.monotonic()
    bench.turn()
    bench.land(completed("b#1"))
    assert time.monotonic() - began < 2.0
    assert bench.live.ended
    bench.live.evict()
