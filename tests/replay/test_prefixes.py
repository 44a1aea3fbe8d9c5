"""Every prefix of every log replays to the same decisions, whatever the shape of the workflow and however it is fed."""

from __future__ import annotations

import zlib

import pytest
from replay_shapes import CANCELLED, SHAPES, check
from replay_world import Script, World, decisions, replayed

from fencepost.replay.instance import Instance
from fencepost_store.events import KINDS, EventType

SEEDS = range(4)


def play(name: str, seed: int) -> World:
    """One run of the shape, which goes as the shape says. The seed is in the test's id."""
    cancel_at = 6 + seed if name in CANCELLED else None
    world = World(SHAPES[name], zlib.crc32(name.encode()) + seed, cancel_at=cancel_at)
    check(name, world.run())
    return world


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", sorted(SHAPES))
def test_h22_every_prefix_replays_to_the_same_decisions(name: str, seed: int) -> None:
    """Fed event by event, or a fresh instance for each prefix in one batch: equal bytes."""
    world = play(name, seed)
    events = world.log.events
    assert replayed(SHAPES[name], events, one_by_one=True) == replayed(SHAPES[name], events, one_by_one=False)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", sorted(SHAPES))
def test_i10_a_cold_instance_decides_what_the_live_one_decided(name: str, seed: int) -> None:
    """At each turn of the run, a fresh instance fed the same prefix asks for the same events in the same order."""
    world = play(name, seed)
    for turn in world.turns:
        cold = Instance("run-1", Script(SHAPES[name]))
        cold.deliver(world.log.events[: turn.seen])
        cold.fire_due(turn.now)
        assert cold.pending() == turn.pending
        cold.evict()


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_one_terminal_event_per_entity(name: str) -> None:
    """What the loop wrote obeys the event table: one creation and at most one end per entity, nothing after the run's
    end."""
    events = play(name, 0).log.events
    ends = [e for e in events if KINDS[e.type].ends_run]
    assert ends == events[-1:]
    for role in ("creation", "terminal"):
        entities = [e.entity for e in events if KINDS[e.type].role.value == role and e.entity]
        assert len(entities) == len(set(entities))


def test_the_shapes_reach_every_event() -> None:
    """A random test that never saw an event has not tested it."""
    seen = {e.type for name in SHAPES for seed in SEEDS for e in play(name, seed).log.events}
    expected = {
        EventType.run_completed, EventType.run_failed, EventType.run_cancelled,
        EventType.step_created, EventType.step_started, EventType.step_completed, EventType.step_failed,
        EventType.step_cancelled,
        EventType.wait_created, EventType.wait_completed, EventType.wait_cancelled,
        EventType.hook_created, EventType.hook_received, EventType.hook_disposed,
        EventType.cancel_requested, EventType.run_continued,
        EventType.child_created, EventType.child_cancel_requested, EventType.child_completed, EventType.child_failed,
        EventType.child_abandoned,
    }  # fmt: skip
    assert expected <= seen


def test_nothing_is_left_in_the_decision_of_a_finished_log() -> None:
    """After the run's end has landed nothing is pending."""
    world = play("sequential", 0)
    instance = Instance("run-1", Script(SHAPES["sequential"]))
    instance.deliver(world.log.events)
    assert decisions(instance) == b"\x90"
