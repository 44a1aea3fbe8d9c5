"""What can be told of an event by a glance at its type, before a live run takes it in. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fencepost_store.events import KINDS, Event, EventType, NewEvent, Role

DECISIONS = frozenset(kind for kind, row in KINDS.items() if row.decision)
CREATIONS = frozenset(kind for kind in DECISIONS if KINDS[kind].role is Role.creation) - {
    EventType.marker,
    EventType.attributes_set,
}
"""What somebody awaits. Markers and attributes are awaited by nobody and land also when the code has returned."""
BEHIND_ANTICIPATED = frozenset(kind for kind, row in KINDS.items() if row.visible) - {
    EventType.run_started,
    EventType.step_completed,
    EventType.step_failed,
    EventType.wait_completed,
}


def foreseen(event: NewEvent) -> Event:
    """An event that is not in the log yet, as the code is told of it."""
    return Event(0, event.type, event.entity, event.attempt, event.at or 0, None, None, event.dedupe, event.payload)


def last_decision(events: Sequence[Event]) -> int:
    """Events before this index have been delivered to some turn before: it decided something afterwards."""
    for index in range(len(events) - 1, -1, -1):
        if events[index].type in DECISIONS:
            return index
    return 0
