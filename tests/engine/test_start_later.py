"""Starts that are put off: the first turn comes no sooner than they say, by the database clock, whoever asks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from engine_virtual import run
from engine_world import EPOCH, World

from fencepost import errors, now, sleep, step, workflow
from fencepost.authoring.workflow import Workflow
from fencepost.client.run import instant
from fencepost.history import recorded
from fencepost.replay.recorded import fit
from fencepost_queue.protocol import Entry, tick_key

HOUR = 1200.0
"""Not quite: what counts is that it lies beyond the near horizon."""


def clock() -> float:
    return asyncio.get_running_loop().time()


def noting_flow(world: World, *, timeout: float | None = None) -> tuple[Workflow[[], str], list[float]]:
    """A workflow whose step notes the moment at which it runs."""
    ran: list[float] = []

    @step(registry=world.registry)
    async def note() -> None:
        ran.append(clock())

    @workflow(registry=world.registry, timeout=timeout)
    async def flow() -> str:
        at = now()
        await note()
        if timeout is not None:
            await sleep(10 * HOUR)
        return at.isoformat()

    return flow, ran


@pytest.mark.parametrize("delay", [0.2, 30.0, 5 * HOUR])
@pytest.mark.parametrize("as_instant", [False, True])
def test_a_run_starts_when_it_is_to_and_not_before(delay: float, as_instant: bool) -> None:
    """Near by the queue's delay, far by the reconciler; for its code it begins at that instant."""

    async def main() -> None:
        world = World()
        flow, ran = noting_flow(world)
        async with world.worker("A"):
            due = clock() + delay
            starts = instant(EPOCH + int(due * 1_000_000))
            given: dict[str, Any] = {"start_at": starts} if as_instant else {"delay": timedelta(seconds=delay)}
            started = await world.client().start(flow, **given)
            assert (await started.status()).starts_at == starts
            assert await started.result(6 * HOUR) == starts.isoformat()
            assert due <= ran[0] <= due + 0.3
            assert (await started.status()).starts_at is None

    run(main)


def test_a_far_start_costs_the_queue_nothing() -> None:
    async def main() -> None:
        world = World()
        flow, _ = noting_flow(world)
        client = world.client()
        for _ in range(50):
            await client.start(flow, delay=HOUR)
        (lane,) = await world.server.client("x").depth()
        assert (lane.ready, lane.delayed) == (0, 0)
        await client.start(flow, delay=60)
        (lane,) = await world.server.client("x").depth()
        assert (lane.ready, lane.delayed) == (0, 1)

    run(main)


def test_a_far_start_is_looked_at_once_when_it_comes_near() -> None:
    """Then Redis has the tick, and the deadline only stands behind it: the reconciler does not come again and again."""

    async def main() -> None:
        world = World()
        flow, ran = noting_flow(world)
        async with world.worker("A") as a:
            await asyncio.sleep(1)
            due = clock() + 2 * HOUR
            started = await world.client().start(flow, delay=2 * HOUR)
            await asyncio.sleep(2 * HOUR - 120)
            assert a.calls.count(("store", "load")) == 1
            assert (await started.status()).wake_at == instant(EPOCH + int((due + 10) * 1_000_000))
            (lane,) = await world.server.client("x").depth()
            assert (lane.ready, lane.delayed) == (0, 1)
            await asyncio.sleep(240)
            assert due <= ran[0] <= due + 0.3

    run(main)


@pytest.mark.parametrize("delay", [60.0, 2 * HOUR])
def test_h45_a_client_that_dies_before_its_hint_and_a_flush_of_redis_delay_no_start(delay: float) -> None:
    """The deadline alone brings it."""

    async def main() -> None:
        world = World()
        flow, ran = noting_flow(world)
        async with world.worker("A"):
            due = clock() + delay
            await world.client().start(flow, delay=delay)
            world.server.flush()
            await asyncio.sleep(delay + 60)
            assert due <= ran[0] <= due + 10 + 10, "grace and a reconcile period"

    run(main)


@pytest.mark.parametrize("delay", [60.0, 2 * HOUR])
def test_early_and_recovering_ticks_start_nothing(delay: float) -> None:
    """Ticks at every moment, with recover and without: the run waits, and its deadline stays right."""

    async def main() -> None:
        world = World()
        flow, ran = noting_flow(world)
        async with world.worker("A") as a:
            due = clock() + delay
            started = await world.client().start(flow, delay=delay)
            for recover in (False, True, True):
                await asyncio.sleep(delay / 5)
                await a.shell.queue.enqueue([Entry(queue="default", key=tick_key(started.id), recover=recover)])
                await asyncio.sleep(1)
                assert await world.shape(started) == ["run_created"]
            wake = (await started.status()).wake_at
            assert wake is not None
            assert wake >= instant(EPOCH + int((due - 600) * 1_000_000))
            await asyncio.sleep(delay)
            assert due <= ran[0] <= due + 0.3

    run(main)


@pytest.mark.parametrize("delay", [60.0, 2 * HOUR])
def test_a_cancellation_before_the_start_ends_the_run_without_its_code(delay: float) -> None:
    async def main() -> None:
        world = World(check_replay=True)
        flow, ran = noting_flow(world)
        async with world.worker("A"):
            started = await world.client().start(flow, delay=delay)
            await asyncio.sleep(5)
            await started.cancel("not needed")
            with pytest.raises(errors.RunCancelled, match="not needed"):
                await started.result(5)
            assert await world.shape(started) == ["run_created", "cancel_requested", "run_cancelled"]
            await asyncio.sleep(delay + 60)
        assert not ran
        loaded = await world.store.load(started.id)
        assert loaded is not None
        assert fit(started.id, flow, recorded(loaded.run, loaded.events).events).difference is None

    run(main)


def test_a_cancellation_after_the_start_reaches_the_code() -> None:
    """The same log but for the moment: the code runs, and is cancelled where it waits."""

    async def main() -> None:
        world = World()
        flow, ran = noting_flow(world, timeout=5 * HOUR)
        async with world.worker("A"):
            started = await world.client().start(flow, delay=60)
            await asyncio.sleep(70)
            await started.cancel("late")
            with pytest.raises(errors.RunCancelled, match="late"):
                await started.result(5)
        assert len(ran) == 1

    run(main)


def test_termination_before_the_start_ends_the_run() -> None:
    async def main() -> None:
        world = World()
        flow, ran = noting_flow(world)
        async with world.worker("A"):
            started = await world.client().start(flow, delay=60)
            await started.terminate("gone")
            await asyncio.sleep(120)
            assert await world.shape(started) == ["run_created", "run_terminated"]
        assert not ran

    run(main)


def test_a_cancellation_that_lands_while_the_first_turn_is_under_way_ends_the_run_at_the_fence() -> None:
    """The turn has loaded before the cancellation, whose time is before the start: what it decided does not land."""

    async def main() -> None:
        world = World()
        flow, ran = noting_flow(world)
        async with world.worker("A") as a:
            started = await world.client().start(flow, delay=60)

            def land() -> None:
                world.cancel_at(started.id, EPOCH + int((clock() - 5) * 1_000_000))

            a.at("append.before", 1, land)
            with pytest.raises(errors.RunCancelled):
                await started.result(90)
            assert await world.shape(started) == ["run_created", "cancel_requested", "run_cancelled"]
        assert not ran

    run(main)


def test_a_run_s_timeout_counts_from_its_start() -> None:
    """Put off for two hours, with a timeout of one: it fails three hours from now."""

    async def main() -> None:
        world = World()
        flow, _ = noting_flow(world, timeout=HOUR)
        async with world.worker("A"):
            begun = clock()
            started = await world.client().start(flow, delay=2 * HOUR)
            with pytest.raises(errors.RunFailed) as failed:
                await started.result(4 * HOUR)
            assert failed.value.type == "builtins.TimeoutError"
            assert 3 * HOUR <= clock() - begun <= 3 * HOUR + 1

    run(main)


def test_a_timeout_counts_from_the_first_turn_also_when_that_is_late() -> None:
    """No worker for half an hour after the start: an outage uses nothing of the hour up (H176)."""

    async def main() -> None:
        world = World()
        flow, _ = noting_flow(world, timeout=HOUR)
        begun = clock()
        started = await world.client().start(flow, delay=HOUR)
        await asyncio.sleep(1.5 * HOUR)
        async with world.worker("A"):
            with pytest.raises(errors.RunFailed):
                await started.result(2 * HOUR)
            assert 2.5 * HOUR <= clock() - begun <= 2.5 * HOUR + 20

    run(main)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"delay": -1}, "delay = -1: must be 0 s or more and at most"),
        ({"delay": float("inf")}, "delay = inf: must"),
        ({"delay": float("nan")}, "delay = nan: must"),
        ({"start_at": datetime(2030, 1, 1)}, "has no time zone"),  # noqa: DTZ001 - naive on purpose
        ({"delay": 1, "start_at": datetime(2030, 1, 1, tzinfo=UTC)}, "give one of them"),
    ],
)
def test_what_says_no_start_is_refused(given: dict[str, Any], words: str) -> None:
    async def main() -> None:
        world = World()
        flow, _ = noting_flow(world)
        with pytest.raises(errors.ArgumentError, match=words):
            await world.client().start(flow, **given)

    run(main)
