"""Throwing a live run away: H29."""

from __future__ import annotations

import asyncio
import gc
import sys
import warnings
import weakref
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager

import anyio
import pytest
from replay_shapes import SHAPES
from replay_world import BENCHES, Bench, Flow, W, completed

from fencepost.replay.interface import current
from fencepost.replay.limits import Evicted
from fencepost_store.events import NewEvent


@contextmanager
def silence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Generator[None]:
    """No warning, no unraisable error, no log line, until the garbage is collected."""
    gc.collect()  # what earlier tests left behind is not this one's
    gc.freeze()  # nor need it be looked at again
    capsys.readouterr()
    noise: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", noise.append)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
            gc.collect()
        finally:
            gc.unfreeze()
    out = capsys.readouterr()
    assert noise == []
    assert [str(w.message) for w in caught] == []
    assert out.out + out.err == ""


async def everything(w: W) -> object:
    """A task group, an anyio group, a timeout, a hook, a sleep and an async generator, all waiting."""

    async def pages() -> AsyncIterator[int]:
        try:
            yield 1
            await w.step("page")
            yield 2
        finally:
            await w.step("close_page")

    async def child(n: int) -> None:
        try:
            async for _ in pages():
                await w.step("child", n)
        finally:
            await asyncio.sleep(1)

    async def group() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child, 1)
            tasks.start_soon(child, 2)
            with anyio.CancelScope(shield=True):
                await w.step("shielded")

    async with asyncio.TaskGroup() as tasks, w.hook("t") as hook:
        tasks.create_task(group())
        tasks.create_task(asyncio.sleep(50))
        async with asyncio.timeout(100):
            await hook.next()


@pytest.mark.parametrize("landed", [False, True])
def test_h29_eviction_leaves_no_trace(
    landed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No warning, no log line, nothing asked, and the instance is freed."""
    with silence(monkeypatch, capsys):
        bench = Bench(everything)
        if landed:
            bench.turn()
            bench.land(completed("group#1/shielded#1"))
            bench.turn()
        gone = weakref.ref(bench.live)
        loop = weakref.ref(bench.live.loop)
        bench.live.evict()
        bench.live.evict()
        assert bench.live.loop.live_tasks() == []
        BENCHES.clear()
        del bench
        gc.collect()
        assert gone() is None
        assert loop() is None


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_h29_every_shape_can_be_evicted_early(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After its first turn, with everything open."""
    with silence(monkeypatch, capsys):
        bench = Bench(SHAPES[name])
        bench.turn()
        gone = weakref.ref(bench.live)
        bench.live.evict()
        BENCHES.clear()
        del bench
        gc.collect()
        assert gone() is None


def test_h29_finally_blocks_run_and_what_they_ask_for_does_not_leave(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Steps, sleeps, tasks and hooks asked for while evicting raise Evicted; current() says that it is evicting."""
    seen: list[object] = []

    async def flow(w: W) -> object:
        hook = w.hook("t")
        try:
            await w.step("a")
        finally:
            asking = current()
            assert asking is not None
            seen.append(asking.evicting)
            hook.channel.close()
            attempts = [
                lambda: w.future("x"),
                lambda: w.hook("t2"),
                lambda: asyncio.get_running_loop().call_later(1, print),
                lambda: asyncio.create_task(asyncio.sleep(1)),
                hook.channel.next,
            ]
            for attempt in attempts:
                with pytest.raises(Evicted):
                    attempt()
            try:
                await asyncio.sleep(1)
            except Evicted:
                seen.append("evicted")
                raise

    with silence(monkeypatch, capsys):
        bench = Bench(flow)
        bench.turn()
        assert not bench.live.evicting
        bench.live.evict()
        with pytest.raises(RuntimeError, match="was evicted"):
            bench.live.pending()
        with pytest.raises(RuntimeError, match="was evicted"):
            bench.live.deliver(bench.log.land(NewEvent(completed("a#1").type, "a#1")))
    assert seen == [True, "evicted"]


async def _swallows_five_times(w: W) -> object:
    forever = asyncio.Event()
    for _ in range(5):
        try:
            await forever.wait()
        except asyncio.CancelledError:
            continue
    return None


async def _swallows_all(w: W) -> object:
    forever = asyncio.Event()
    while True:
        try:
            await forever.wait()
        except asyncio.CancelledError:
            continue


async def _spins_when_cancelled(w: W) -> object:
    while True:
        try:
            await w.step("a")
        except BaseException:  # noqa: BLE001  # it is the point
            await asyncio.sleep(0)


@pytest.mark.parametrize("flow", [_swallows_five_times, _swallows_all])
def test_h29_code_that_swallows_cancellation_is_ended_all_the_same(
    flow: Flow, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cancelled again, then closed by force; nothing is reported about it."""
    with silence(monkeypatch, capsys):
        bench = Bench(flow)
        gone = weakref.ref(bench.live)
        bench.live.evict()
        BENCHES.clear()
        del bench
        gc.collect()
        assert gone() is None


def test_h29_code_that_swallows_a_few_cancellations_ends_in_its_own_way() -> None:
    """Cancelled again and again before force is used: its last await is cancelled and not torn out."""
    seen: list[str] = []

    async def flow(w: W) -> object:
        forever = asyncio.Event()
        for _ in range(4):
            try:
                await forever.wait()
            except BaseException as error:  # noqa: BLE001  # what ended it is the question
                seen.append(type(error).__name__)

    bench = Bench(flow)
    bench.live.evict()
    assert seen == ["CancelledError"] * 4


def test_h29_code_that_swallows_all_is_torn_out_at_once() -> None:
    """Not when somebody drops the last reference to its task, which may be never."""
    tasks: list[object] = []
    seen: list[str] = []

    async def flow(w: W) -> object:
        tasks.append(asyncio.current_task())
        forever = asyncio.Event()
        try:
            while True:
                try:
                    await forever.wait()
                except asyncio.CancelledError:
                    continue
        finally:
            seen.append("finally")

    bench = Bench(flow)
    bench.live.evict()
    assert seen == ["finally"]
    assert tasks


def test_h29_code_that_spins_while_evicted_meets_the_drain_limit() -> None:
    """Eviction ends, whatever the code does."""
    bench = Bench(_spins_when_cancelled)
    bench.live.loop._drain_limit = 5000  # pyright: ignore[reportPrivateUsage]
    bench.live.evict()
    assert bench.live.evicted


def test_h29_a_run_that_never_started_can_be_evicted() -> None:
    """Nothing to do."""
    bench = Bench(SHAPES["sequential"])
    fresh = type(bench.live)("run-2", bench.live._program)  # pyright: ignore[reportPrivateUsage]
    fresh.evict()
    bench.live.evict()


def test_h29_suspension_never_unwinds_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that nobody holds is kept by its run: the garbage collector does not end it."""
    seen: list[str] = []

    async def forgotten(w: W) -> None:
        try:
            await w.step("slow")
            seen.append("done")
        finally:
            seen.append("finally")

    async def flow(w: W) -> object:
        asyncio.create_task(forgotten(w))  # noqa: RUF006  # that nobody keeps it is the point
        await w.step("a")
        await w.step("b")

    bench = Bench(flow)
    bench.turn()
    gc.collect()
    assert seen == []
    bench.land(completed("forgotten#1/slow#1"))
    assert seen == ["done", "finally"]
    bench.live.evict()


def test_an_async_generator_found_by_the_cyclic_collector_is_closed_at_the_end() -> None:
    """When the collector comes is no part of the log, so what it finds must not start a task then."""
    closed: list[str] = []

    async def pages(w: W) -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            closed.append("closed")

    async def flow(w: W) -> object:
        generator = pages(w)
        await anext(generator)
        cycle: list[object] = [generator]
        cycle.append(cycle)
        del generator, cycle
        assert not gc.isenabled()
        return await w.step("a")

    bench = Bench(flow)
    assert bench.turn() == ["step_created a#1"]
    assert gc.isenabled()
    gc.collect()
    assert closed == []
    bench.live.evict()
    assert closed == ["closed"]


def test_the_outer_loop_is_given_back() -> None:
    """Running loop, async generator hooks and current task of the thread are as before, also inside a running loop."""

    async def outer() -> None:
        loop, task, hooks = asyncio.get_running_loop(), asyncio.current_task(), sys.get_asyncgen_hooks()
        bench = Bench(everything)
        bench.turn()
        assert (asyncio.get_running_loop(), asyncio.current_task(), sys.get_asyncgen_hooks()) == (loop, task, hooks)
        bench.live.evict()
        assert (asyncio.get_running_loop(), asyncio.current_task(), sys.get_asyncgen_hooks()) == (loop, task, hooks)
        assert current() is None

    asyncio.run(outer())
