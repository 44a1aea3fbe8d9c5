"""What every log must look like, whatever happened: written apart from the engine, used after each timeline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from fencepost_store.events import KINDS, Event, EventType, Role

CREATED = {
    EventType.step_started: EventType.step_created,
    EventType.step_retrying: EventType.step_created,
    EventType.step_completed: EventType.step_created,
    EventType.step_failed: EventType.step_created,
    EventType.step_cancelled: EventType.step_created,
    EventType.wait_completed: EventType.wait_created,
    EventType.wait_cancelled: EventType.wait_created,
    EventType.hook_received: EventType.hook_created,
    EventType.hook_disposed: EventType.hook_created,
}


def check(log: Sequence[Event], *, ended: bool = True) -> None:
    """Dense; each entity created once, before anything else of it, ended at most once, nothing after its end; starts
    1, 2, 3 ...; one end of the run, at the tail.
    """
    assert [event.seq for event in log] == list(range(1, len(log) + 1)), "not dense"
    assert log[0].type is EventType.run_created
    by_entity: dict[str, list[Event]] = defaultdict(list)
    for event in log[1:]:
        if event.entity:
            by_entity[event.entity].append(event)
    for entity, events in by_entity.items():
        _check_entity(entity, events)
    ends = [event for event in log if KINDS[event.type].ends_run]
    assert len(ends) <= 1, "more than one end"
    if ended:
        assert ends, "no end"
        assert ends[0].seq == len(log), "something follows the run's end"


def _check_entity(entity: str, events: list[Event]) -> None:
    assert KINDS[events[0].type].role is Role.creation, f"{entity} begins with {events[0].type.name}"
    terminal = [event for event in events if KINDS[event.type].role is Role.terminal]
    assert len(terminal) <= 1, f"{entity} ended {len(terminal)} times"
    if terminal:
        assert events[-1] is terminal[0], f"{events[-1].type.name} after the end of {entity}"
    starts = [event.attempt for event in events if event.type is EventType.step_started]
    assert starts == list(range(1, len(starts) + 1)), f"{entity} was started as {starts}"
    for event in events[1:]:
        assert CREATED[event.type] is events[0].type, f"{event.type.name} of {entity}, a {events[0].type.name}"
