"""Whether a log is one that the event table allows: each entity's history followed through a state machine.

Pure. Written apart from the store's own judgement (``ledger.py``, ``append.sql``), which asks whether one event may
follow; this asks whether what stands there can ever have come about. ``TABLE`` is all there is to know of the order of
events; what a table cannot say (attempts count up, a delivery id lands once) stands below it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from fencepost_store.events import Event, EventType


class State(enum.Enum):
    """Where an entity stands. The run is the entity with the empty name."""

    absent = "absent"
    open = "open"  # created, and for a run: not started
    running = "running"  # a step with a start that has no end yet; a run that was started
    backoff = "backoff"  # a step between an attempt that failed and the next
    asked = "asked"  # a child that was asked to cancel
    ended = "ended"


S, E = State, EventType

TABLE: dict[EventType, dict[State, State]] = {
    E.run_created: {S.absent: S.open},
    E.run_started: {S.open: S.running},
    E.run_completed: {S.running: S.ended},
    # The escape hatches end a run that no turn has ever got through.
    E.run_failed: {S.open: S.ended, S.running: S.ended},
    # From open: cancelled before a start that was put off, so its code was never called.
    E.run_cancelled: {S.open: S.ended, S.running: S.ended},
    E.run_terminated: {S.open: S.ended, S.running: S.ended},
    E.run_continued: {S.running: S.ended},
    E.cancel_requested: {S.open: S.open, S.running: S.running},
    E.step_created: {S.absent: S.open},
    # From running: the worker of the attempt before has died.
    E.step_started: {S.open: S.running, S.running: S.running, S.backoff: S.running},
    E.step_retrying: {S.running: S.backoff},
    # From backoff: an older attempt's body came to its end after all, and work that is done is done. From open: so it
    # is where a fail-over has lost the start.
    E.step_completed: {S.open: S.ended, S.running: S.ended, S.backoff: S.ended},
    # From open: out of time before any start, as attempt 0.
    E.step_failed: {S.open: S.ended, S.running: S.ended, S.backoff: S.ended},
    E.step_cancelled: {S.open: S.ended, S.running: S.ended, S.backoff: S.ended},
    E.wait_created: {S.absent: S.open},
    E.wait_completed: {S.open: S.ended},
    E.wait_cancelled: {S.open: S.ended},
    E.hook_created: {S.absent: S.open},
    E.hook_conflict: {S.absent: S.ended},
    E.hook_received: {S.open: S.open},
    E.hook_disposed: {S.open: S.ended},
    E.hook_inherited: {S.absent: S.open},
    E.child_created: {S.absent: S.open},
    E.child_cancel_requested: {S.open: S.asked},
    E.child_completed: {S.open: S.ended, S.asked: S.ended},
    E.child_failed: {S.open: S.ended, S.asked: S.ended},
    E.child_abandoned: {S.open: S.ended, S.asked: S.ended},
    E.marker: {S.absent: S.ended},
    E.attributes_set: {S.absent: S.ended},
}
"""Event -> the states of its entity in which it may come, and the state that each becomes."""

SENT = frozenset({E.hook_received, E.cancel_requested})
"""Events whose ``dedupe`` is a sender's delivery id, unique in the run."""


class Illegal(msgspec.Struct, frozen=True):
    """An event that cannot stand where it stands. ``expected``: what might have."""

    seq: int
    entity: str
    found: str
    expected: str

    def __str__(self) -> str:
        who = f" of {self.entity}" if self.entity else ""
        return f"seq {self.seq}{who}: {self.found}; expected {self.expected}"


@dataclass(slots=True)
class _Entity:
    family: str
    state: State = State.absent
    started: int = 0
    since: int = 0  # the seq of what brought it into its state


@dataclass(slots=True)
class Legality:
    """Follows one log, event by event, in the order in which it is given. ``seen``: the last seq."""

    seen: int = 0
    _entities: dict[str, _Entity] = field(default_factory=dict[str, _Entity])
    _deliveries: dict[str, int] = field(default_factory=dict[str, int])
    _inherited: dict[str, str] = field(default_factory=dict[str, str])

    def follow(self, event: Event) -> list[Illegal]:
        """What is wrong with the event, given all before it. One that is illegal changes no state: what follows is
        judged as if it were not there."""
        problems = [Illegal(event.seq, event.entity, *pair) for pair in self._wrong(event)]
        self.seen = event.seq
        if not problems:
            self._move(event)
        return problems

    def _wrong(self, event: Event) -> Iterator[tuple[str, str]]:
        name = event.type.name
        if event.seq != self.seen + 1:
            yield f"{name} at seq {event.seq}", f"seq {self.seen + 1}"
            return
        family = family_of(event.type)
        if (event.entity == "") != (family == "run"):
            yield f"{name} with entity {event.entity!r}", "the empty name for the run's own events only"
            return
        run = self._entities.get("")
        if event.type is not E.run_created and (run is None or run.state is State.ended):
            yield name, "run_created first" if run is None else f"nothing after the run's end at seq {run.since}"
            return
        entity = self._entities.get(event.entity, _Entity(family))
        if entity.family != family:
            yield f"{name} of a {entity.family}", f"events of a {entity.family} only"
        elif entity.state not in TABLE[event.type]:
            since = f" since seq {entity.since}" if entity.since else ""
            yield f"{name} while it is {entity.state.value}{since}", _names(TABLE[event.type])
        else:
            yield from self._wrong_number(event, entity)

    def _wrong_number(self, event: Event, entity: _Entity) -> Iterator[tuple[str, str]]:
        """What the table cannot say: attempts and delivery ids."""
        name, attempt = event.type.name, event.attempt
        told = f"{name} of attempt {attempt}"
        if event.type is E.step_started and attempt != entity.started + 1:
            yield told, f"attempt {entity.started + 1}: they count up from 1"
        elif event.type in (E.step_retrying, E.step_failed) and attempt != entity.started:
            yield told, f"attempt {entity.started}, the newest that was started"
        elif event.type is E.step_completed and attempt < 1:
            yield told, "an attempt, which is 1 or more"
        elif event.type is E.hook_inherited and self._entities[""].state is not State.open:
            yield name, "it before the run's first turn only"
        elif event.type is E.hook_disposed and event.entity in self._inherited.values():
            yield f"{name} of a hook that was inherited", "it to be opened, or to end with its run"
        elif event.type in SENT and event.dedupe is not None and event.dedupe in self._deliveries:
            first = self._deliveries[event.dedupe]
            yield f"{name} with delivery id {event.dedupe!r}, which landed at seq {first}", "each delivery id once"

    def _move(self, event: Event) -> None:
        entity = self._entities.setdefault(event.entity, _Entity(family_of(event.type)))
        entity.state, before = TABLE[event.type][entity.state], entity.state
        if entity.state is not before:
            entity.since = event.seq
        if event.type is E.step_started:
            entity.started = event.attempt
        if event.type is E.hook_inherited:
            self._inherited[event.token or ""] = event.entity
        elif event.type is E.hook_created and (opened := self._inherited.pop(event.token or "", None)) is not None:
            self._entities[opened].state = State.ended  # its payloads go to the hook that has its token now
            self._entities[opened].since = event.seq
        if event.type in SENT and event.dedupe is not None:
            self._deliveries[event.dedupe] = event.seq


def illegal(events: Iterable[Event]) -> Iterator[Illegal]:
    """All that is wrong with a whole log. Empty: it is dense, legal, and may be a prefix of a longer one."""
    legality = Legality()
    for event in events:
        yield from legality.follow(event)


def family_of(event_type: EventType) -> str:
    """run, step, wait, hook, child, marker or attributes: entities of one family share a state machine."""
    return "run" if event_type is E.cancel_requested else event_type.name.partition("_")[0]


def _names(states: Iterable[State]) -> str:
    return "it only while " + " or ".join(state.value for state in states)
