"""The rows of the reference model: a ledger per run, and who holds which hook token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fencepost_store.events import EventType
from fencepost_store.ledger import Ledger
from fencepost_store.protocol import (
    TRACED_HOOKS,
    Batch,
    CorruptLog,
    FactOutcome,
    FactVerdict,
    Loaded,
    Outcome,
    Reason,
    RunStatus,
    TokenTrace,
    Verdict,
)


@dataclass(slots=True)
class Tables:
    """The rows: a ledger per run, and who holds which hook token (run id and entity)."""

    clock: Callable[[], int]
    ledgers: dict[str, Ledger] = field(default_factory=dict[str, Ledger])
    tokens: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])

    def append(self, batch: Batch) -> Verdict:
        """One admitted batch. The caller holds the gate."""
        ledger = self.ledgers.get(batch.run_id)
        if ledger is None:
            return self.missing(len(batch.events))
        run_id = batch.run_id

        def take(token: str, entity: str) -> str | None:
            owner = self.tokens.setdefault(token, (run_id, entity))
            return None if owner == (run_id, entity) else owner[0]

        def drop(entity: str) -> None:
            for token in [token for token, owner in self.tokens.items() if owner == (run_id, entity)]:
                del self.tokens[token]

        def drop_all() -> None:
            for token in [token for token, owner in self.tokens.items() if owner[0] == run_id]:
                del self.tokens[token]

        return ledger.append(batch, self.clock(), take, drop, drop_all)

    def missing(self, facts: int) -> Verdict:
        """The answer for a run that is not there."""
        refused = FactVerdict(FactOutcome.refused, reason=Reason.run_not_found)
        return Verdict(Outcome.refused, 0, 0, self.clock(), RunStatus.pending, facts=(refused,) * facts)

    def loaded(self, ledger: Ledger, after_seq: int) -> Loaded:
        if after_seq > ledger.run.last_seq:
            raise CorruptLog(
                f"run {ledger.run.run_id}: the caller has seen seq {after_seq}, the log ends at {ledger.run.last_seq}"
            )
        return Loaded(ledger.run, tuple(ledger.events[after_seq:]), self.clock())

    def trace(self, token: str, delivery: str | None) -> TokenTrace | None:
        named = [
            (event.at, run_id, event.seq, event)
            for run_id, ledger in self.ledgers.items()
            for event in ledger.events
            if event.type is EventType.hook_created and event.token == token
        ]
        found = sorted(named)[::-1][:TRACED_HOOKS]
        owner = self.tokens.get(token)
        live = [one for one in named if owner == (one[1], one[3].entity)]
        if not found:
            return None
        taken = [
            (received.at, run_id)
            for _, run_id, _, created in [*live, *found]
            if delivery is not None
            and (received := self.ledgers[run_id].deliveries.get(delivery)) is not None
            and (received.type, received.entity) == (EventType.hook_received, created.entity)
        ]
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
            taken_by=max(taken)[1] if taken else None,
            last_seq=run.last_seq,
        )
