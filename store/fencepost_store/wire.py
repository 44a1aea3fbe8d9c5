"""Between batches and the arrays that ``append`` takes and gives. A reply that does not fit what was asked is trouble,
never a guess (H18)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from fencepost_store.admission import fresh
from fencepost_store.events import KINDS, Event, EventType, NewEvent, ordinal
from fencepost_store.ledger import DELIVERED
from fencepost_store.protocol import (
    Batch,
    FactOutcome,
    FactVerdict,
    NewRun,
    Outcome,
    Reason,
    RunStatus,
    StoreTrouble,
    Verdict,
)
from fencepost_store.statements import REASON_CODES

_LANDED, _ALREADY, _DROPPED, _EARLY, _NOT_JUDGED, _CONFLICTING_HOOK = range(6)
_NOT_FOUND = 4
_OUTCOMES = {0: Outcome.ok, 1: Outcome.conflict, 2: Outcome.refused, 3: Outcome.busy, _NOT_FOUND: Outcome.refused}
_REASONS = {code: reason for reason, code in REASON_CODES.items()}
_STATUSES = {int(status): status for status in RunStatus}
_HINT_NONE, _HINT_AGAIN, _HINT_FRESH = range(3)

_CAREFUL = -1
_NEVER_PLAIN = frozenset(
    {event_type for event_type, kind in KINDS.items() if kind.ends_run}
    | {EventType.hook_created, EventType.hook_disposed, EventType.hook_received, EventType.step_retrying}
    | {EventType.attributes_set}
)
_COMPARED = frozenset({EventType.step_started, EventType.step_failed, EventType.child_cancel_requested})
"""Events whose guard looks at more than their entity's creation and their own place in the unique index."""


_RUN_NOT_FOUND = FactVerdict(FactOutcome.refused, reason=Reason.run_not_found)


def arguments(batches: Sequence[Batch], *, careful: bool) -> list[object]:
    """The parameters of one call, but for ``compared``. ``careful``: look up what is normally left to the unique
    index.
    """
    hints = [hint for batch in batches for hint in _hints(batch)]
    events = [event for batch in batches for event in batch.events]
    return [
        [batch.run_id for batch in batches],
        [batch.fence for batch in batches],
        [batch.seen for batch in batches],
        [batch.wake_at for batch in batches],
        [batch.grace for batch in batches],
        [place for place, batch in enumerate(batches, 1) for _ in batch.events],
        [int(event.type) for event in events],
        [ordinal(event.type, event.attempt) for event in events],
        [event.attempt for event in events],
        [event.due if event.due_in is None else event.due_in for event in events],
        [event.at for event in events],
        hints,
        [event.entity for event in events],
        [event.token for event in events],
        [event.dedupe for event in events],
        [event.payload for event in events],
        _CAREFUL if careful else _plain(batches, hints),
    ]


COMPARED = 3
"""How many these are."""


def compared(batches: Sequence[Batch], stamp: int) -> list[object]:
    """The last parameters of a call: what tells the log that its writers have seen from any other, and what the call's
    own events carry.
    """
    of = [event.of if batch.fence is None else None for batch in batches for event in batch.events]
    return [[batch.stamp for batch in batches], of, stamp]


def start_arguments(run: NewRun) -> tuple[object, ...]:
    """The parameters of ``start_run``, but for the stamp."""
    attributes = msgspec.json.encode(dict(run.attributes)).decode() if run.attributes else None
    named = (run.run_id, run.workflow, run.queue, run.key, run.parent, run.payload, run.grace)
    reusable = [int(status) for status in run.reusable] or None
    return (*named, attributes, run.start_at, run.start_in, run.near, reusable)


def successors(batches: Sequence[Batch]) -> list[object]:
    """The further parameters of ``append_continued``. Empty: nobody hands anything over, and ``append`` will do."""
    rows = [(place, batch.successor, batch.hooks) for place, batch in enumerate(batches, 1)]
    found = [(place, run, hooks) for place, run, hooks in rows if run is not None]
    if not found:
        return []
    asked = [
        {
            "workflow": run.workflow,
            "queue": run.queue,
            "parent": run.parent,
            "grace": run.grace,
            "attributes": dict(run.attributes) or None,
        }
        for _, run, _ in found
    ]
    return [
        [place for place, _, _ in found],
        [run.run_id for _, run, _ in found],
        [run.payload for _, run, _ in found],
        [msgspec.json.encode(one).decode() for one in asked],
        [msgspec.json.encode(hooks).decode() for _, _, hooks in found],
    ]


def verdicts(row: Any, batches: Sequence[Batch], stamp: int) -> list[Verdict]:
    """One verdict per batch. ``stamp``: what was sent with them. Raises StoreTrouble if the reply is not one to these
    batches."""
    sizes = (len(batches), sum(len(batch.events) for batch in batches))
    stamps = [stamp] if row["o_codes"] is None else row["o_stamps"]  # a plain turn, or a call that says them
    per_batch = (row["o_outcomes"], row["o_last_seqs"], row["o_fences"], row["o_statuses"], stamps)
    per_event = (row["o_codes"], row["o_values"])
    if row["o_codes"] is None:
        (batch,) = batches
        last_seq: int = row["o_last_seqs"][0]
        first = last_seq - len(batch.events) + 1
        per_event = ([_LANDED] * len(batch.events), list(range(first, last_seq + 1)))
    if {len(column) for column in per_batch} != {sizes[0]} or {len(column) for column in per_event} != {sizes[1]}:
        raise StoreTrouble("Postgres answered an append with arrays of the wrong size")
    answer: list[Verdict] = []
    start = 0
    for batch, outcome, last_seq, fence, status, found in zip(batches, *per_batch, strict=True):
        part = slice(start, start + len(batch.events))
        start = part.stop
        owners = None if row["o_owners"] is None else row["o_owners"][part]
        reply = _Reply(row["o_now"], per_event[0][part], per_event[1][part], owners, stamp)
        answer.append(_verdict(batch, outcome, (last_seq, fence, found or 0), status, reply))
    return answer


class _Reply:
    """One batch's part of the reply."""

    __slots__ = ("codes", "now", "owners", "stamp", "values")

    def __init__(
        self, now: int, codes: list[int], values: list[int], owners: list[str | None] | None, stamp: int
    ) -> None:
        self.now = now
        self.stamp = stamp
        self.codes = codes
        self.values = values
        self.owners = owners


def _verdict(batch: Batch, outcome_code: int, stands: tuple[int, int, int], status_code: int, reply: _Reply) -> Verdict:
    last_seq, fence, stamp = stands
    outcome, status = _OUTCOMES.get(outcome_code), _STATUSES.get(status_code)
    if outcome is None or status is None:
        raise StoreTrouble(f"Postgres answered an append with outcome {outcome_code}, status {status_code}")
    events: tuple[Event, ...] = ()
    facts: tuple[FactVerdict, ...] = ()
    if outcome is Outcome.ok:
        events = _landed(batch, last_seq, reply)
    if outcome_code == _NOT_FOUND:
        facts = (_RUN_NOT_FOUND,) * len(batch.events)
    elif outcome is Outcome.refused or (outcome is Outcome.ok and batch.fence is None):
        written = outcome is Outcome.ok
        pairs = zip(reply.codes, reply.values, strict=True)
        facts = tuple(_fact(code, value, written=written) for code, value in pairs)
    return Verdict(outcome, last_seq, fence, reply.now, status, events, facts, stamp)


def _landed(batch: Batch, last_seq: int, reply: _Reply) -> tuple[Event, ...]:
    """The events of a batch that are in the log now, because of this call. They are the log's tail, or something is
    wrong."""
    events: list[Event] = []
    for index, new in enumerate(batch.events):
        code = reply.codes[index]
        if code == _LANDED:
            events.append(_event(new, new.type, reply.values[index], reply, new.dedupe))
        elif code == _CONFLICTING_HOOK and reply.owners is not None and reply.owners[index] is not None:
            events.append(_event(new, EventType.hook_conflict, reply.values[index], reply, reply.owners[index]))
        elif batch.fence is not None and code not in (_ALREADY, _DROPPED):
            raise StoreTrouble(f"Postgres answered code {code} for event {index} of a fenced batch that landed")
    tail = [event.seq for event in events]
    if tail != list(range(last_seq - len(tail) + 1, last_seq + 1)):
        raise StoreTrouble(f"Postgres answered seqs {tail[:3]}.. for an append that ends at {last_seq}")
    return tuple(events)


def _event(new: NewEvent, event_type: EventType, seq: int, reply: _Reply, dedupe: str | None) -> Event:
    due = new.due if new.due_in is None else reply.now + new.due_in
    at = reply.now if new.at is None else new.at
    return Event(seq, event_type, new.entity, new.attempt, at, due, new.token, dedupe, new.payload, reply.stamp)


def _fact(code: int, value: int, *, written: bool) -> FactVerdict:
    if code == _LANDED:
        return FactVerdict(FactOutcome.landed, seq=value if written else None)
    if code == _ALREADY:
        # Below zero: of an earlier event of the same batch, which was not written either.
        return FactVerdict(FactOutcome.already, seq=value if value > 0 else None)
    if code == _EARLY:
        return FactVerdict(FactOutcome.early, rest=value)
    reason = _REASONS.get(code)
    if reason is None:
        raise StoreTrouble(f"Postgres answered code {code} for a fact")
    return FactVerdict(FactOutcome.refused, reason=reason)


def _hints(batch: Batch) -> list[int]:
    """Which events an earlier one of the same batch may bear on. Where one may, all before it are looked at, so this
    says no more than is so: what senders deliver without a fence meets only the same delivery, for nothing that opens
    or closes their hook can stand beside it (H213)."""
    if len(batch.events) == 1:
        return [_HINT_NONE]
    seen: set[str] = set()
    hints: list[int] = []
    for event, is_fresh in zip(batch.events, fresh(batch), strict=True):
        # "e" and "d" keep entity ids and delivery ids apart in one set.
        delivered = event.type in DELIVERED
        marks = set[str]() if delivered and batch.fence is None else {"e" + event.entity}
        if delivered and event.dedupe is not None:
            marks.add("d" + event.dedupe)
        hints.append(_HINT_FRESH if is_fresh else _HINT_AGAIN if marks & seen else _HINT_NONE)
        seen |= marks
    return hints


def _plain(batches: Sequence[Batch], hints: list[int]) -> int:
    """The place (from 1) of the last visible event if this is a plain turn, which ``append`` does in its shortest way;
    else 0.

    Plain: one run, fenced, no hook token changes hands, no attribute changes, the run does not end, no start or end of
    an attempt needs to be compared with others, and no event bears on another but a creation on what follows it.
    """
    if len(batches) != 1 or batches[0].fence is None:
        return 0
    last_visible = 0
    for place, (event, hint) in enumerate(zip(batches[0].events, hints, strict=True), 1):
        if event.type in _NEVER_PLAIN or hint == _HINT_AGAIN or (event.type in _COMPARED and hint != _HINT_FRESH):
            return 0
        if event.type in DELIVERED and event.dedupe is not None:
            return 0
        if KINDS[event.type].visible:
            last_visible = place
    return last_visible
