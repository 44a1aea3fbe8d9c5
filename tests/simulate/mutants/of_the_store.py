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
from fencepost_store.stamps import draw_stamp
from fencepost_store.tables import Tables


def _without_reason(patch: Patch, *reasons: Reason, only: frozenset[EventType] | None = None) -> None:
    """A fact that would be refused for one of these reasons lands."""
    real = Ledger._judge

    def judge(self: Ledger, event: NewEvent, now: int, **rest: bool) -> FactVerdict:
        verdict = real(self, event, now, **rest)
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
            batch = msgspec.structs.replace(batch, fence=self.run.fence, stamp=None)
        return real(self, batch, *rest)

    patch.set(Ledger, "append", append)
    patch.set(Ledger, "land", _land_anything)
    patch.set(Ledger, "_unland", _unland_anything)


@mutant("store/test_turns.py::test_h03_of_two_turns_on_one_snapshot_exactly_one_lands[memory]")
def the_fence(patch: Patch) -> None:
    """I2: a decision lands whatever landed after the prefix that it was derived from."""
    _unfenced(patch, lambda batch: True)


@mutant(
    "store/test_turns.py::test_h19_every_decision_conflicts_with_a_stale_fence_and_every_fact_lands_without_one[memory-3]",
    historical=True,
)
def only_wait_completed_is_fenced(patch: Patch) -> None:
    """H21: the fence guards wait_completed only, so that branches which create steps are decided on an old prefix."""
    _unfenced(patch, lambda batch: all(event.type is not EventType.wait_completed for event in batch.events))


@mutant("engine/test_hazards_turns.py::test_h20_h21_the_branch_is_decided_by_what_landed_first", historical=True)
def check_before_the_lock(patch: Patch) -> None:
    """H02: the guards look at a snapshot older than the lock that they wait for."""

    async def append(self: MemoryStore, batches: Sequence[Batch], *, wait: bool = True) -> list[Verdict]:
        seen = {batch.run_id: self._tables.ledgers[batch.run_id].copy() for batch in batches}
        await asyncio.sleep(0.002)
        return [_landed_as_judged(self._tables, batch, seen[batch.run_id]) for batch in batches]

    patch.set(MemoryStore, "append", append)


def _landed_as_judged(tables: Tables, batch: Batch, seen: Ledger) -> Verdict:
    now = tables.clock()
    real = tables.ledgers[batch.run_id]
    patch = Patch()
    patch.set(Ledger, "_judge_all", lambda self, one, *rest: _REAL_JUDGE_ALL(seen, one, *rest) if self is real else ())
    patch.set(Ledger, "land", _land_anything)
    try:
        if batch.fence is not None and batch.fence == seen.run.fence:
            batch = msgspec.structs.replace(batch, fence=real.run.fence, stamp=None)
        return tables.append(batch, draw_stamp())
    finally:
        patch.undo()
        del now


_REAL_JUDGE_ALL = Ledger._judge_all


@mutant("store/test_turns.py::test_h07_a_conflict_writes_nothing_of_its_batch[memory]", historical=True)
def a_batch_lands_in_part(patch: Patch) -> None:
    """H07: of a decision that conflicts the first event has landed."""
    real = Ledger.append

    def append(self: Ledger, batch: Batch, *rest: Any) -> Verdict:
        if batch.fence is not None and batch.fence != self.run.fence and not self.run.status.ended:
            first = batch.events[0]
            place = (first.entity, ledger.ordinal(first.type, first.attempt))
            if first.type is EventType.step_created and place not in self.places:
                alone = msgspec.structs.replace(batch, fence=self.run.fence, events=(first,), stamp=None)
                real(self, alone, *rest)
        return real(self, batch, *rest)

    patch.set(Ledger, "append", append)


@mutant("store/test_facts.py::test_h14_a_result_for_a_run_that_has_ended_is_refused[memory]")
def nothing_after_the_end(patch: Patch) -> None:
    """H14: facts land in the log of a run that has ended."""
    _without_reason(patch, Reason.run_ended)


@mutant("store/test_facts.py::test_h01_a_step_is_never_started_after_it_was_completed[memory]")
def one_end_per_entity(patch: Patch) -> None:
    """I4: facts land behind their step's end."""
    steps = frozenset(
        {EventType.step_completed, EventType.step_failed, EventType.step_started, EventType.step_retrying}
    )
    _without_reason(patch, Reason.entity_ended, only=steps)


@mutant("store/test_facts.py::test_h76_an_attempt_is_started_once_and_in_order[memory]")
def the_unique_start(patch: Patch) -> None:
    """H76: two executors start one attempt."""
    _without_reason(patch, Reason.other_attempt, only=frozenset({EventType.step_started}))


@mutant(
    "store/test_facts.py::test_h74_facts_of_an_older_attempt_are_refused_but_its_result_is_taken[memory]",
    historical=True,
)
def any_attempt_may_fail_the_step(patch: Patch) -> None:
    """H74: a zombie's error for attempt 1 counts while attempt 2 runs."""
    newest = frozenset({EventType.step_failed, EventType.step_retrying})
    _without_reason(patch, Reason.other_attempt, only=newest)


@mutant(
    "store/test_facts.py::test_h11_a_signal_after_disposal_or_after_the_end_never_reaches_the_log[memory]",
    historical=True,
)
def a_hook_hears_after_its_end(patch: Patch) -> None:
    """H11: hook_received lands behind hook_disposed."""
    _without_reason(patch, Reason.no_live_hook)


@mutant("store/test_facts.py::test_h99_h107_the_next_start_waits_for_its_retry[memory]")
def no_waiting_for_the_retry(patch: Patch) -> None:
    """H99, H107: an attempt starts before its retry's time, and the message comes at once."""
    real = Ledger._attempt_verdict

    def verdict(self: Ledger, event: NewEvent, now: int) -> FactVerdict:
        found = real(self, event, now)
        return LANDED if found.outcome is FactOutcome.early else found

    patch.set(Ledger, "_attempt_verdict", verdict)


@mutant(
    "store/test_facts.py::test_h103_a_signal_sent_twice_is_accepted_once_even_after_disposal_and_the_end[memory]",
    historical=True,
)
def a_delivery_counts_twice(patch: Patch) -> None:
    """H103: a signal whose reply was lost and that is sent again is taken in again."""
    real = Ledger._repeated

    def repeated(self: Ledger, event: NewEvent) -> Any:
        return None if event.type is EventType.hook_received else real(self, event)

    patch.set(Ledger, "_repeated", repeated)
    patch.set(Ledger, "land", _land_anything)


@mutant("store/test_facts.py::test_h76_an_attempt_is_started_once_and_in_order[memory]")
def facts_of_nobody_land(patch: Patch) -> None:
    """I3: a fact about a step that was never created lands."""
    _without_reason(patch, Reason.no_entity)


@mutant("store/test_facts.py::test_h08_a_fact_sent_again_by_the_same_writer_is_answered_as_the_first_was[memory]")
def a_fact_sent_again_is_a_strangers(patch: Patch) -> None:
    """H08: whoever asks again for a start whose reply was lost is told that another has it."""
    real = Ledger._repeated

    def repeated(self: Ledger, event: NewEvent) -> Any:
        return real(self, event) if event.type in ledger.DELIVERED else None

    patch.set(Ledger, "_repeated", repeated)


@mutant(
    "store/test_facts.py::test_h74_facts_of_an_older_attempt_are_refused_but_its_result_is_taken[memory]",
    historical=True,
)
def work_that_is_done_is_not_done(patch: Patch) -> None:
    """H74: the result of an older attempt is refused although the step is open."""
    real = Ledger._attempt_verdict

    def verdict(self: Ledger, event: NewEvent, now: int) -> FactVerdict:
        if event.type is EventType.step_completed and (event.entity, event.attempt + 1) in self.places:
            return FactVerdict(FactOutcome.refused, reason=Reason.other_attempt)
        return real(self, event, now)

    patch.set(Ledger, "_attempt_verdict", verdict)


@mutant("store/test_facts.py::test_h52_telling_a_parent_twice_is_refused_as_a_duplicate[memory]", historical=True)
def a_child_ends_twice(patch: Patch) -> None:
    """H52: a parent that is told twice of its child's end has it twice in its log."""
    _without_reason(patch, Reason.duplicate, only=frozenset({EventType.child_completed, EventType.child_failed}))


@mutant("store/test_facts.py::test_h90_invisible_facts_do_not_move_the_fence[memory-step_started]")
def every_event_moves_the_fence(patch: Patch) -> None:
    """H90: what the code cannot see makes turns lose their fence."""
    real = Ledger._update_row

    def update(self: Ledger, batch: Batch, landed: Any, now: int, *, seen_all: bool) -> None:
        real(self, batch, landed, now, seen_all=seen_all)
        self.run = msgspec.structs.replace(self.run, fence=self.run.last_seq)

    patch.set(Ledger, "_update_row", update)


@mutant("store/test_hooks.py::test_h12_the_second_claim_lands_as_hook_conflict_naming_the_owner[memory]")
def two_runs_hold_one_token(patch: Patch) -> None:
    """H12: a second hook of the same token is created beside the first."""
    real = Ledger.append

    def append(self: Ledger, batch: Batch, now: int, take: Any, *rest: Any) -> Verdict:
        def take_anyhow(token: str, entity: str) -> None:
            take(token, entity)

        return real(self, batch, now, take_anyhow, *rest)

    patch.set(Ledger, "append", append)


@mutant("store/test_deadlines.py::test_facts_lower_the_deadline_to_grace_in_steps_and_never_raise_it[memory]")
def facts_arm_no_deadline(patch: Patch) -> None:
    """I7, H45: a fact leaves the deadline as it is, so that a sender who dies before the tick is never made good."""
    real = ledger._wake

    def wake(current: int | None, batch: Batch, landed: Any, now: int, *, seen_all: bool) -> int | None:
        return current if batch.fence is None else real(current, batch, landed, now, seen_all=seen_all)

    patch.set(ledger, "_wake", wake)


@mutant(
    "store/test_deadlines.py::test_h112_who_has_not_seen_everything_may_only_lower[memory]", historical=True, seeds=0
)
def the_deadline_is_set_unseen(patch: Patch) -> None:
    """H58, H112: a turn that has not seen everything sets the deadline as if it had."""
    real = ledger._wake

    def wake(current: int | None, batch: Batch, landed: Any, now: int, *, seen_all: bool) -> int | None:
        return real(current, batch, landed, now, seen_all=True)

    patch.set(ledger, "_wake", wake)


@mutant("store/test_turns.py::test_a_key_starts_one_run_per_workflow_and_tells_what_it_was_started_with[memory]")
def keys_are_not_unique(patch: Patch) -> None:
    """A start whose reply was lost, sent again under the same key, starts a second run."""
    patch.set(MemoryStore, "_find_key", lambda self, workflow, key: None)


@mutant("engine/test_hazards_parking.py::test_h30_h31_h105_a_run_is_parked_and_taken_up_by_a_fitting_build")
def parked_runs_are_forgotten(patch: Patch) -> None:
    """H31: what a worker of another build has parked is not taken up."""

    async def take_parked(self: MemoryStore, build: str, limit: int) -> list[Any]:
        return []

    patch.set(MemoryStore, "take_parked", take_parked)
