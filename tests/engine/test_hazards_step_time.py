"""Hazards of a step's time: bounds that hold whoever serves the step's queue, and their races with starts and ends. On
a virtual clock, by construction.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from engine_virtual import run
from engine_world import World, at_once
from oracle import check

from fencepost import errors, step, workflow
from fencepost.records import StepEnded, unpack
from fencepost_queue.protocol import Entry, step_key, tick_key
from fencepost_store.events import EventType, NewEvent
from fencepost_store.protocol import Batch


class Timed:
    """A workflow of one step whose body takes ``seconds`` or fails, and which answers the bound that was hit."""

    def __init__(self, world: World, seconds: float = 0.0, *, fails: bool = False, **options: Any) -> None:
        self.began: list[float] = []
        self.stopped = 0
        loop = asyncio.get_running_loop()

        @step(registry=world.registry, **options)
        async def work() -> str:
            self.began.append(loop.time())
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                self.stopped += 1
                raise
            if fails:
                raise ValueError("no")
            return "done"

        @workflow(registry=world.registry)
        async def flow() -> str:
            try:
                return await work()
            except errors.StepTimeout as timeout:
                return timeout.which
            except ValueError:
                return "ValueError"

        self.main = flow


def ends(log: list[Any]) -> list[tuple[str, int]]:
    """The step's starts and end, with their attempts."""
    return [(event.type.name, event.attempt) for event in log if 11 <= event.type <= 15]


@pytest.mark.parametrize("which", ["schedule_to_start", "schedule_to_close"])
def test_h121_a_step_that_nobody_serves_ends_by_its_time(which: str) -> None:
    """No worker serves the queue "gpu": the run's own turn, at the step's time and not a reconcile period later."""

    async def main() -> None:
        world = World()
        options: dict[str, Any] = {which: 100}
        timed = Timed(world, queue="gpu", **options)
        loop = asyncio.get_running_loop()
        async with world.worker("A"):
            began = loop.time()
            started = await world.start(timed.main)
            assert await started.result(300) == which
            assert 100 <= loop.time() - began < 100.2
            assert ends(await world.log(started)) == [("step_failed", 0)]
            assert await world.server.client("x").peek("gpu", 10) == [], "nobody is to find it later"
        check(await world.log(started))

    run(main)


@pytest.mark.parametrize("lost", ["flush", "crash"])
def test_h121_the_time_of_a_step_survives_redis_and_the_worker(lost: str) -> None:
    """The delayed tick is gone with Redis, or its worker died before it placed it: the deadline in Postgres brings the
    turn within a grace and a reconcile period.
    """

    async def main() -> None:
        world = World()
        timed = Timed(world, queue="gpu", schedule_to_start=100)
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with world.worker("A") as a:
            if lost == "crash":
                a.crash_at("append.after")
            started = await world.start(timed.main)
            await asyncio.sleep(1)
            if lost == "flush":
                world.server.flush()
            run_row = await world.memory.get(started.id)
            assert run_row is not None
            assert run_row.wake_at is not None, "I7"
        async with world.worker("B"):
            assert await started.result(300) == "schedule_to_start"
            assert 100 <= loop.time() - began < 100 + 10 + 5 + 5

    run(main)


def test_h121_the_time_of_a_far_step_is_a_deadline_and_no_message() -> None:
    """Beyond the near horizon nothing of it stands in Redis; it ends in time all the same."""

    async def main() -> None:
        world = World()
        timed = Timed(world, queue="gpu", schedule_to_close=7_200)
        loop = asyncio.get_running_loop()
        async with world.worker("A"):
            began = loop.time()
            started = await world.start(timed.main)
            await asyncio.sleep(60)
            assert [m.key for m in await world.server.client("x").peek("default", 10)] == []
            assert await started.result(8_000) == "schedule_to_close"
            assert 7_200 <= loop.time() - began < 7_200 + 0.2

    run(main)


@pytest.mark.parametrize("which", ["schedule_to_start", "schedule_to_close"])
def test_h120_a_start_lands_while_the_turn_times_the_step_out(which: str) -> None:
    """The turn has found no start; one lands before its append, which is refused. It looks again: the step was started
    in time, or is out of its time with its newest start.
    """

    async def main() -> None:
        world = World()
        options: dict[str, Any] = {which: 100}
        timed = Timed(world, queue="gpu", **options)
        async with world.worker("A") as a:
            started = await world.start(timed.main)
            await asyncio.sleep(1)

            def start() -> None:
                event = NewEvent(EventType.step_started, "work#1", attempt=1, dedupe="G.1")
                at_once(world.store.append([Batch(started.id, None, (event,))]))

            a.at("append.before", a.seen["append.before"] + 1, start)
            await asyncio.sleep(110)
            if which == "schedule_to_close":
                assert await started.result(10) == which
                assert ends(await world.log(started)) == [("step_started", 1), ("step_failed", 1)]
                check(await world.log(started))
                return
            assert ends(await world.log(started)) == [("step_started", 1)]
            done = NewEvent(EventType.step_completed, "work#1", attempt=1, dedupe="G.1", payload=b"\x02\xa4done")
            await world.store.append([Batch(started.id, None, (done,))])
            await world.server.client("x").enqueue([Entry("default", tick_key(started.id))])
            assert await started.result(10) == "done"
        check(await world.log(started))

    run(main)


def test_h120_a_result_that_lands_first_wins_over_the_time() -> None:
    """The result lands between the turn's load and its append: a visible event, so the turn loses its fence."""

    async def main() -> None:
        world = World()
        timed = Timed(world, queue="gpu", schedule_to_close=100)
        async with world.worker("A") as a:
            started = await world.start(timed.main)
            await asyncio.sleep(1)

            def end() -> None:
                facts = (
                    NewEvent(EventType.step_started, "work#1", attempt=1, dedupe="G.1"),
                    NewEvent(EventType.step_completed, "work#1", attempt=1, dedupe="G.1", payload=b"\x02\xa4done"),
                )
                at_once(world.store.append([Batch(started.id, None, facts)]))

            a.at("append.before", a.seen["append.before"] + 1, end)
            assert await started.result(200) == "done"
        check(await world.log(started))

    run(main)


def test_h120_an_executor_that_comes_too_late_starts_nothing() -> None:
    """The step's message is claimed after its time, before any turn: the executor itself ends the step."""

    async def main() -> None:
        world = World()
        timed = Timed(world, schedule_to_start=100)
        async with world.worker("A") as a:
            a.shell.slots.take(a.shell.slots.free)
            started = await world.start(timed.main)
            await asyncio.sleep(1)
        await asyncio.sleep(150)
        x = world.server.client("x")
        claimed = {one.key: one for one in (await x.claim("default", 10, 600_000)).deliveries}
        assert set(claimed) == {tick_key(started.id), step_key(started.id, "work#1")}
        await x.release(claimed[step_key(started.id, "work#1")])
        async with world.worker("B") as b:
            await asyncio.sleep(30)
            assert b.seen.get("tick.replayed") is None, "no turn has had a part in it"
            assert ends(await world.log(started)) == [("step_failed", 0)]
            await x.release(claimed[tick_key(started.id)])
            assert await started.result(30) == "schedule_to_start"
        assert timed.began == []
        assert ends(await world.log(started)) == [("step_failed", 0)]

    run(main)


def test_schedule_to_close_bounds_an_attempt_and_its_retries() -> None:
    """A body that would go on is stopped at the step's time; it is not retried, and the worker says so itself."""

    async def main() -> None:
        world = World()
        timed = Timed(world, 1_000, schedule_to_close=50, retries=9)
        loop = asyncio.get_running_loop()
        async with world.worker("A"):
            began = loop.time()
            started = await world.start(timed.main)
            assert await started.result(300) == "schedule_to_close"
            assert 50 <= loop.time() - began < 50.2
            await asyncio.sleep(1)
            assert (len(timed.began), timed.stopped) == (1, 1)
        check(await world.log(started))

    run(main)


def test_a_retry_that_would_begin_after_the_steps_time_is_none() -> None:
    """The step fails with the error of its last attempt, without waiting for the end of its time."""

    async def main() -> None:
        world = World()
        timed = Timed(world, 1, fails=True, schedule_to_close=50, retries=99, first_delay=40, factor=1)
        loop = asyncio.get_running_loop()
        async with world.worker("A"):
            began = loop.time()
            started = await world.start(timed.main)
            assert await started.result(300) == "ValueError"
            assert loop.time() - began < 50
            (end,) = [e for e in await world.log(started) if e.type is EventType.step_failed]
            assert end.attempt == len(timed.began) >= 1
            assert unpack(end.payload, StepEnded).error.type == "builtins.ValueError"

    run(main)


def test_waits_and_steps_that_are_due_together_come_in_the_order_of_their_times() -> None:
    """The worker was away while both came due: the sooner one decides, as if somebody had been there."""

    async def main() -> None:
        world = World()

        @step(registry=world.registry, queue="gpu")
        async def work() -> None: ...

        @workflow(registry=world.registry)
        async def flow(first: float, second: float) -> str:
            try:
                async with asyncio.timeout(first):
                    await work.with_options(schedule_to_start=second)()
            except errors.StepTimeout:
                return "step"
            except TimeoutError:
                return "wait"
            return "neither"

        async with world.worker("A"):
            wait_first = await world.start(flow, 50.0, 60.0)
            step_first = await world.start(flow, 60.0, 50.0)
            await asyncio.sleep(1)
        await asyncio.sleep(1_000)
        async with world.worker("B"):
            assert await wait_first.result(60) == "wait"
            assert await step_first.result(60) == "step"
        for started in (wait_first, step_first):
            check(await world.log(started))

    run(main)


@pytest.mark.parametrize("named", [(LookupError,), ("builtins.KeyError",), (errors.StepTimeout,)])
def test_a_named_class_and_what_inherits_from_it_fail_the_step_at_once(named: tuple[Any, ...]) -> None:
    """A KeyError by its ancestor, by its name; a timeout by its class. Others are retried."""

    async def main() -> None:
        world = World()
        began: list[int] = []

        @step(registry=world.registry, retries=5, first_delay=0.0, timeout=5, non_retryable=named)
        async def work() -> None:
            began.append(1)
            if len(began) == 1:
                raise ValueError("retried")
            if named[0] is errors.StepTimeout:
                await asyncio.sleep(10)
            raise KeyError("not retried")

        @workflow(registry=world.registry)
        async def flow() -> str:
            try:
                await work()
            except (KeyError, errors.StepTimeout) as error:
                return type(error).__name__
            return ""

        async with world.worker("A"):
            started = await world.start(flow)
            assert await started.result(60) in ("KeyError", "StepTimeout")
        assert len(began) == 2

    run(main)
