"""A batch of many events costs what as many small ones cost: under a row lock nothing may cost the square (H213)."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from worlds import World, new_run_id

from fencepost_store.events import EventType as E
from fencepost_store.events import NewEvent
from fencepost_store.protocol import Outcome

WIDE, PARTS = 3_000, 10
RATIO_MAX = 3.0
"""Of the time for one wide batch to that for as many events in ten: 1 if the cost is linear, 10 if it is square."""

Shape = Callable[[str, int], list[NewEvent]]


def opened(run: str, n: int) -> list[NewEvent]:
    return [NewEvent(E.hook_created, f"h#{n}", token=f"{run}-{n}", payload=b"\1")]


def opened_and_closed(run: str, n: int) -> list[NewEvent]:
    return [*opened(run, n), NewEvent(E.hook_disposed, f"h#{n}")]


def conflicting(run: str, n: int) -> list[NewEvent]:
    return [NewEvent(E.hook_created, f"h#{n}", token=f"held-{n}", payload=b"\1")]


def closed(run: str, n: int) -> list[NewEvent]:
    return [NewEvent(E.hook_disposed, f"held#{n}")]


def signalled(run: str, n: int) -> list[NewEvent]:
    return [NewEvent(E.hook_received, "held#0", dedupe=f"d{n}", payload=b"\1")]


def steps(run: str, n: int) -> list[NewEvent]:
    return [
        NewEvent(E.step_created, f"s#{n}", payload=b"\1"),
        NewEvent(E.step_started, f"s#{n}", attempt=1, dedupe="w", payload=b"\1"),
    ]


SHAPES: dict[Shape, bool] = {
    opened: True,
    opened_and_closed: True,
    conflicting: True,
    closed: True,
    signalled: False,
    steps: True,
}
"""By whether a turn appends them, or a sender without a fence."""


async def holder(world: World, token: str) -> str:
    """A run that has that many hooks open."""
    held = (NewEvent(E.hook_created, f"held#{n}", token=f"{token}-{n}", payload=b"\1") for n in range(WIDE))
    run = await world.run()
    assert (await world.turn(run, *held)).outcome is Outcome.ok
    return run


async def took(world: World, shape: Shape, part: int) -> float:
    """Seconds for all events, so many of them in a batch."""
    run = await holder(world, new_run_id())
    seconds = 0.0
    for first in range(0, WIDE, part):
        events = [event for n in range(first, first + part) for event in shape(run, n)]
        before = (await world.loaded(run)).run
        start = time.perf_counter()
        if SHAPES[shape]:
            verdict = await world.fenced(run, before.fence, *events, seen=before.last_seq)
        else:
            verdict = await world.fact(run, *events)
        seconds += time.perf_counter() - start
        assert verdict.outcome is Outcome.ok
        assert len(verdict.events) == len(events)
    return seconds


@pytest.mark.parametrize("shape", SHAPES)
async def test_h213_a_wide_batch_costs_as_much_as_many_small_ones(postgres_world: World, shape: Shape) -> None:
    await holder(postgres_world, "held")
    small = await took(postgres_world, shape, WIDE // PARTS)
    wide = await took(postgres_world, shape, WIDE)
    print(f"{shape.__name__}: {wide:.3f} s in one batch, {small:.3f} s in {PARTS}")
    assert wide <= RATIO_MAX * small
