"""Two hazards of the page that no other test carries: what an earlier round of a turn owes, and Redis' clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.engine.engine_virtual import run
from tests.engine.engine_world import World, at_once
from tests.engine.oracle import check
from tests.hazards.removals_of_turns import instants_cross, nothing_owed_after_a_conflict

from fencepost import HookConflict, hook, sleep, step, workflow
from fencepost.payload import encode
from fencepost_queue.memory import MemoryServer
from fencepost_store.events import EventType, NewEvent
from fencepost_store.protocol import Batch


def land_signal(world: World, token: str) -> None:
    """A signal whose sender dies before its tick."""
    listening = at_once(world.store.find_hook(token))
    assert listening is not None
    event = NewEvent(type=EventType.hook_received, entity=listening.entity, dedupe="d", payload=encode(1))
    at_once(world.store.append([Batch(run_id=listening.run_id, fence=None, events=(event,))]))


def two_rounds(world: World) -> Any:
    """Its first turn lands a step and a hook_conflict; what the conflict leads to is asked for in a second round."""

    @step(registry=world.registry)
    async def work() -> str:
        return "worked"

    @step(registry=world.registry)
    async def apologise() -> str:
        return "sorry"

    @workflow(registry=world.registry)
    async def flow() -> str:
        async with hook(int, token="spare"):
            working = asyncio.ensure_future(work())
            try:
                async with hook(int, token="taken") as taken:
                    await taken
            except HookConflict:
                return f"{await apologise()}, {await working}"
            return "nobody had it"

    return flow


async def seconds_of_two_rounds(concurrency: int) -> float:
    """How long the run takes if a signal lands between its first turn's two rounds."""
    world = World(concurrency=concurrency)

    @workflow(registry=world.registry)
    async def owner() -> None:
        async with hook(int, token="taken") as taken:
            await taken

    flow = two_rounds(world)
    loop = asyncio.get_running_loop()
    async with world.worker("A") as a:
        await world.start(owner)
        await asyncio.sleep(5)
        a.at("append.before", a.seen["append.before"] + 2, lambda: land_signal(world, "spare"))
        began = loop.time()
        started = await world.start(flow)
        assert await started.result(600) == "sorry, worked"
        types = [event.type for event in await world.log(started)]
        assert types.index(EventType.hook_conflict) < types.index(EventType.hook_received)
        check(await world.log(started))
        seconds = loop.time() - began
        await asyncio.sleep(1)  # of the virtual clock: the last handler ends after the hint
        assert a.shell.slots.taken == 0
        return seconds


@pytest.mark.parametrize("concurrency", [1, 8])
def test_h91_what_round_one_owes_is_placed_although_round_two_conflicts(
    concurrency: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step that round one created is on its way at once; without the guard it waits for the run's deadline."""
    assert run(lambda: seconds_of_two_rounds(concurrency)) < 3
    nothing_owed_after_a_conflict(monkeypatch)
    assert run(lambda: seconds_of_two_rounds(concurrency)) > 5


Clock = Callable[[float], int]


async def turns_of_a_sleep(clock_ms: Clock) -> int:
    """How many turns a sleep of 100 s takes over a queue with its own idea of time; it must end in time."""
    world = World()
    loop = asyncio.get_running_loop()
    world.server = MemoryServer(lambda: clock_ms(loop.time()))

    @workflow(registry=world.registry)
    async def flow() -> str:
        await sleep(100)
        return "awake"

    async with world.worker("A") as a:
        await asyncio.sleep(1)
        began = loop.time()
        started = await world.start(flow)
        assert await started.result(600) == "awake"
        assert 100 <= loop.time() - began < 115
        return a.calls.count(("store", "load"))


def an_hour_ahead(now: float) -> int:
    """Redis' milliseconds at that moment of the database."""
    return int(now * 1000) + 3_600_000


def behind(now: float) -> int:
    """By a quarter of an hour."""
    return int(now * 1000) - 900_000


def twice_as_fast(now: float) -> int:
    """Every delay is over at half of its time."""
    return int(now * 2000)


@pytest.mark.parametrize(("clock_ms", "most"), [(an_hour_ahead, 4), (behind, 4), (twice_as_fast, 14)])
def test_h100_redis_clock_is_its_own_affair(clock_ms: Clock, most: int) -> None:
    """Only delays cross, so an offset does nothing; a clock that runs fast brings early ticks, and each is armed again
    for the rest: no spinning.
    """
    assert run(lambda: turns_of_a_sleep(clock_ms)) <= most


def test_h100_an_instant_that_crosses_would_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard taken out: the worker hands Redis the instant, which lies in the past there."""
    instants_cross(monkeypatch)
    assert run(lambda: turns_of_a_sleep(an_hour_ahead)) > 1_000
