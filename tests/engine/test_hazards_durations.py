"""Durations count from the turn that asks for them, not from the event that woke the code (H176), and instants stay
instants (H177). On a virtual clock: no worker is there for a while, by construction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any

import anyio
import pytest
from engine_flows import land_signal
from engine_virtual import run
from engine_world import World
from oracle import check

from fencepost import hook, now, sleep, step, workflow
from fencepost_store.events import EventType

OUTAGE = 12.0
Wait = Callable[[], Coroutine[Any, Any, object]]


async def _sleep() -> None:
    await sleep(10)


async def _sleep_delta() -> None:
    await sleep(timedelta(seconds=10))


async def _asyncio_sleep() -> None:
    await asyncio.sleep(10)


async def _anyio_sleep() -> None:
    await anyio.sleep(10)


async def _timeout() -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(10):
            await asyncio.Event().wait()


async def _wait_for() -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 10)


async def _wait() -> None:
    task = asyncio.ensure_future(asyncio.Event().wait())
    await asyncio.wait([task], timeout=10)
    task.cancel()


async def _fail_after() -> None:
    with suppress(TimeoutError):
        with anyio.fail_after(10):
            await anyio.sleep_forever()


async def _move_on_after() -> None:
    with anyio.move_on_after(10):
        await anyio.sleep_forever()


async def _rescheduled() -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(None) as bound:
            bound.reschedule(asyncio.get_running_loop().time() + 10)
            await asyncio.Event().wait()


async def _call_later() -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_later(10, future.set_result, None)
    await future


async def _call_at() -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_at(loop.time() + 10, future.set_result, None)
    await future


async def _nested() -> None:
    """The inner one comes first, as it does without an outage."""
    with suppress(TimeoutError):
        async with asyncio.timeout(60):
            async with asyncio.timeout(10):
                await sleep(30)


WAITS: list[Wait] = [
    *(_sleep, _sleep_delta, _asyncio_sleep, _anyio_sleep, _timeout, _wait_for, _wait, _fail_after, _move_on_after),
    *(_rescheduled, _call_later, _call_at, _nested),
]


async def _ended_after(world: World, started: Any, seconds: float) -> tuple[float, object]:
    """How long the run takes from here on."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    result = await started.result(seconds)
    return loop.time() - began, result


@pytest.mark.parametrize("check_replay", [False, True])
@pytest.mark.parametrize("wait", WAITS, ids=lambda wait: wait.__name__.strip("_"))
def test_h176_a_duration_in_the_first_turn_is_not_used_up_by_the_time_before_it(wait: Wait, check_replay: bool) -> None:
    """The run was created 12 s before there was a worker."""

    async def main() -> None:
        world = World(check_replay=check_replay)

        @workflow(registry=world.registry)
        async def waits() -> str:
            await wait()
            return "waited"

        started = await world.start(waits)
        await asyncio.sleep(OUTAGE)
        async with world.worker("A"):
            took, result = await _ended_after(world, started, 60)
        assert result == "waited"
        assert 9.9 <= took <= 12
        check(await world.log(started))

    run(main)


@pytest.mark.parametrize("wait", WAITS, ids=lambda wait: wait.__name__.strip("_"))
def test_h176_nor_by_the_time_after_the_event_that_woke_the_code(wait: Wait) -> None:
    """A signal lands while no worker is there. A replay in between sees what is recorded."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def waits() -> str:
            async with hook(int, token="t") as numbers:
                await numbers
                await wait()
            return "waited"

        async with world.worker("A"):
            started = await world.start(waits)
            await asyncio.sleep(1)
        land_signal(world, "t", 1)
        await asyncio.sleep(OUTAGE)
        async with world.worker("B"):
            await asyncio.sleep(8)
            assert not (await started.status()).ended
        async with world.worker("C"):  # a replay: the due time is the recorded one
            assert await started.result(60) == "waited"
        log = await world.log(started)
        check(log)
        (created,) = [e for e in log if e.type is EventType.wait_created and (e.due or 0) < e.at + 20_000_000]
        assert created.due is not None
        assert 9_900_000 < created.due - created.at <= 10_000_000
        completed = next(e for e in log if e.type is EventType.wait_completed)
        assert created.due <= completed.at < created.due + 10_000_000

    run(main)


def test_h176_a_timeout_around_the_first_step_does_not_fire_when_the_outage_is_over() -> None:
    """It used to cancel the step at once: an outage became a failure as soon as it was over."""

    async def main() -> None:
        world = World()

        @step(registry=world.registry)
        async def work() -> str:
            await asyncio.sleep(1)
            return "done"

        @workflow(registry=world.registry, timeout=10)
        async def flow() -> str:
            async with asyncio.timeout(10):
                return await work()

        started = await world.start(flow)
        await asyncio.sleep(OUTAGE)
        async with world.worker("A"):
            assert await started.result(60) == "done"

    run(main)


def test_h177_an_instant_stays_what_it_is() -> None:
    """``sleep(until)`` and a deadline that was computed in an earlier turn are not moved by an outage."""

    async def main() -> None:
        world = World()
        loop = asyncio.get_running_loop()

        @workflow(registry=world.registry)
        async def flow() -> list[str]:
            until = now() + timedelta(seconds=20)
            deadline = asyncio.get_running_loop().time() + 25
            async with hook(int, token="t") as numbers:
                await numbers

                async def bounded() -> str:
                    try:
                        async with asyncio.timeout_at(deadline):
                            await numbers
                    except TimeoutError:
                        return "late"
                    return "in time"

                _, how = await asyncio.gather(sleep(until), bounded())
                return [how]

        async with world.worker("A"):
            started = await world.start(flow)
            await asyncio.sleep(1)
            created = next(e.at for e in await world.log(started) if e.type is EventType.run_created)
        land_signal(world, "t", 1)
        await asyncio.sleep(OUTAGE)
        async with world.worker("B"):
            assert await started.result(60) == ["late"]
        dues = [e.due - created for e in await world.log(started) if e.type is EventType.wait_created and e.due]
        assert [round(due / 1e6, 3) for due in dues] == [20, 25]
        assert loop.time() > 0

    run(main)


def test_h176_timers_of_one_turn_keep_their_order() -> None:
    """However late the turn is."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow() -> list[int]:
            order: list[int] = []

            async def nap(seconds: int) -> None:
                await sleep(seconds)
                order.append(seconds)

            async with asyncio.TaskGroup() as group:
                for seconds in (3, 1, 2):
                    group.create_task(nap(seconds))
            return order

        started = await world.start(flow)
        await asyncio.sleep(OUTAGE)
        async with world.worker("A"):
            took, order = await _ended_after(world, started, 60)
        assert order == [1, 2, 3]
        assert 2.9 <= took <= 5

    run(main)


def test_h176_now_is_workflow_time_all_the_same() -> None:
    """It is that of the event, also in the turn behind an outage, and a replay sees the same."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow() -> list[float]:
            first = now()
            await sleep(10)
            return [first.timestamp(), (now() - first).total_seconds()]

        started = await world.start(flow)
        created = (await world.log(started))[0].at
        await asyncio.sleep(OUTAGE)
        async with world.worker("A"):
            await asyncio.sleep(5)
        async with world.worker("B"):
            first, later = await started.result(60)
        assert round(first * 1e6) == created
        assert later >= OUTAGE + 10 - 0.1

    run(main)
