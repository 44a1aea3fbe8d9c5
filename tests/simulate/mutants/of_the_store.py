"""Guards of the log, taken out of the reference model, which is what the SQL is held to by the differential test."""

# Mutants reach where no caller does.
# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from tests.simulate.mutants.switches import Patch, mutant

from fencepost_store import ledger
from fencepost_store.events import EventType, NewEvent
from fencepost_store.ledger import LANDED, Ledger
from fencepost_store.memory import MemoryStore
from fencepost_store.protocol import Batch, FactOutcome, FactVerdict, Reason, Verdict
from fencepost_store.tables import Tables


def _without_reason(patch: Patch, *reasons: Reason, only: frozenset[EventType] | None = None) -> None:
    """A fact that would be refused for one of these reasons lands."""
    real = Ledger._judge

    def judge(self: Ledger, event: NewEvent, now: int, *, ended: bool) -> FactVerdict:
        verdict = real(self, event, now, ended=ended)
        mine = only is None or event.type in only
        return LANDED if verdict.reason in reasons and mine else verdict

    patch.set(Ledger, "_judge", judge)
    patch.set(Ledger, "land", _land_anything)


def _land_anything(self: Ledger, event: Any) -> None:
    """As an append without its unique index."""
    place = ledger.ordinal(event.type, event.attempt)
    if place is not None:
        self.places[event.entity, place] = event
    if event.type in ledger.DELIVERED and event.dedupe is not None:
        self.deliveries[event.dedupe] = event
    self.events.append(event)


def _unland_anything(self: Ledger) -> None:
    event = self.events.pop()
    self.places = {}
    self.deliveries = {}
    for left in self.events:
        place = ledger.ordinal(left.type, left.attempt)
        if place is not None:
            self.places[left.entity, place] = left
        if left.type in ledger.DELIVERED and left.dedupe is not None:
            self.deliveries[left.dedupe] = left
    del event


def _unfenced(patch: Patch, which: Any) -> None:
    real = Ledger.append

    def append(self: Ledger, batch: Batch, *rest: Any) -> Verdict:
        if batch.fence is not None and which(batch):
            batch = msgspec.structs.replace(batch, fence=self.run.fence)
        return real(self, batch, *rest)

    patch.set(Ledger, "append", append)
    patch.set(Ledger, "land", _land_anything)
    patch.set(Ledger, "_unland", _unland_anything)


@mutant()
def the_fence(patch: Patch) -> None:
    """I2: a decision lands whatever landed after the prefix that it was derived from."""
    _unfenced(patch, lambda batch: True)


@mutant(historical=True)
def only_wait_completed_is_fenced(patch: Patch) -> None:
    """H21: the fence guards wait_completed only, so that branches which create steps are decided on an old prefix."""
    _unfenced(patch, lambda batch: all(event.type is not EventType.wait_completed for event in batch.events))


@mutant(historical=True)
def check_before_the_lock(patch: Patch) -> None:
    """H02: the guards look at a snapshot older than the lock that they wait for."""

    async def append(self: MemoryStore, batches: Sequence[Batch]) -> list[Verdict]:
        seen = {batch.run_id: self._tables.ledgers[batch.run_id].copy() for batch in batches}
        await asyncio.sleep(0.002)
        return [_landed_as_judged(self._tables, batch, seen[batch.run_id]) for batch in batches]

    patch.set(MemoryStore, "append", append)


def _landed_as_judged(tables: Tables, batch: Batch, seen: Ledger) -> Verdict:
    now = tables.clock()
    real = tables.ledgers[batch.run_id]
    patch = Patch()
    patch.set(Ledger, "_judge_all", lambda self, one, at: _REAL_JUDGE_ALL(seen, one, at) if self is real else ())
    patch.set(Ledger, "land", _land_anything)
    try:
        if batch.fence is not None and batch.fence == seen.run.fence:
            batch = msgspec.structs.replace(batch, fence=real.run.fence)
        return tables.append(batch)
    finally:
        patch.undo()
        del now


_REAL_JUDGE_ALL = Ledger._judge_all


@mutant(historical=True)
def a_batch_lands_in_part(patch: Patch) -> None:
    """H07: of a decision that conflicts the first event has landed."""
    real = Ledger.append

    def append(self: Ledger, batch: Batch, now: int, take: Any, drop: Any, drop_all: Any) -> Verdict:
        if batch.fence is not None and batch.fence != self.run.fence and not self.run.status.ended:
            first = batch.events[0]
            place = (first.entity, ledger.ordinal(first.type, first.attempt))
            if first.type is EventType.step_created and place not in self.places:
                alone = msgspec.structs.replace(batch, fence=self.run.fence, events=(first,))
                real(self, alone, now, take, drop, drop_all)
        return real(self, batch, now, take, drop, drop_all)

    patch.set(Ledger, "append", append)


@mutant()
def nothing_after_the_end(patch: Patch) -> None:
    """H14: facts land in the log of a run that has ended."""
    _without_reason(patch, Reason.run_ended)


@mutant()
def one_end_per_entity(patch: Patch) -> None:
    """I4: facts land behind their step's end."""
    steps = frozenset(
        {EventType.step_completed, EventType.step_failed, EventType.step_started, EventType.step_retrying}
    )
    _without_reason(patch, Reason.entity_ended, only=steps)


@mutant()
def the_unique_start(patch: Patch) -> None:
    """H76: two executors start one attempt."""
    _without_reason(patch, Reason.other_attempt, only=frozenset({EventType.step_started}))


@mutant(historical=True)
def any_attempt_may_fail_the_step(patch: Patch) -> None:
    """H74: a zombie's error for attempt 1 counts while attempt 2 runs."""
    newest = frozenset({EventType.step_failed, EventType.step_retrying})
    _without_reason(patch, Reason.other_attempt, only=newest)


@mutant(historical=True)
def a_hook_hears_after_its_end(patch: Patch) -> None:
    """H11: hook_received lands behind hook_disposed."""
    _without_reason(patch, Reason.no_live_hook)


@mutant()
def no_waiting_for_the_retry(patch: Patch) -> None:
    """H99, H107: an attempt starts before its retry's time, and the message comes at once."""
    real = Ledger._attempt_verdict

    def verdict(self: Ledger, event: NewEvent, now: int) -> FactVerdict:
        found = real(self, event, now)
        return LANDED if found.outcome is FactOutcome.early else found

    patch.set(Ledger, "_attempt_verdict", verdict)


@mutant(historical=True)
def a_delivery_counts_twice(patch: Patch) -> None:
    """H103: a signal whose reply was lost and that is sent again is taken in again."""
    real = Ledger._repeated

    def repeated(self: Ledger, event: NewEvent) -> Any:
        return None if event.type is EventType.hook_received else real(self, event)

    patch.set(Ledger, "_repeated", repeated)
    patch.set(Ledger, "land", _land_anything)


@mutant()
def two_runs_hold_one_token(patch: Patch) -> None:
    """H12: a second hook of the same token is created beside the first."""
    real = Ledger.append

    def append(self: Ledger, batch: Batch, now: int, take: Any, drop: Any, drop_all: Any) -> Verdict:
        def take_anyhow(token: str, entity: str) -> None:
            take(token, entity)

        return real(self, batch, now, take_anyhow, drop, drop_all)

    patch.set(Ledger, "append", append)


@mutant()
def facts_arm_no_deadline(patch: Patch) -> None:
    """I7, H45: a fact leaves the deadline as it is, so that a sender who dies before the tick is never made good."""
    real = ledger._wake

    def wake(current: int | None, batch: Batch, landed: Any, now: int, *, seen_all: bool) -> int | None:
        return current if batch.fence is None else real(current, batch, landed, now, seen_all=seen_all)

    patch.set(ledger, "_wake", wake)


@mutant(historical=True, seeds=0, test=("tests/store/test_deadlines.py", "-k", "memory and (h112 or h58)"))
def the_deadline_is_set_unseen(patch: Patch) -> None:
    """H58, H112: a turn that has not seen everything sets the deadline as if it had."""
    real = ledger._wake

    def wake(current: int | None, batch: Batch, landed: Any, now: int, *, seen_all: bool) -> int | None:
        return real(current, batch, landed, now, seen_all=True)

    patch.set(ledger, "_wake", wake)


@mutant()
def keys_are_not_unique(patch: Patch) -> None:
    """A start whose reply was lost, sent again under the same key, starts a second run."""
    patch.set(MemoryStore, "_find_key", lambda self, workflow, key: None)


@mutant()
def parked_runs_are_forgotten(patch: Patch) -> None:
    """H31: what a worker of another build has parked is not taken up."""

    async def take_parked(self: MemoryStore, build: str, limit: int) -> list[Any]:
        return []

    patch.set(MemoryStore, "take_parked", take_parked)
