"""The write seam: the one place through which every event enters a run's log.

Turns, the hot path, executors, clients and escape hatches all call ``RunLog``. It checks the limits before any lock is
taken, sends the batch once, and turns
the answer into one of three values that a caller must tell apart:

- ``Landed``: the events are in the log, as they stand there.
- ``NotWritten``: fence conflict. Nothing was written, nothing more is sent, nobody is told; the caller leaves
(docs/protocol.md I5).
- ``Refused``: a verdict per fact; what the caller does then is in the table of docs/protocol.md section 8.

Everything else is ``StoreTrouble``: a lost reply, one that cannot be parsed, one that does not say what it must. It is
never taken for success, for a conflict, or
for the user's error (H18).
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from fencepost.fitting import fitted
from fencepost_store.events import KINDS, Event, EventType, Role
from fencepost_store.protocol import (
    Batch,
    FactOutcome,
    FactVerdict,
    NewRun,
    Outcome,
    RunStatus,
    Started,
    Store,
    StoreTrouble,
    Verdict,
)


class LimitExceeded(Exception):
    """A log, a payload or the open work of a run is over its bound; nothing was written.

    ``limit`` is the name of the setting, ``value`` what was asked, ``bound`` what is allowed. ``entity``: whose payload
    it is, if it is one's.
    """

    def __init__(self, limit: str, value: int, bound: int, what: str, way_out: str, entity: str = "") -> None:
        super().__init__(f"{what}: {value} is over {limit} = {bound}; {way_out}")
        self.entity = entity
        self.limit = limit
        self.value = value
        self.bound = bound


class Limits(msgspec.Struct, frozen=True):
    """Bounds on one run's log. All have their place in the configuration."""

    payload_bytes_max: int = 1_048_576
    events_max: int = 100_000
    open_entities_max: int = 10_000
    hook_backlog_max: int = 10_000
    log_bytes_max: int = 268_435_456


class Landed(msgspec.Struct, frozen=True):
    """The batch is in the log. ``facts`` as in Verdict, for unfenced batches (some may have been refused, early, or
    there already).
    """

    events: tuple[Event, ...]
    last_seq: int
    fence: int
    now: int
    status: RunStatus
    facts: tuple[FactVerdict, ...] = ()
    stamp: int = 0


class NotWritten(msgspec.Struct, frozen=True):
    """Fence conflict."""

    now: int


class Refused(msgspec.Struct, frozen=True):
    """Nothing was written: every fact was refused or early, or the batch was fenced and one of its facts refused."""

    facts: tuple[FactVerdict, ...]
    status: RunStatus
    now: int


Written = Landed | NotWritten | Refused
Append = Callable[[Batch], Awaitable[Verdict]]

EVENTS_RESERVE = 2
"""Room that is always left at the end of a log for the run's own ending."""

_OPENS = frozenset({EventType.step_created, EventType.wait_created, EventType.hook_created, EventType.child_created})
_CLOSES = frozenset(kind for kind, row in KINDS.items() if row.role is Role.terminal and not row.ends_run)
_RUN_ENDS = frozenset(kind for kind, row in KINDS.items() if row.ends_run)
_CARRY = (EventType.run_completed, EventType.run_continued)
"""Endings with a value of the user's: the result, the next run's arguments."""


class RunLog:
    """Appends to logs through ``append`` (a coalescer's or a store's), within ``limits``."""

    def __init__(self, store: Store, append: Append, limits: Limits | None = None) -> None:
        self.store = store
        self.limits: Limits = limits or Limits()
        self._append = append

    def check_start(self, run: NewRun) -> None:
        """Raise LimitExceeded if the run's input is over its bound."""
        self._check_payload("the run's input", run.payload)

    async def start(self, run: NewRun) -> Started:
        """run_created and the first deadline, in one transaction. Raises LimitExceeded, StoreTrouble."""
        self.check_start(run)
        return await self.store.start(run)

    async def append(
        self, batch: Batch, *, open_entities: int = 0, log_bytes: int = 0, via: Append | None = None
    ) -> Written:
        """Append one batch. ``open_entities``: how many the run has open before it. ``log_bytes``: of the payloads of
        its log. ``via``: the append of a transaction that holds the run's lock.
        What tells of an error is shortened to its bound. Raises LimitExceeded and Unstorable (nothing written),
        StoreTrouble (unknown)."""
        batch = self._fitted(batch)
        self.check(batch, open_entities, log_bytes)
        return read_verdict(batch, await (via or self._append)(batch))

    def _fitted(self, batch: Batch) -> Batch:
        """The batch with its errors in the room there is: whoever has to record one cannot do anything else (H126)."""
        bound = self.limits.payload_bytes_max
        if all(len(event.payload) <= bound for event in batch.events):
            return batch
        return msgspec.structs.replace(batch, events=tuple(fitted(event, bound) for event in batch.events))

    def check(self, batch: Batch, open_entities: int = 0, log_bytes: int = 0) -> None:
        """Raise LimitExceeded if the batch would leave the run over a bound. An ending without a value always fits."""
        for event in batch.events:
            if event.type not in _RUN_ENDS or event.type in _CARRY:
                what = f"payload of {event.type.name} {event.entity}".rstrip()
                self._check_payload(what, event.payload, event.entity)
        if any(event.type in _RUN_ENDS for event in batch.events):
            return
        if batch.fence is not None:
            total = batch.seen + len(batch.events)
            if total > self.limits.events_max - EVENTS_RESERVE:
                raise LimitExceeded(
                    "events_max",
                    total + EVENTS_RESERVE,
                    self.limits.events_max,
                    f"events in one run, with {EVENTS_RESERVE} kept for its end",
                    "split the work into several runs",
                )
            size = log_bytes + sum([len(event.payload) for event in batch.events])
            if size > self.limits.log_bytes_max:
                raise LimitExceeded(
                    "log_bytes_max",
                    size,
                    self.limits.log_bytes_max,
                    "bytes of all payloads in the log of one run",
                    "pass references (a key, a path, a URL) instead of the data, or continue as a new run",
                )
            opened = open_entities + sum((event.type in _OPENS) - (event.type in _CLOSES) for event in batch.events)
            if opened > self.limits.open_entities_max:
                raise LimitExceeded(
                    "open_entities_max",
                    opened,
                    self.limits.open_entities_max,
                    "steps, waits, hooks and children open at once in one run",
                    "bound the fan-out, for instance with asyncio.Semaphore",
                )

    def _check_payload(self, what: str, payload: bytes, entity: str = "") -> None:
        if len(payload) > self.limits.payload_bytes_max:
            raise LimitExceeded(
                "payload_bytes_max",
                len(payload),
                self.limits.payload_bytes_max,
                f"{what}, in bytes",
                "pass a reference (a key, a path, a URL) instead of the data",
                entity,
            )


def only_fact(written: Written) -> FactVerdict:
    """The verdict of a batch of one fact. Raises StoreTrouble if the reply is not one to that."""
    if isinstance(written, NotWritten) or len(written.facts) != 1:
        raise StoreTrouble("one fact was sent, and the reply has not one verdict")
    return written.facts[0]


def read_verdict(batch: Batch, verdict: Verdict) -> Written:
    """What the store's answer means. Raises StoreTrouble if it does not carry what it must (H18)."""
    if verdict.outcome is Outcome.conflict:
        if batch.fence is None:
            raise StoreTrouble(
                f"run {batch.run_id}: the log does not hold what this fact rests on (seq {batch.seen}): another server"
                if batch.stamp is not None
                else f"run {batch.run_id}: a conflict was answered to a batch without a fence"
            )
        return NotWritten(verdict.now)
    if verdict.outcome is Outcome.refused:
        if not verdict.facts:
            raise StoreTrouble(f"run {batch.run_id}: a refusal without verdicts")
        return Refused(verdict.facts, verdict.status, verdict.now)
    if verdict.outcome is not Outcome.ok:
        raise StoreTrouble(f"run {batch.run_id}: the store answered {verdict.outcome.name}")
    _check_landed(batch, verdict)
    return Landed(
        verdict.events,
        verdict.last_seq,
        verdict.fence,
        verdict.now,
        verdict.status,
        verdict.facts,
        verdict.stamp,
    )


def _check_landed(batch: Batch, verdict: Verdict) -> None:
    if batch.fence is not None:
        expected = len(batch.events)
    else:
        if len(verdict.facts) != len(batch.events):
            raise StoreTrouble(f"run {batch.run_id}: {len(verdict.facts)} verdicts for {len(batch.events)} facts")
        expected = sum(fact.outcome is FactOutcome.landed for fact in verdict.facts)
    if len(verdict.events) != expected:
        raise StoreTrouble(f"run {batch.run_id}: {expected} events were to land, the reply has {len(verdict.events)}")
    _check_dense(batch.run_id, verdict.events, verdict.last_seq)


def _check_dense(run_id: str, events: Sequence[Event], last_seq: int) -> None:
    for before, after in itertools.pairwise(events):
        if after.seq != before.seq + 1:
            raise StoreTrouble(f"run {run_id}: the reply jumps from seq {before.seq} to {after.seq}")
    if events and events[-1].seq > last_seq:
        raise StoreTrouble(f"run {run_id}: the reply ends at seq {events[-1].seq}, behind last_seq {last_seq}")
