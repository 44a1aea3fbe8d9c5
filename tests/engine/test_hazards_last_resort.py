"""H225: a run with a long log under a flood of signals. What is done under its row's lock does not grow with that."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from engine_flows import land_signal
from engine_virtual import run
from engine_world import World
from tests.last_resort import adder, watched

from fencepost.engine import tick
from fencepost_store.events import Event, EventType
from fencepost_store.protocol import Loaded
from fencepost_store.trouble import RolledBack

LONG = 300


def test_h225_a_long_log_is_replayed_before_its_row_is_locked() -> None:
    """A signal lands before each append, and so does one between the replay and the lock: that is all it holds."""

    async def main() -> None:
        world = World(conflict_limit=1)
        under_lock = watched(world.memory)
        adds = adder(world.registry)
        async with world.worker("A") as a:
            started = await world.start(adds)
            await world.settle()
            for n in range(LONG):
                land_signal(world, "t", 1, f"d{n}")
            before, after = a.seen["append.before"] + 1, a.seen.get("tick.caught_up", 0) + 1
            a.at("append.before", before, lambda: land_signal(world, "t", 1, "before"))
            a.at("tick.caught_up", after, lambda: land_signal(world, "t", 1, "after"))
            await world.client().resume("t", 0)
            assert await started.result(30) == LONG, "what came behind the zero is not taken"
        assert under_lock == [1]

    run(main)


def test_h225_what_fails_under_the_lock_is_tried_the_usual_way_again() -> None:
    """Each time that a lock is lost before its turn is done: the log grows on, and a row that cannot be held is not
    needed by a turn that nobody disturbs.
    """

    async def main() -> None:
        world = World(conflict_limit=1)
        tried: list[str] = []

        @asynccontextmanager
        async def locked(run_id: str, budget_seconds: float) -> AsyncGenerator[Any]:
            tried.append(run_id)
            raise RolledBack("its budget is over")
            yield

        world.memory.locked = locked  # type: ignore[method-assign]
        adds = adder(world.registry)
        async with world.worker("A") as a:
            started = await world.start(adds)
            await world.settle()
            a.at("append.before", a.seen["append.before"] + 1, lambda: land_signal(world, "t", 1))
            await world.client().resume("t", 0)
            assert await started.result(30) == 0
        assert tried == [started.id]

    run(main)


def test_h225_who_has_seen_less_than_another_s_turn_leaves() -> None:
    """What the instance asks for was derived before that; a patch that it has answered may be answered otherwise."""

    async def main() -> None:
        world = World()
        adds = adder(world.registry)
        async with world.worker("A") as a:
            started = await world.start(adds)
            await world.settle()
            loaded = await world.store.load(started.id)
            assert loaded is not None
            live = a.shell.runs.enter(started.id)
            assert live.instance is not None
            facts = tuple(event for event in loaded.events if event.type is EventType.run_created)
            assert not tick.overtaken(a.shell, live, Loaded(loaded.run, facts, loaded.now))
            assert live.instance is not None
            assert tick.overtaken(a.shell, live, loaded)
            assert live.instance is None
            a.shell.runs.leave(live)

    run(main)


@pytest.mark.parametrize("events", [(), (Event(9, EventType.run_completed, "", 0, 0, None, None, None, b""),)])
def test_h225_the_end_of_a_run_is_nobody_s_turn(events: tuple[Event, ...]) -> None:
    """Its duties are done, whoever ended it."""

    async def main() -> None:
        world = World()
        adds = adder(world.registry)
        async with world.worker("A") as a:
            started = await world.start(adds)
            await world.settle()
            await world.client().resume("t", 0)
            assert await started.result(30) == 0
            row = (await world.rows())[0]
            live = a.shell.runs.enter(started.id)
            assert not tick.overtaken(a.shell, live, Loaded(row, events, 0))
            a.shell.runs.leave(live)

    run(main)
