"""What a log says of its run: the row it should have, what is open, and what somebody owes it.

Pure, and a fold of its own: the engine's (``replay/fold.py``) is among what is audited.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from fencepost.audit.legality import family_of
from fencepost.records import CancelRequested, RunStarted, unpack
from fencepost_store.events import Event, EventType
from fencepost_store.protocol import RunStatus

INVISIBLE = frozenset({EventType.step_started, EventType.step_retrying})
"""What the code cannot notice and the fence stands still for."""

ENDS: dict[EventType, RunStatus] = {
    EventType.run_completed: RunStatus.completed,
    EventType.run_failed: RunStatus.failed,
    EventType.run_cancelled: RunStatus.cancelled,
    EventType.run_terminated: RunStatus.terminated,
    EventType.run_continued: RunStatus.continued,
}

OPENS = frozenset({EventType.step_created, EventType.wait_created, EventType.hook_created, EventType.child_created})
CLOSES = frozenset(
    {
        EventType.step_completed,
        EventType.step_failed,
        EventType.step_cancelled,
        EventType.wait_completed,
        EventType.wait_cancelled,
        EventType.hook_disposed,
        EventType.child_completed,
        EventType.child_failed,
        EventType.child_abandoned,
    }
)


@dataclass(slots=True)
class Reading:
    """``open``: entities without their end, by family. ``tokens``: of open hooks, by entity. ``grace``: a cancellation
    has set the run a time. ``ended``: the status that its last event gives it. ``queue``: where run_started
    says that its turns are done, None if it says nothing of it."""

    last_seq: int = 0
    fence: int = 0
    started: bool = False
    grace: bool = False
    ended: RunStatus | None = None
    queue: str | None = None
    open: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    tokens: dict[str, str] = field(default_factory=dict[str, str])

    def owes(self) -> str | None:
        """What somebody must do for the run without being asked by a signal; None: nothing."""
        if self.ended is not None:
            return None
        if not self.started:
            return "its first turn"
        for family in ("step", "wait", "child"):
            if names := self.open.get(family):
                return f"{family} {min(names)}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
        return "the end of its cancellation's grace" if self.grace else None

    def waits_for_nothing(self) -> bool:
        """Nothing is open, not even a hook, and nothing is owed: only a cancellation from outside could move it."""
        return self.ended is None and self.owes() is None and not self.open.get("hook")


def read(events: Iterable[Event]) -> Reading:
    """Fold a log. Of one that is illegal this says what it can."""
    reading = Reading()
    inherited: dict[str, str] = {}  # by token, until the run opens a hook of it
    for event in events:
        reading.last_seq = event.seq
        if event.type not in INVISIBLE:
            reading.fence = event.seq
        if event.type in OPENS:
            reading.open.setdefault(family_of(event.type), set()).add(event.entity)
        elif event.type in CLOSES:
            reading.open.get(family_of(event.type), set()).discard(event.entity)
        if event.type is EventType.hook_inherited:
            reading.tokens[event.entity] = event.token or ""
            inherited[event.token or ""] = event.entity
        elif event.type is EventType.hook_created:
            reading.tokens[event.entity] = event.token or ""
            if (opened := inherited.pop(event.token or "", None)) is not None:
                del reading.tokens[opened]
        elif event.type is EventType.hook_disposed:
            reading.tokens.pop(event.entity, None)
        elif event.type is EventType.run_started:
            reading.started = True
            reading.queue = _queue_in(event)
        elif event.type is EventType.cancel_requested:
            reading.grace = reading.grace or _has_grace(event)
        elif event.type in ENDS:
            reading.ended = ENDS[event.type]
            reading.tokens = {}  # the run's end implies the disposal of its hooks
    return reading


def _queue_in(event: Event) -> str | None:
    try:
        return unpack(event.payload, RunStarted).queue if event.payload else None
    except msgspec.MsgspecError:
        return None


def _has_grace(event: Event) -> bool:
    try:
        return unpack(event.payload, CancelRequested).grace is not None
    except msgspec.MsgspecError:
        return False
