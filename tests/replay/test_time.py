"""Workflow time and durable waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio
import pytest
from replay_world import START, Bench, W, completed, received

from fencepost import records
from fencepost_store.events import EventType, NewEvent


def test_h26_the_clock_moves_only_when_an_event_is_delivered_to_code() -> None:
    """Creations, starts and retries do not move it; results do; two results loaded at once move it one by one."""

    async def flow(w: W) -> object:
        seen = [w.now()]
        for name in ("a", "b"):
            await w.step(name)
            seen.append(w.now())
        return seen

    bench = Bench(flow)
    first = bench.log.events[0].at
    bench.land(NewEvent(EventType.run_started), *bench.live.pending())
    bench.land(NewEvent(EventType.step_started, "a#1", 1), NewEvent(EventType.step_retrying, "a#1", 1))
    assert bench.live.time() == first
    bench.land(completed("a#1"))
    after_a = bench.log.now
    bench.turn()
    assert bench.live.time() == after_a
    bench.land(completed("b#1"))
    assert bench.output() == [first, after_a, bench.log.now]


def test_the_clock_never_goes_back() -> None:
    """A wait that fired by an extrapolated clock may be followed by an event with an earlier stamp."""

    async def flow(w: W) -> object:
        step = asyncio.ensure_future(w.step("a"))
        await asyncio.sleep(10)
        before = w.now()
        await step
        return w.now() - before

    bench = Bench(flow)
    bench.turn()
    bench.live.fire_due(bench.log.now + 20_000_000)
    bench.turn()
    bench.land(completed("a#1"))
    assert bench.output() == 0


@pytest.mark.parametrize("delay", [0.1, 1 / 3, 2.3, 4.35, 0.000001, 1.1, 86400.0 * 365])
def test_due_times_are_exact_to_the_microsecond(delay: float) -> None:
    """A sleep is due exactly its delay after workflow time, and never before it."""

    async def flow(w: W) -> object:
        await asyncio.sleep(delay)

    bench = Bench(flow)
    due = bench.live.pending()[0].due
    assert due is not None
    assert 0 <= (due - bench.live.time()) - round(delay * 1e6, 3) < 1
    bench.live.evict()


@pytest.mark.parametrize("delay", [0.1, 1 / 3, 2.3, 4.35, 7.0])
def test_timeouts_are_due_within_a_microsecond(delay: float) -> None:
    """A timeout gives its deadline as a float of today's size."""

    async def flow(w: W) -> object:
        async with asyncio.timeout(delay):
            await w.step("a")

    bench = Bench(flow)
    due = bench.live.pending()[0].due
    assert due is not None
    assert abs((due - bench.live.time()) - delay * 1e6) <= 1
    bench.live.evict()


def test_a_fired_timer_never_sees_a_clock_before_its_deadline() -> None:
    """The event may carry an earlier time than the float deadline says: anyio compares, and would arm another timer."""

    async def flow(w: W) -> object:
        with anyio.move_on_after(1 / 3):
            await w.step("a")
        return w.now()

    bench = Bench(flow)
    bench.turn()
    due = bench.log.events[-2].due
    assert due is not None
    bench.land(NewEvent(EventType.wait_completed, "timeout#1", at=due - 1))
    assert bench.asked() == ["step_cancelled a#1", "run_completed"]
    assert bench.output() == due


async def _asyncio_sleep(w: W) -> None:
    await asyncio.sleep(1)


async def _anyio_sleep(w: W) -> None:
    await anyio.sleep(1)


async def _timeout(w: W) -> None:
    async with asyncio.timeout(1):
        await w.future("a")


async def _wait_for(w: W) -> None:
    await asyncio.wait_for(w.future("a"), 1)


async def _wait(w: W) -> None:
    await asyncio.wait([w.future("a")], timeout=1)


async def _as_completed(w: W) -> None:
    for each in asyncio.as_completed([w.future("a")], timeout=1):
        await each


async def _move_on_after(w: W) -> None:
    with anyio.move_on_after(1):
        await w.future("a")


async def _call_later(w: W) -> None:
    asyncio.get_running_loop().call_later(1, print)
    await w.future("a")


@pytest.mark.parametrize(
    ("flow", "name"),
    [
        (_asyncio_sleep, "sleep"),
        (_anyio_sleep, "sleep"),
        (_timeout, "timeout"),
        (_wait_for, "timeout"),
        (_wait, "timeout"),
        (_as_completed, "timeout"),
        (_move_on_after, "timeout"),
        (_call_later, "timer"),
    ],
)
def test_waits_are_named_by_what_made_them(flow: Callable[[W], object], name: str) -> None:
    """sleep, timeout, timer; in the id and in the record."""
    bench = Bench(flow)  # type: ignore[arg-type]  # pyright: ignore
    (wait,) = [e for e in bench.live.pending() if e.type is EventType.wait_created]
    assert wait.entity == f"{name}#1"
    assert records.unpack(wait.payload, records.WaitCreated).name == name
    bench.live.evict()


def test_a_timer_that_is_due_already_is_no_wait() -> None:
    """It runs in the same drain."""

    async def flow(w: W) -> object:
        loop, seen = asyncio.get_running_loop(), list[object]()
        loop.call_at(loop.time(), seen.append, "at")
        loop.call_later(-1, seen.append, "later")
        with anyio.move_on_after(-1) as scope:
            await anyio.sleep(5)
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(0):
                await asyncio.sleep(5)
        except TimeoutError:
            seen.append("timeout")
        return [*seen, scope.cancelled_caught]

    bench = Bench(flow)
    assert bench.asked() == ["run_completed"]
    assert bench.output() == ["at", "later", "timeout", True]


def test_an_infinite_sleep_is_no_wait() -> None:
    """Nothing would ever fire it; huge ones are due in the year 9999."""

    async def flow(w: W) -> object:
        return await asyncio.gather(asyncio.sleep(float("inf")), anyio.sleep_forever(), asyncio.sleep(1e30))

    bench = Bench(flow)
    (huge,) = bench.live.pending()
    assert huge.due == 253_402_300_799_000_000
    bench.live.evict()


def test_a_delay_that_is_not_a_number_is_refused() -> None:
    """Before it can become an event."""

    async def flow(w: W) -> object:
        with pytest.raises(ValueError, match="NaN"):
            asyncio.get_running_loop().call_later(float("nan"), print)
        with pytest.raises(ValueError, match="NaN"):
            asyncio.get_running_loop().call_at(float("nan"), print)

    assert Bench(flow).asked() == ["run_completed"]


def test_what_is_made_and_cancelled_within_one_look_leaves_no_trace() -> None:
    """A timeout around a step whose result is already there when somebody looks."""

    async def flow(w: W) -> object:
        async with w.hook("t") as hook:
            for _ in range(3):
                async with asyncio.timeout(60):
                    await hook.next()
            await w.step("after")

    bench = Bench(flow)
    bench.turn()
    bench.land(received("hook#1"), received("hook#1"), received("hook#1"))
    assert bench.asked() == ["wait_cancelled timeout#1", "step_created after#1"]
    bench.live.evict()


def test_h35_the_losing_wait_is_cancelled_and_keeps_no_run_open() -> None:
    """It is in the log, so its end is too; it is not due any more."""

    async def flow(w: W) -> object:
        async with asyncio.timeout(60):
            await w.step("a")
        return await w.step("b")

    bench = Bench(flow)
    bench.turn()
    assert bench.live.next_due() is not None
    bench.land(completed("a#1"))
    assert bench.asked() == ["wait_cancelled timeout#1", "step_created b#1"]
    assert bench.live.next_due() is None
    bench.turn()
    bench.live.fire_due(START + 10**15)
    assert bench.asked() == []
    assert bench.live.work.waits == {}
    bench.live.evict()


def test_waits_fire_by_due_time_each_to_quiescence() -> None:
    """The first one cancels the third; what it asks for comes after both that fired."""

    async def flow(w: W) -> object:
        order: list[object] = []
        third = asyncio.ensure_future(asyncio.sleep(3))

        async def nap(n: int) -> None:
            await asyncio.sleep(n)
            order.append((n, w.now()))
            third.cancel()

        await asyncio.gather(nap(2), nap(1), third, return_exceptions=True)
        return order

    bench = Bench(flow)
    bench.turn()
    now = bench.log.now + 10_000_000
    bench.live.fire_due(now)
    assert bench.asked() == [
        "wait_completed nap#2/sleep#1",
        "wait_completed nap#1/sleep#1",
        "wait_cancelled sleep#1/sleep#1",
        "run_completed",
    ]
    assert bench.output() == [[1, now], [2, now]]
    bench.turn()
    assert bench.asked() == []


def test_the_recorded_due_time_decides_when_a_wait_fires() -> None:
    """A deploy changed the sleep: the wait of the log is due when the log says."""

    async def flow(w: W, seconds: float) -> object:
        return await asyncio.sleep(seconds, "slept")

    old = Bench(lambda w: flow(w, 5))
    old.turn()
    new = Bench(lambda w: flow(w, 500))
    new.land(*[NewEvent(e.type, e.entity, due=e.due, payload=e.payload) for e in old.log.events[1:]])
    assert new.live.next_due() == old.live.next_due()
    new.live.fire_due(new.live.next_due() or 0)
    assert new.output() == "slept"
