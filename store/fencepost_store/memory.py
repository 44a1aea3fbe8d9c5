"""The reference model of the store: the same promises as ``postgres.py``, in memory and in plain sight.

Every operation is one synchronous step between two awaits, so it is atomic by construction. Only ``locked`` holds
anything across awaits: the run's lock, and from its first append on the gate through which every writer goes, as a
transaction of Postgres would make them wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec

from fencepost_store.admission import admit, admit_all, admit_run, printable
from fencepost_store.events import EventType, ordinal
from fencepost_store.ledger import Ledger, lowered
from fencepost_store.lineage import parent_text
from fencepost_store.memory_beats import Beats
from fencepost_store.memory_failover import Failover, Open
from fencepost_store.memory_pruning import MemoryPruning
from fencepost_store.memory_streams import MemoryStreams
from fencepost_store.protocol import (
    Batch,
    DueRun,
    LiveHook,
    Loaded,
    Locked,
    NewRun,
    Outcome,
    Parked,
    Run,
    RunDetails,
    RunFilter,
    RunStatus,
    Started,
    StoreTrouble,
    TokenTrace,
    Verdict,
)
from fencepost_store.stamps import Stamps, draw_stamp
from fencepost_store.tables import Tables


def _wall_clock() -> int:
    return time.time_ns() // 1000


class MemoryStore(Beats, MemoryStreams, MemoryPruning, Failover):
    """A Store in memory. ``clock``: microseconds since the epoch, what the database clock is in Postgres."""

    def __init__(self, clock: Callable[[], int] = _wall_clock) -> None:
        self._clock = clock
        self.stamps: Stamps = draw_stamp
        self._tables = Tables(clock)
        Beats.__init__(self, self._tables.ledgers)
        self._locks: dict[str, asyncio.Lock] = {}
        self._gate = asyncio.Lock()
        self._transactions: list[Open] = []
        MemoryStreams.__init__(self, clock, lambda: self._tables.ledgers, self._row)
        MemoryPruning.__init__(self, clock, self._tables, self._held, self._forget)

    async def start(self, run: NewRun) -> Started:
        """See Store.start."""
        admit_run(run)
        stamp = self.stamps()
        async with self._gate:
            holder = None if run.key is None else self._find_key(run.workflow, run.key)
            if holder is not None and holder.run.status in run.reusable:
                holder.run = msgspec.structs.replace(holder.run, key=None)
                holder = None
            existing = self._tables.ledgers.get(run.run_id) or holder
            if existing is not None:
                return Started(existing.run.run_id, False, existing.events[0].payload)
            now = self._clock()
            starts = run.start_at if run.start_in is None else now + run.start_in
            starts = None if starts is None or starts <= now else starts
            self._tables.create(run, now, stamp, starts)
            return Started(run.run_id, True, run.payload, 0 if starts is None else starts - now)

    async def append(self, batches: Sequence[Batch], *, wait: bool = True) -> list[Verdict]:
        """See Store.append. Who waits is never told busy: the lock is let go of in the end."""
        if not batches:
            return []
        admit_all(batches)
        stamp = self.stamps()
        verdicts: dict[str, Verdict] = {}
        for batch in sorted(batches, key=lambda batch: batch.run_id):
            lock = self._locks.get(batch.run_id)
            if (len(batches) > 1 or not wait) and lock is not None and lock.locked():
                ledger = self._tables.ledgers[batch.run_id]
                verdicts[batch.run_id] = ledger.verdict(Outcome.busy, self._clock())
                continue
            async with self._row(batch.run_id), self._gate:
                verdicts[batch.run_id] = self._tables.append(batch, stamp)
        return [verdicts[batch.run_id] for batch in batches]

    async def load(self, run_id: str, after_seq: int = 0, stamp: int | None = None) -> Loaded | None:
        """See Store.load."""
        ledger = self._tables.ledgers.get(run_id)
        return None if ledger is None else self._tables.loaded(ledger, after_seq, stamp)

    async def load_entity(self, run_id: str, entity: str) -> Loaded | None:
        """See Store.load_entity. In seq order."""
        ledger = self._tables.ledgers.get(run_id)
        if ledger is None:
            return None
        found = [
            msgspec.structs.replace(event, payload=b"") if event.type is EventType.step_retrying else event
            for event in ledger.events
            if event.entity == entity and ordinal(event.type, event.attempt) is not None
        ]
        return Loaded(ledger.run, tuple(found), self._clock())

    async def touch(self, run_id: str, fence: int, seen: int, wake_at: int | None, stamp: int | None = None) -> Verdict:
        """See Store.touch."""
        async with self._row(run_id), self._gate:
            ledger = self._tables.ledgers.get(run_id)
            if ledger is None:
                return self._tables.missing(0)
            if not ledger.stands_at(fence, stamp):
                return ledger.verdict(Outcome.conflict, self._clock())
            wake = wake_at if seen == ledger.run.last_seq else lowered(ledger.run.wake_at, wake_at)
            ledger.run = msgspec.structs.replace(ledger.run, wake_at=wake)
            return ledger.verdict(Outcome.ok, self._clock())

    async def park(self, run_id: str, fence: int, parked: Parked, stamp: int | None = None) -> Verdict:
        """See Store.park."""
        async with self._row(run_id), self._gate:
            ledger = self._tables.ledgers.get(run_id)
            if ledger is None:
                return self._tables.missing(0)
            now = self._clock()
            if not ledger.stands_at(fence, stamp):
                return ledger.verdict(Outcome.conflict, now)
            if ledger.run.status.ended:
                return ledger.verdict(Outcome.refused, now)
            ledger.run = msgspec.structs.replace(
                ledger.run, status=RunStatus.parked, parked=printable(parked), wake_at=None, updated_at=now
            )
            return ledger.verdict(Outcome.ok, now)

    @asynccontextmanager
    async def locked(self, run_id: str, budget_seconds: float) -> AsyncGenerator[Locked]:
        """See Store.locked. The budget is looked at, by the store's own clock, on each use and at the end."""
        async with self._locks.setdefault(run_id, asyncio.Lock()):
            if run_id not in self._tables.ledgers:
                raise StoreTrouble(f"run {run_id} does not exist, so its row cannot be locked")
            until = self._clock() + int(budget_seconds * 1_000_000)
            held = _MemoryLocked(self._tables, self._gate, run_id, until, self.stamps)
            self._transactions.append(held)
            try:
                yield held
                held.check()
                held.commit()
            finally:
                self._transactions.remove(held)
                held.leave()

    async def find_hook(self, token: str) -> LiveHook | None:
        """See Store.find_hook."""
        held = self._tables.tokens.get(token)
        if held is None:
            return None
        run_id, entity = held
        return LiveHook(token, run_id, entity, self._tables.ledgers[run_id].run.queue)

    async def trace_token(self, token: str, delivery: str | None = None) -> TokenTrace | None:
        """See Store.trace_token."""
        return self._tables.trace(token, delivery)

    async def get(self, run_id: str) -> Run | None:
        """See Store.get."""
        ledger = self._tables.ledgers.get(run_id)
        return None if ledger is None else ledger.run

    async def find_key(self, workflow: str, key: str) -> Run | None:
        """See Store.find_key."""
        ledger = self._find_key(workflow, key)
        return None if ledger is None else ledger.run

    async def newest_child(self, parent: str) -> Run | None:
        """See Store.newest_child."""
        return next((run for run in reversed(self._rows()) if run.parent == parent), None)

    async def list_runs(self, where: RunFilter, limit: int, before: str | None = None) -> list[Run]:
        """See Store.list_runs."""
        found = [
            run
            for run in self._rows()
            if (before is None or run.run_id < before)
            and (where.workflow is None or run.workflow == where.workflow)
            and (not where.statuses or run.status in where.statuses)
            and (where.queue is None or run.queue == where.queue)
            and (where.parent is None or (run.parent or "").startswith(parent_text(where.parent, "")))
            and all(self._attributes(run).get(name) in texts for name, texts in where.attributes.items())
        ]
        return found[::-1][:limit]

    async def details(self, run_ids: Sequence[str]) -> dict[str, RunDetails]:
        """See Store.details."""
        ledgers = {run_id: self._tables.ledgers[run_id] for run_id in run_ids if run_id in self._tables.ledgers}
        return {
            run_id: RunDetails(dict(one.attributes), one.events[0].due if one.run.status is RunStatus.pending else None)
            for run_id, one in ledgers.items()
        }

    async def take_due(self, limit: int, next_in: int) -> list[DueRun]:
        """See Store.take_due. Each comes with the deadline that has passed."""
        now = self._clock()
        due = [run for run in self._free_rows() if run.wake_at is not None and run.wake_at <= now]
        due.sort(key=lambda run: (run.wake_at or 0, run.run_id))
        return [self._pushed(run, now + next_in, run.wake_at) for run in due[:limit]]

    async def scan_deadlines(self, after_run_id: str | None, limit: int) -> list[DueRun]:
        """See Store.scan_deadlines."""
        found = [
            run
            for run in self._rows()
            if run.wake_at is not None and (after_run_id is None or run.run_id > after_run_id)
        ]
        return [DueRun(run.run_id, run.queue, run.wake_at) for run in found[:limit]]

    async def take_parked(self, build: str, limit: int) -> list[DueRun]:
        """See Store.take_parked. Those without a deadline first: a few hopeless runs must not use up the limit."""
        now = self._clock()
        found = [
            run
            for run in self._free_rows()
            if run.parked is not None and build not in run.parked.builds and (run.wake_at is None or run.wake_at > now)
        ]
        found.sort(key=lambda run: (run.wake_at is not None, run.wake_at or 0, run.run_id))
        return [self._pushed(run, now, now) for run in found[:limit]]

    async def now(self) -> int:
        """See Store.now."""
        return self._clock()

    async def writable(self) -> None:
        """See Store.writable."""

    async def close(self) -> None:
        """See Store.close. The runs stay, so that a test can look at them."""

    def _attributes(self, run: Run) -> dict[str, str]:
        return self._tables.ledgers[run.run_id].attributes

    def _rows(self) -> list[Run]:
        return [self._tables.ledgers[run_id].run for run_id in sorted(self._tables.ledgers)]

    def _free_rows(self) -> list[Run]:
        """Rows that nobody holds: what SKIP LOCKED leaves."""
        return [run for run in self._rows() if not self._held(run.run_id)]

    def _held(self, run_id: str) -> bool:
        return run_id in self._locks and self._locks[run_id].locked()

    def _forget(self, run_id: str) -> int:
        """What lies outside the tables goes with a run that is pruned."""
        self.forget_beats(run_id)
        self._locks.pop(run_id, None)
        return self.forget_streams(run_id)

    def _pushed(self, run: Run, wake_at: int, told: int | None) -> DueRun:
        self._tables.ledgers[run.run_id].run = msgspec.structs.replace(run, wake_at=wake_at)
        return DueRun(run.run_id, run.queue, told)

    def _find_key(self, workflow: str, key: str) -> Ledger | None:
        for ledger in self._tables.ledgers.values():
            if ledger.run.workflow == workflow and ledger.run.key == key:
                return ledger
        return None

    @asynccontextmanager
    async def _row(self, run_id: str) -> AsyncGenerator[None]:
        """Wait for the run's lock if somebody holds it. Locks exist for runs that were ever locked across awaits."""
        lock = self._locks.get(run_id)
        if lock is None:
            yield
            return
        async with lock:
            yield


class _MemoryLocked:
    """The transaction of MemoryStore.locked: what it writes is in tables of its own, with this run alone, and nobody
    reads them before the commit. The tokens stay true meanwhile, for all writers wait at the gate.
    """

    def __init__(self, tables: Tables, gate: asyncio.Lock, run_id: str, deadline: int, stamps: Stamps) -> None:
        self._tables = tables
        self._gate = gate
        self._run_id = run_id
        self._deadline = deadline
        self._stamps = stamps
        self._mine: Tables | None = None
        self.lost = False

    async def load(self, after_seq: int, stamp: int | None = None) -> Loaded:
        """See Locked.load."""
        self.check()
        tables = self._mine or self._tables
        return tables.loaded(tables.ledgers[self._run_id], after_seq, stamp)

    async def append(self, batch: Batch) -> Verdict:
        """See Locked.append."""
        self.check()
        admit(batch)
        if batch.run_id != self._run_id:
            raise ValueError(f"the lock is for run {self._run_id}, the batch for run {batch.run_id}")
        if self._mine is None:
            await self._gate.acquire()
            mine = {self._run_id: self._tables.ledgers[self._run_id].copy()}
            self._mine = Tables(self._tables.clock, mine, dict(self._tables.tokens))
        return self._mine.append(batch, self._stamps())

    async def move(self, queue: str) -> None:
        """See Locked.move."""
        self.check()
        assert self._mine is not None, "nothing was appended in this transaction"
        ledger = self._mine.ledgers[self._run_id]
        ledger.run = msgspec.structs.replace(ledger.run, queue=queue)

    def check(self) -> None:
        """Raise StoreTrouble once the budget is used up, or the server is another one."""
        if self.lost:
            raise StoreTrouble(f"the lock on run {self._run_id} was lost with its server")
        if self._tables.clock() > self._deadline:
            raise StoreTrouble(f"the lock on run {self._run_id} was held beyond its budget and has been ended")

    def commit(self) -> None:
        """Show the appends."""
        if self._mine is not None:
            self._tables.ledgers.update(self._mine.ledgers)
            self._tables.tokens = self._mine.tokens

    def leave(self) -> None:
        """Open the gate again."""
        if self._mine is not None:
            self._mine = None
            self._gate.release()
