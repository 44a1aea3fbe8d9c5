"""The replay budget: workflow code that spins is stopped from another thread, and nothing else is (H34)."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from replay_world import Bench, W, completed, opened

from fencepost.replay.budget import Overdue, TurnGuard, seated
from fencepost.replay.limits import ReplayBudgetExceeded

BUDGET = 0.05


@contextmanager
def watched(guard: TurnGuard, found: list[Overdue]) -> Generator[None]:
    """A thread that interrupts whatever is overdue, as the keeper does."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(BUDGET / 2):
            overdue = guard.overdue(time.monotonic(), BUDGET)
            if overdue is not None and guard.interrupt():
                found.append(overdue)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


async def _spins(w: W) -> object:
    await w.step("a")
    while True:
        pass


async def _swallows_once(w: W) -> object:
    await w.step("a")
    try:
        while True:
            pass
    except BaseException:  # noqa: BLE001  # it is the point
        while True:
            pass


async def _spins_in_a_child(w: W) -> object:
    async def child() -> None:
        while True:
            pass

    await w.step("a")
    return await asyncio.gather(child(), return_exceptions=True)


async def _swallows_and_returns(w: W) -> object:
    await w.step("a")
    try:
        while True:
            pass
    except BaseException:  # noqa: BLE001  # it is the point
        return "as if nothing had been"


@pytest.mark.parametrize("flow", [_spins, _swallows_once, _spins_in_a_child, _swallows_and_returns])
def test_h34_code_that_spins_is_interrupted(flow: object) -> None:
    """The turn raises ReplayBudgetExceeded, whatever the code does with it; the watcher has the stack."""
    guard, found = TurnGuard(), list[Overdue]()
    bench = Bench(flow)  # type: ignore[arg-type]  # pyright: ignore
    bench.turn()
    fact = bench.log.land(completed("a#1"))
    with watched(guard, found):
        with pytest.raises(ReplayBudgetExceeded, match=r"run-1.*step"), guard.turn("run-1"):
            bench.live.deliver(fact)
        with pytest.raises(RuntimeError, match="failed or was evicted"):
            bench.live.pending()
        bench.live.evict()
    assert found[0].run_id == "run-1"
    assert found[0].seconds > BUDGET
    assert "test_budget.py" in found[0].stack


def test_h34_other_runs_of_the_thread_go_on() -> None:
    """After an interrupted turn the same guard serves the next one, and nothing pending strikes it."""
    guard, found = TurnGuard(), list[Overdue]()

    async def fine(w: W) -> object:
        return await w.step("a")

    with watched(guard, found):
        for flow in (_spins, fine, _spins, fine):
            bench = Bench(flow)
            bench.turn()
            fact = bench.log.land(completed("a#1", "ok"))
            if flow is fine:
                with guard.turn("run-1"):
                    bench.live.deliver(fact)
                assert bench.output() == "ok"
            else:
                with pytest.raises(ReplayBudgetExceeded), guard.turn("run-1"):
                    bench.live.deliver(fact)
            bench.live.evict()
    assert len(found) >= 2


def test_h34_eviction_of_code_that_spins_is_bounded_too() -> None:
    """Its finally block spins: eviction under a turn ends."""

    async def flow(w: W) -> object:
        try:
            await w.step("a")
        finally:
            while True:
                pass

    guard, found = TurnGuard(), list[Overdue]()
    bench = Bench(flow)
    with watched(guard, found), guard.turn("run-1"):
        bench.live.evict()
    assert found
    assert bench.live.evicted


# Struck inside a weak reference's callback, Python reports the exception and goes on; the watcher strikes again.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_nothing_outside_the_workflow_is_ever_interrupted() -> None:
    """Interrupts as fast as they come, around turns that begin and end all the time: each lands inside a turn or
    nowhere."""
    guard = TurnGuard()
    stop = threading.Event()
    hits: list[bool] = []

    async def flow(w: W) -> object:
        while True:
            await w.step("a")

    def hammer() -> None:
        while not stop.is_set():
            if guard.interrupt():
                hits.append(True)

    hammering = threading.Thread(target=hammer)
    hammering.start()
    struck, outside = 0, 0
    begun = time.monotonic()
    try:
        bench = Bench(flow)
        bench.turn()
        # For a while; on a busy machine until something was struck at all.
        while time.monotonic() < begun + (1.5 if struck else 60):
            fact = bench.log.land(completed(next(iter(bench.live.work.steps))))
            try:
                with guard.turn("run-1"):
                    bench.live.deliver(fact)
            except ReplayBudgetExceeded:
                struck += 1
            try:
                assert sum(range(200)) == 19900
                assert asyncio._get_running_loop() is None
                assert sys.get_asyncgen_hooks().firstiter is None
                assert gc.isenabled()
                assert seated() is None
            except ReplayBudgetExceeded:  # pragma: no cover
                outside += 1
            if bench.live._usable:  # pyright: ignore[reportPrivateUsage]
                bench.turn()
            else:
                bench = Bench(flow)
                bench.turn()
    finally:
        stop.set()
        hammering.join()
    assert outside == 0
    assert struck > 0
    assert hits


def test_an_empty_seat_cannot_be_interrupted_and_is_never_overdue() -> None:
    """Before, between and after turns, and within a turn while no workflow code runs."""
    guard = TurnGuard(clock=lambda: 100.0)
    assert not guard.interrupt()
    assert guard.overdue(1e9, 0.0) is None
    with guard.turn("r"):
        assert seated() is guard
        assert not guard.interrupt()
        overdue = guard.overdue(110.0, 9.0)
        assert overdue is not None
        assert overdue.seconds == 10.0
        assert guard.overdue(109.0, 9.0) is None
        with pytest.raises(RuntimeError, match="inside another turn"), TurnGuard().turn("s"):
            pass
    assert seated() is None
    assert guard.overdue(1e9, 0.0) is None


def test_the_exception_cannot_be_caught_as_an_ordinary_one() -> None:
    """``except Exception`` around a spinning loop does not hold it."""
    assert not issubclass(ReplayBudgetExceeded, Exception)


def test_i12_a_long_log_is_no_spinning_code() -> None:
    """1,000 events on a machine so busy that their replay takes five budgets: the code comes to rest after each, so no
    watcher finds it overdue."""
    clock = [0.0]
    guard = TurnGuard(lambda: clock[0])
    overdue: list[Overdue | None] = []

    async def flow(w: W) -> object:
        for _ in range(500):
            await w.step("a")
            clock[0] += BUDGET / 100
            overdue.append(guard.overdue(clock[0], BUDGET))
        return None

    bench = Bench(flow)
    for number in range(1, 501):
        bench.turn()
        bench.land(completed(f"a#{number}"))
    overdue.clear()
    with opened(flow) as instance, guard.turn("run-1"):
        instance.deliver(bench.log.events)
    assert len(overdue) == 500
    assert not any(overdue)


PROFILED = """
import sys
from fencepost.replay.budget import TurnGuard

guard = TurnGuard()
with guard.turn("run-1"):
    guard.sent = 1
    guard.settle()


def called() -> None: ...


sys.setprofile(lambda *_: None)
called()
sys.setprofile(None)
print("went on")
"""


def test_a_process_can_be_profiled_after_an_interrupt_was_taken_back() -> None:
    """The interpreter does not go on to believe that an exception is pending: it would never begin a traced call."""
    done = subprocess.run([sys.executable, "-c", PROFILED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("went on\n", "")
