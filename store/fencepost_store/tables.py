"""The rows of the reference model: a ledger per run, and who holds which hook token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from fencepost_store.events import INHERITED, Event, EventType
from fencepost_store.ledger import Ledger, first_deadline
from fencepost_store.protocol import (
    TRACED_HOOKS,
    Batch,
    CorruptLog,
    FactOutcome,
    FactVerdict,
    Loaded,
    NewRun,
    Outcome,
    Reason,
    Run,
    RunStatus,
    TokenTrace,
    Verdict,
)
from fencepost_store.taken import Taken


@dataclass(slots=True)
class Tables:
    """The rows: a ledger per run, and who holds which hook token (run id and entity)."""

    clock: Callable[[], int]
    ledgers: dict[str, Ledger] = field(default_factory=dict[str, Ledger])
    tokens: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])

    def append(self, batch: Batch, stamp: int) -> Verdict:
        """One admitted batch. The caller holds the gate."""
        ledger = self.ledgers.get(batch.run_id)
        if ledger is None:
            return self.missing(len(batch.events))
        run_id = batch.run_id

        def take(token: str, entity: str) -> str | None:
            owner = self.tokens.get(token, (run_id, entity))
            if owner[0] == run_id and owner[1].startswith(INHERITED):
                owner = (run_id, entity)  # the hook that the run has inherited is open now
            self.tokens.setdefault(token, owner)
            if owner == (run_id, entity):
                self.tokens[token] = owner
                return None
            return owner[0]

        def drop(entity: str) -> None:
            for token in [token for token, owner in self.tokens.items() if owner == (run_id, entity)]:
                del self.tokens[token]

        def drop_all() -> None:
            for token in [token for token, owner in self.tokens.items() if owner[0] == run_id]:
                del self.tokens[token]

        now = self.clock()
        verdict = ledger.append(batch, now, take, drop, drop_all, stamp)
        if verdict.outcome is Outcome.ok and batch.successor is not None and batch.successor.run_id not in self.ledgers:
            self._hand_over(ledger, self.create(batch.successor, now, stamp), batch, stamp)
        return verdict

    def create(self, run: NewRun, now: int, stamp: int, starts: int | None = None) -> Ledger:
        """A run with its first event."""
        row = Run(
            run_id=run.run_id,
            workflow=run.workflow,
            queue=run.queue,
            status=RunStatus.pending,
            last_seq=1,
            fence=1,
            wake_at=first_deadline(now, starts, run.near, run.grace),
            key=run.key,
            parent=run.parent,
            parked=None,
            created_at=now,
            updated_at=now,
            stamp=stamp,
        )
        ledger = self.ledgers[run.run_id] = Ledger(row, attributes=dict(run.attributes))
        ledger.land(Event(1, EventType.run_created, "", 0, now, starts, None, None, run.payload, stamp))
        return ledger

    def _hand_over(self, before: Ledger, after: Ledger, batch: Batch, stamp: int) -> None:
        """What the run that goes on inherits: the tokens, and the payloads that nobody has taken, in the order in which
        they were accepted."""
        at = after.run.created_at
        payloads: list[tuple[Event, str]] = []
        for number, hook in enumerate(batch.hooks, 1):
            created = before.places.get((hook.entity, 0))
            if created is None or hook.token in self.tokens:
                continue
            entity = f"{INHERITED}{number}"
            self.tokens[hook.token] = (after.run.run_id, entity)
            seq = len(after.events) + 1
            kind = EventType.hook_inherited
            after.land(Event(seq, kind, entity, 0, at, None, hook.token, None, created.payload, stamp))
            received = [before.events[place - 1] for place in hook.seqs if place <= len(before.events)]
            payloads += [(event, entity) for event in received if event.type is EventType.hook_received]
        for event, entity in sorted(payloads, key=lambda pair: pair[0].seq):
            seq = len(after.events) + 1
            after.land(msgspec.structs.replace(event, seq=seq, entity=entity, at=at, stamp=stamp))
        tail = len(after.events)
        after.run = msgspec.structs.replace(after.run, last_seq=tail, fence=tail)

    def missing(self, facts: int) -> Verdict:
        """The answer for a run that is not there."""
        refused = FactVerdict(FactOutcome.refused, reason=Reason.run_not_found)
        return Verdict(Outcome.refused, 0, 0, self.clock(), RunStatus.pending, facts=(refused,) * facts)

    def loaded(self, ledger: Ledger, after_seq: int, stamp: int | None = None) -> Loaded:
        if not ledger.holds(after_seq, stamp):
            after_seq = 0
        if after_seq > ledger.run.last_seq:
            raise CorruptLog(
                f"run {ledger.run.run_id}: the caller has seen seq {after_seq}, the log ends at {ledger.run.last_seq}"
            )
        return Loaded(ledger.run, tuple(ledger.events[after_seq:]), self.clock(), after_seq)

    def trace(self, token: str, delivery: str | None) -> TokenTrace | None:
        named = [
            (event.at, run_id, event.seq, event)
            for run_id, ledger in self.ledgers.items()
            for event in ledger.events
            if event.type in _NAMING and event.token == token
        ]
        found: list[tuple[int, str, int, Event]] = []
        for kind in _NAMING:
            found += sorted(one for one in named if one[3].type is kind)[::-1][:TRACED_HOOKS]
        found = sorted(found)[::-1]
        owner = self.tokens.get(token)
        live = [one for one in named if owner == (one[1], one[3].entity)]
        if not found:
            return None
        taken = [
            (received.at, received.entity.startswith(INHERITED), run_id, received)
            for _, run_id, _, created in [*live, *found]
            if delivery is not None
            and (received := self.ledgers[run_id].deliveries.get(delivery)) is not None
            and (received.type, received.entity) == (EventType.hook_received, created.entity)
        ]
        newest = max(taken, key=lambda one: one[:3], default=None)
        _, run_id, _, event = (live or found)[0]
        run = self.ledgers[run_id].run
        return TokenTrace(
            token=token,
            run_id=run_id,
            entity=event.entity,
            workflow=run.workflow,
            queue=run.queue,
            status=run.status,
            at=event.at,
            payload=event.payload,
            live=bool(live),
            taken_by=min(taken, key=lambda one: one[:3])[2] if taken else None,
            last_seq=run.last_seq,
            received=sum(
                len(one.payload) for one in self.ledgers[run_id].events if one.type is EventType.hook_received
            ),
            taken=None if newest is None else _taken(newest[2], newest[3]),
            stamp=event.stamp,
        )


def _taken(run_id: str, received: Event) -> Taken:
    return Taken(run_id, received.entity, received.seq, received.payload)


_NAMING = (EventType.hook_created, EventType.hook_inherited)
"""Events that name a token."""
