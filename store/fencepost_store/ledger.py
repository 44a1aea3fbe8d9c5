"""One run's log as the reference model keeps it: every rule of the append in plain Python. Pure but for changing
itself.

Order of judgement, the same as in ``append.sql``: what has landed already, the run's end, the entity's existence, the
entity's end, the attempt, the retry's time. A batch is judged as a whole before anything of it is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from fencepost_store import attributes
from fencepost_store.admission import fresh
from fencepost_store.events import KINDS, TERMINAL_ORDINAL, Event, EventType, NewEvent, ordinal
from fencepost_store.protocol import Batch, FactOutcome, FactVerdict, Outcome, Reason, Run, RunStatus, Verdict

WAKE_GRAIN = 5_000_000
"""Microseconds. Deadlines that facts arm are rounded up to this, so that a stream of facts rarely writes the indexed
column."""

ENDINGS = {
    EventType.run_completed: RunStatus.completed,
    EventType.run_failed: RunStatus.failed,
    EventType.run_cancelled: RunStatus.cancelled,
    EventType.run_terminated: RunStatus.terminated,
    EventType.run_continued: RunStatus.continued,
}

CREATED_BY: dict[EventType, EventType] = {
    EventType.step_started: EventType.step_created,
    EventType.step_retrying: EventType.step_created,
    EventType.step_completed: EventType.step_created,
    EventType.step_failed: EventType.step_created,
    EventType.step_cancelled: EventType.step_created,
    EventType.wait_completed: EventType.wait_created,
    EventType.wait_cancelled: EventType.wait_created,
    EventType.hook_received: EventType.hook_created,
    EventType.hook_disposed: EventType.hook_created,
    EventType.child_cancel_requested: EventType.child_created,
    EventType.child_completed: EventType.child_created,
    EventType.child_failed: EventType.child_created,
    EventType.child_abandoned: EventType.child_created,
}
"""Which creation an event needs in the log before it."""

DELIVERED = frozenset({EventType.hook_received, EventType.cancel_requested})
"""Facts whose ``dedupe`` is a sender's delivery id, unique in the run."""

REPEATABLE = frozenset(
    {
        EventType.step_started,
        EventType.step_retrying,
        EventType.step_completed,
        EventType.step_failed,
        EventType.child_completed,
        EventType.child_failed,
    }
)
"""Facts whose ``dedupe`` is the writer's delivery token, by which the same writer asking again is recognised."""

LANDED = FactVerdict(FactOutcome.landed)
TakeToken = Callable[[str, str], str | None]
"""(token, entity) -> None if the run holds it now, else the id of the run that does."""


def armed(now: int, grace: int) -> int:
    """The deadline ``now + grace``, rounded up to the grain. Microseconds."""
    return -(-(now + grace) // WAKE_GRAIN) * WAKE_GRAIN


def first_deadline(now: int, starts: int | None, near: int, grace: int) -> int:
    """By when somebody looks at a new run. ``starts``: when it may have its first turn (None: now)."""
    if starts is not None and starts - near > now:
        return starts - near
    return (now if starts is None else starts) + grace


def lowered(current: int | None, wanted: int | None) -> int | None:
    """The earlier of two deadlines, where None is none."""
    if current is None or wanted is None:
        return wanted if current is None else current
    return min(current, wanted)


@dataclass(slots=True)
class Ledger:
    """A run and its log. ``places`` is the unique index on (entity, ordinal), ``deliveries`` the one on delivery ids;
    ``attributes`` are its rows of run_attributes."""

    run: Run
    events: list[Event] = field(default_factory=list[Event])
    places: dict[tuple[str, int], Event] = field(default_factory=dict[tuple[str, int], Event])
    deliveries: dict[str, Event] = field(default_factory=dict[str, Event])
    attributes: dict[str, str] = field(default_factory=dict[str, str])

    def append(
        self,
        batch: Batch,
        now: int,
        take: TakeToken,
        drop: Callable[[str], None],
        drop_all: Callable[[], None],
        stamp: int = 0,
    ) -> Verdict:
        """Judge and land an admitted batch. ``take``, ``drop`` (by entity) and ``drop_all`` change the hook tokens.
        ``stamp``: what its events carry.
        """
        fenced = batch.fence is not None
        fits = self.stands_at(batch.fence, batch.stamp) if fenced else self.holds(batch.seen, batch.stamp)
        if not fits:
            return self.verdict(Outcome.conflict, now)
        facts = self._judge_all(batch, now, stamp)
        bad = [fact for fact in facts if fact.outcome in (FactOutcome.refused, FactOutcome.early)]
        if fenced and bad:
            facts = tuple(self._unwritten(fact) for fact in facts)
            return self.verdict(Outcome.refused, now, facts=facts)
        if len(bad) == len(facts):
            return self.verdict(Outcome.refused, now, facts=facts)
        seen_all = batch.seen == self.run.last_seq
        landed = self._land_all(batch, facts, now, stamp, take, drop, drop_all)
        self._update_row(batch, landed, now, seen_all=seen_all)
        return self.verdict(Outcome.ok, now, landed, () if fenced else facts)

    def stands_at(self, fence: int | None, stamp: int | None) -> bool:
        """Whether that is the run's fence: the position, and what the event there carries."""
        return self.run.fence == fence and stamp in (None, self.run.stamp)

    def holds(self, seq: int, stamp: int | None) -> bool:
        """Whether the log has what somebody has seen: all up to this event is as it was then."""
        return stamp is None or (0 < seq <= len(self.events) and self.events[seq - 1].stamp == stamp)

    def verdict(
        self, outcome: Outcome, now: int, events: tuple[Event, ...] = (), facts: tuple[FactVerdict, ...] = ()
    ) -> Verdict:
        """The run as it stands, as an answer."""
        return Verdict(outcome, self.run.last_seq, self.run.fence, now, self.run.status, events, facts, self.run.stamp)

    def copy(self) -> Ledger:
        """As it stands now; what lands later in one is not in the other."""
        return Ledger(self.run, list(self.events), dict(self.places), dict(self.deliveries), dict(self.attributes))

    def land(self, event: Event) -> None:
        """Write one event at the tail and into both indexes."""
        assert event.seq == len(self.events) + 1, f"seq {event.seq} after {len(self.events)} events"
        place = ordinal(event.type, event.attempt)
        if place is not None:
            assert (event.entity, place) not in self.places, f"{event.type.name} {event.entity!r} twice in a log"
            self.places[event.entity, place] = event
        if event.type in DELIVERED and event.dedupe is not None:
            assert event.dedupe not in self.deliveries, f"delivery id {event.dedupe!r} twice in a log"
            self.deliveries[event.dedupe] = event
        self.events.append(event)

    def _unland(self) -> None:
        event = self.events.pop()
        place = ordinal(event.type, event.attempt)
        if place is not None:
            del self.places[event.entity, place]
        if event.type in DELIVERED and event.dedupe is not None:
            del self.deliveries[event.dedupe]

    def _unwritten(self, fact: FactVerdict) -> FactVerdict:
        """The verdict without a seq that nothing has, because its batch was not written."""
        imagined = fact.seq is not None and fact.seq > self.run.last_seq
        return msgspec.structs.replace(fact, seq=None) if imagined else fact

    def _judge_all(self, batch: Batch, now: int, stamp: int = 0) -> tuple[FactVerdict, ...]:
        """A verdict per event, each given that those before it which may land have landed. Leaves the log as it was."""
        tail = len(self.events)
        verdicts: list[FactVerdict] = []
        ended = self.run.status.ended
        for event, is_fresh in zip(batch.events, fresh(batch), strict=True):
            fenced = batch.fence is not None
            verdict = LANDED if is_fresh and not ended else self._judge(event, now, ended=ended, fenced=fenced)
            if verdict.outcome is FactOutcome.landed:
                verdict = FactVerdict(FactOutcome.landed, seq=len(self.events) + 1)
                if (event.entity, ordinal(event.type, event.attempt)) not in self.places:
                    self.land(_event(len(self.events) + 1, event, now, stamp))
                ended = ended or KINDS[event.type].ends_run
            verdicts.append(verdict)
        while len(self.events) > tail:
            self._unland()
        return tuple(verdicts)

    def _judge(self, event: NewEvent, now: int, *, ended: bool, fenced: bool) -> FactVerdict:
        """One event against the log as it stands."""
        repeated = self._repeated(event)
        if repeated is not None and event.type is not EventType.step_started:
            return FactVerdict(FactOutcome.already, seq=repeated.seq)
        if ended:
            return _refused(Reason.run_ended)
        needed = CREATED_BY.get(event.type)
        if needed is not None:
            reason = self._entity_reason(event, needed, fenced=fenced)
            if reason is not None:
                return _refused(reason)
        if repeated is not None:
            return FactVerdict(FactOutcome.already, seq=repeated.seq)
        return self._attempt_verdict(event, now)

    def _repeated(self, event: NewEvent) -> Event | None:
        """The event of the log that the same writer has already landed, if this is one sent again."""
        if event.dedupe is None:
            return None
        if event.type in DELIVERED:
            return self.deliveries.get(event.dedupe)
        if event.type not in REPEATABLE:
            return None
        place = ordinal(event.type, event.attempt)
        there = None if place is None else self.places.get((event.entity, place))
        if there is None:
            return None
        same = (there.type, there.attempt, there.dedupe) == (event.type, event.attempt, event.dedupe)
        return there if same else None

    def _entity_reason(self, event: NewEvent, needed: EventType, *, fenced: bool) -> Reason | None:
        """Why the entity cannot take the event: it was never created, or it has ended."""
        created = self.places.get((event.entity, 0))
        ended = (event.entity, TERMINAL_ORDINAL) in self.places
        if created is not None and not fenced and _is_another(created, event):
            created = None  # it has come to the place of what the writer saw
        exists = created is not None and created.type is needed
        if event.type is EventType.hook_received:
            waits = created is not None and created.type is EventType.hook_inherited and not self._opened(created)
            return None if waits or (exists and not ended) else Reason.no_live_hook
        if not exists:
            return Reason.no_entity
        if ended:
            told_twice = event.type in (EventType.child_completed, EventType.child_failed)
            return Reason.duplicate if told_twice else Reason.entity_ended
        return None

    def _opened(self, inherited: Event) -> bool:
        """Whether the run has opened a hook of the token that it inherited: payloads go there from then on."""
        kept = self.events[: self.run.last_seq]
        return any(one.type is EventType.hook_created and one.token == inherited.token for one in kept)

    def _attempt_verdict(self, event: NewEvent, now: int) -> FactVerdict:
        """The rules about attempts, and about what may be there once."""
        here, n = event.entity, event.attempt
        if event.type is EventType.step_started:
            if (here, n) in self.places or (n > 1 and (here, n - 1) not in self.places):
                return _refused(Reason.other_attempt)
            retry = self.places.get((here, 1 - n)) if n > 1 else None
            if retry is not None and retry.due is not None and retry.due > now:
                return FactVerdict(FactOutcome.early, rest=retry.due - now)
            return LANDED
        # Place 0 is the creation: so step_failed 0 may land for as long as there is no start at all.
        newest = (here, n) in self.places and (here, n + 1) not in self.places
        if event.type in (EventType.step_retrying, EventType.step_failed) and not newest:
            return _refused(Reason.other_attempt)
        place = ordinal(event.type, n)
        if place is not None and (here, place) in self.places:
            return _refused(Reason.duplicate)
        return LANDED

    def _land_all(
        self,
        batch: Batch,
        facts: tuple[FactVerdict, ...],
        now: int,
        stamp: int,
        take: TakeToken,
        drop: Callable[[str], None],
        drop_all: Callable[[], None],
    ) -> tuple[Event, ...]:
        """Write what was judged to land. A token that another holds turns its hook_created into hook_conflict and drops
        what this batch says of that hook."""
        tail = len(self.events)
        denied: set[str] = set()
        for new, fact in zip(batch.events, facts, strict=True):
            if fact.outcome is not FactOutcome.landed or new.entity in denied:
                continue
            event = _event(len(self.events) + 1, new, now, stamp)
            if new.type is EventType.hook_created and new.token is not None:
                owner = take(new.token, new.entity)
                if owner is not None:
                    denied.add(new.entity)
                    event = msgspec.structs.replace(event, type=EventType.hook_conflict, dedupe=owner)
            elif new.type is EventType.hook_disposed:
                drop(new.entity)
            elif new.type is EventType.attributes_set:
                self.attributes = attributes.changed(self.attributes, attributes.changes_in(new.payload))
            elif KINDS[new.type].ends_run:
                drop_all()
            self.land(event)
        return tuple(self.events[tail:])

    def _update_row(self, batch: Batch, landed: tuple[Event, ...], now: int, *, seen_all: bool) -> None:
        """The run's row after the events have landed."""
        if not landed:
            return
        run = self.run
        visible = [event.seq for event in landed if KINDS[event.type].visible]
        status, parked = run.status, run.parked
        if visible and status is RunStatus.parked:
            status, parked = RunStatus.running, None
        for event in landed:
            if event.type is EventType.run_started and status is RunStatus.pending:
                status = RunStatus.running
            status = ENDINGS.get(event.type, status)
        self.run = msgspec.structs.replace(
            run,
            last_seq=landed[-1].seq,
            fence=visible[-1] if visible else run.fence,
            stamp=landed[-1].stamp if visible else run.stamp,
            status=status,
            parked=parked,
            wake_at=_wake(run.wake_at, batch, landed, now, seen_all=seen_all),
            updated_at=now,
        )


def _wake(current: int | None, batch: Batch, landed: tuple[Event, ...], now: int, *, seen_all: bool) -> int | None:
    """The deadline after the batch (section 4, deadlines)."""
    if batch.fence is None:
        for event in landed:
            if event.type is EventType.step_retrying and event.due is not None:
                current = lowered(current, armed(event.due, batch.grace))
            elif event.type is not EventType.step_started:
                current = lowered(current, armed(now, batch.grace))
        return current
    wake = batch.wake_at if seen_all else lowered(current, batch.wake_at)
    if [event.type for event in landed] != [event.type for event in batch.events]:
        wake = lowered(wake, armed(now, batch.grace))
    return wake


def _is_another(created: Event, event: NewEvent) -> bool:
    """Whether an entity's creation is not the one that the writer of the fact means (H193)."""
    if event.of not in (None, created.stamp):
        return True
    is_child = created.type is EventType.child_created
    return is_child and None not in (event.token, created.dedupe) and event.token != created.dedupe


def _event(seq: int, new: NewEvent, now: int, stamp: int) -> Event:
    """The event as it stands in the log. A retry's instant counts from the lock, by the database clock."""
    due = new.due if new.due_in is None else now + new.due_in
    at = now if new.at is None else new.at
    return Event(seq, new.type, new.entity, new.attempt, at, due, new.token, new.dedupe, new.payload, stamp)


def _refused(reason: Reason) -> FactVerdict:
    return FactVerdict(FactOutcome.refused, reason=reason)
