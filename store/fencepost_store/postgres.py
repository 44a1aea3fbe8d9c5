"""The store on Postgres. Every method is one statement of ``sql/statements``, and one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import msgspec

from fencepost_store.admission import admit, admit_all, admit_run, printable
from fencepost_store.appending import append_on
from fencepost_store.connections import Connections, Era, Held
from fencepost_store.driver import CONNECT_SECONDS, Row
from fencepost_store.joint import Joint
from fencepost_store.migrations import check
from fencepost_store.postgres_pruning import PostgresPruning
from fencepost_store.postgres_streams import PostgresStreams
from fencepost_store.protocol import (
    Batch,
    CorruptLog,
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
from fencepost_store.rows import details_of, due_of, events_of, page_of, run_of, trace_of
from fencepost_store.run_ids import admit_id, is_run_id
from fencepost_store.servers import Servers
from fencepost_store.sessions import Budget
from fencepost_store.stamps import Stamps, draw_stamp
from fencepost_store.statements import Statements
from fencepost_store.translation import read_only, translating
from fencepost_store.trouble import RowHeld
from fencepost_store.wire import start_arguments

PAGE_EVENTS = 1_000
"""Events per load statement: more would only make one call long."""

PAGE_BYTES = 33_554_432
"""Of payloads per load statement, unless one event alone has more: a row of Postgres may have a gigabyte, and both
sides hold a page several times over."""

APPEND_CONNECTIONS = 2
"""For appends, as many as are under way at once; and as many for those that wait for a row."""

LOCK_GLANCE_SECONDS = 0.02
"""What an append waits for a row that it is not to wait for: other appends to the same run hold it for less."""

LOCK_WAIT_SECONDS = 0.5
"""What one waits that has nothing else to do. Then the next one has the connection, and it comes back."""

OWN_CONNECTIONS = 2
"""For ``locked``: the last resort of a run under a flood must not wait behind the flood."""


async def connect(
    dsn: str,
    namespace: str,
    *,
    connections: int = 4,
    prepared_statements: bool = True,
    command_timeout_seconds: float = 30,
    connect_timeout_seconds: float = CONNECT_SECONDS,
    joint_connections: int = 8,
) -> PostgresStore:
    """A store on a migrated namespace. Raises ValueError (namespace), StoreTrouble (unreachable), StoreRefused (login,
    database), SchemaMismatch, ServerTooOld, WrongEncoding or WrongIsolation with the way out. ``prepared_statements``
    False: for poolers that cannot hold them. ``joint_connections``: transactions of steps at once (``join``)."""
    store = PostgresStore(
        dsn,
        namespace,
        connections=connections,
        prepared_statements=prepared_statements,
        command_timeout_seconds=command_timeout_seconds,
        connect_timeout_seconds=connect_timeout_seconds,
        joint_connections=joint_connections,
    )
    try:
        await store.check()
    except BaseException:
        await store.close()
        raise
    return store


class PostgresStore(PostgresStreams, PostgresPruning):
    """A Store on Postgres. Use ``connect``. Connections are made on demand and made anew after the server was away."""

    def __init__(
        self,
        dsn: str,
        namespace: str,
        *,
        connections: int,
        prepared_statements: bool,
        command_timeout_seconds: float,
        connect_timeout_seconds: float,
        joint_connections: int,
    ) -> None:
        self._sql = Statements(namespace)
        self._servers = Servers()

        era = Era()

        def pool(size: int, lock_seconds: float = 0.0, *, plans: bool = True) -> Connections:
            return Connections(
                dsn,
                size,
                prepared=prepared_statements,
                command_timeout_seconds=command_timeout_seconds,
                connect_seconds=connect_timeout_seconds,
                plans=plans,
                servers=self._servers,
                lock_seconds=lock_seconds,
                era=era,
            )

        self._shared = pool(connections)
        self._timeout = command_timeout_seconds
        # Bounded as well: a body that waits for an answer that was lost keeps its lease, and nobody takes over (H129).
        self._joints = pool(joint_connections, plans=False)
        self._own = pool(OWN_CONNECTIONS)
        self._for_appends = pool(APPEND_CONNECTIONS, LOCK_GLANCE_SECONDS)
        self._for_held_rows = pool(APPEND_CONNECTIONS, LOCK_WAIT_SECONDS)
        self._for_streams = pool(connections)
        self.warnings: tuple[str, ...] = ()
        self.stamps: Stamps = draw_stamp
        PostgresStreams.__init__(self, self._sql, self._for_streams)
        PostgresPruning.__init__(self, self._sql, self._shared)

    @property
    def epoch(self) -> int:
        """See Store.epoch."""
        return self._servers.epoch

    async def check(self) -> None:
        """Raise unless server and schema are what this version needs; ``warnings`` is what an operator should know."""
        async with self._shared.use() as held, translating(self._shared.dsn):
            self.warnings = await check(held.connection, self._sql.namespace)

    async def start(self, run: NewRun) -> Started:
        """See Store.start."""
        admit_run(run)
        admit_id(run.run_id)
        stamp = self.stamps()
        (row,) = await self._shared.write(
            self._sql["start_run"],
            *start_arguments(run),
            stamp,
        )
        return Started(str(row["o_run"]), row["o_created"], row["o_payload"], row["o_starts_in"])

    async def append(self, batches: Sequence[Batch], *, wait: bool = True) -> list[Verdict]:
        """See Store.append. Raises Unstorable if a batch can never land."""
        if not batches:
            return []
        admit_all(batches)
        in_order = sorted(batches, key=lambda batch: batch.run_id)
        stamp = self.stamps()
        async with (self._for_held_rows if wait else self._for_appends).use() as held:
            try:
                found = await append_on(held, self._sql, in_order, stamp)
            except RowHeld:
                if len(batches) > 1:  # of several rows nobody waits for any: it was for a token
                    raise
                found = [Verdict(Outcome.busy, 0, 0, 0, RunStatus.pending)]
        by_run = {batch.run_id: verdict for batch, verdict in zip(in_order, found, strict=True)}
        return [by_run[batch.run_id] for batch in batches]

    async def load(self, run_id: str, after_seq: int = 0, stamp: int | None = None) -> Loaded | None:
        """See Store.load. A long log comes in pages, all of them below the last_seq of the first."""
        if not is_run_id(run_id):
            return None
        async with self._shared.use() as held:
            return await load_on(held, self._sql, run_id, after_seq, stamp)

    async def load_entity(self, run_id: str, entity: str) -> Loaded | None:
        """See Store.load_entity."""
        row = await self._one("load_entity", run_id, entity) if is_run_id(run_id) else None
        if row is None:
            return None
        events = () if row["seqs"] is None else events_of(row, row["seqs"], run_id)
        return Loaded(run_of(row), events, row["now"])

    async def beat(self, run_id: str, entity: str, attempt: int, details: bytes, stamp: int | None = None) -> bool:
        """See Store.beat."""
        return bool(await self._shared.write(self._sql["beat"], run_id, entity, attempt, details, stamp))

    async def last_beat(self, run_id: str, entity: str) -> bytes | None:
        """See Store.last_beat."""
        row = await self._one("last_beat", run_id, entity)
        return None if row is None else bytes(row["details"])

    async def forget_beat(self, run_id: str, entity: str) -> None:
        """See Store.forget_beat."""
        await self._one("forget_beat", run_id, entity)

    async def join(self) -> Joint:
        """A transaction for a step's body, whose commit may carry the step's end. Raises StoreTrouble."""
        return await Joint.begin(self._joints, self._sql, self._timeout)

    async def identity(self) -> tuple[str, datetime]:
        """What a connection must answer to be one to this namespace: its database's name, and since when it has the
        namespace.
        """
        (row,) = await self._shared.fetch(self._sql["identity"])
        return row["database"], row["since"]

    def joined_start(self) -> str:
        """The statement that starts a run on somebody else's connection. Its last two parameters are ``identity``."""
        return self._sql["start_run_joined"]

    async def touch(self, run_id: str, fence: int, seen: int, wake_at: int | None, stamp: int | None = None) -> Verdict:
        """See Store.touch."""
        return await self._fenced("touch", run_id, fence, stamp, seen, wake_at, stamp)

    async def park(self, run_id: str, fence: int, parked: Parked, stamp: int | None = None) -> Verdict:
        """See Store.park."""
        why = msgspec.json.encode(printable(parked)).decode()
        return await self._fenced("park", run_id, fence, stamp, why, stamp)

    @asynccontextmanager
    async def locked(self, run_id: str, budget_seconds: float) -> AsyncGenerator[Locked]:
        """See Store.locked."""
        admit_id(run_id)
        budget = max(1, int(budget_seconds * 1_000))
        async with self._own.use() as held, held.transaction(Budget(budget, budget, budget, budget)):
            if not await held.fetch(self._sql["lock_run"], run_id):
                raise StoreTrouble(f"run {run_id} does not exist, so its row cannot be locked")
            yield _PostgresLocked(held, self._sql, run_id, self.stamps)

    async def find_hook(self, token: str) -> LiveHook | None:
        """See Store.find_hook."""
        row = await self._one("find_hook", token) if "\0" not in token else None
        return None if row is None else LiveHook(row["token"], str(row["run_id"]), row["entity"], row["queue"])

    async def trace_token(self, token: str, delivery: str | None = None) -> TokenTrace | None:
        """See Store.trace_token."""
        row = await self._one("trace_token", token, delivery) if "\0" not in token + (delivery or "") else None
        return None if row is None else trace_of(row, token)

    async def get(self, run_id: str) -> Run | None:
        """See Store.get."""
        row = await self._one("get", run_id) if is_run_id(run_id) else None
        return None if row is None else run_of(row)

    async def find_key(self, workflow: str, key: str) -> Run | None:
        """See Store.find_key."""
        row = await self._one("find_key", workflow, key) if "\0" not in workflow + key else None
        return None if row is None else run_of(row)

    async def newest_child(self, parent: str) -> Run | None:
        """See Store.newest_child."""
        row = await self._one("newest_child", parent) if "\0" not in parent else None
        return None if row is None else run_of(row)

    async def list_runs(self, where: RunFilter, limit: int, before: str | None = None) -> list[Run]:
        """See Store.list_runs."""
        statuses = [int(status) for status in where.statuses] or None
        wanted = msgspec.json.encode(dict(where.attributes)).decode()
        asked = (before, where.workflow, statuses, where.queue, wanted, limit)
        if where.parent is None:
            return [run_of(row) for row in await self._shared.fetch(self._sql["list_runs"], *asked)]
        return [run_of(row) for row in await self._shared.fetch(self._sql["list_children"], *asked, where.parent)]

    async def details(self, run_ids: Sequence[str]) -> dict[str, RunDetails]:
        """See Store.details."""
        asked = [run_id for run_id in run_ids if is_run_id(run_id)]
        rows = await self._shared.fetch(self._sql["details"], asked) if asked else []
        return {str(row["run_id"]): details_of(row) for row in rows}

    async def take_due(self, limit: int, next_in: int) -> list[DueRun]:
        """See Store.take_due. Each comes with the deadline that has passed. A statement looks at as many as are wanted
        still, so that it holds no more rows than that; what it has moved is not looked at again."""
        found: list[DueRun] = []
        while wanted := limit - len(found):
            rows = await self._shared.fetch(self._sql["take_due"], wanted, next_in)
            found += [due_of(row) for row in rows if row["due"]]
            if len(rows) < wanted:
                break
        return sorted(found, key=lambda run: (run.wake_at or 0, run.run_id))

    async def scan_deadlines(self, after_run_id: str | None, limit: int) -> list[DueRun]:
        """See Store.scan_deadlines."""
        return [due_of(row) for row in await self._shared.fetch(self._sql["scan_deadlines"], after_run_id, limit)]

    async def take_parked(self, build: str, limit: int) -> list[DueRun]:
        """See Store.take_parked. Those without a deadline first, so that a few hopeless runs cannot use up the
        limit."""
        return [due_of(row) for row in await self._shared.fetch(self._sql["take_parked"], build, limit)]

    async def now(self) -> int:
        """See Store.now."""
        (row,) = await self._shared.fetch(self._sql["now"])
        instant: int = row["now"]
        return instant

    async def writable(self) -> None:
        """See Store.writable."""
        async with self._shared.use() as held:
            if not await held.fetch(self._sql["writable"]):
                held.distrust()
                raise read_only(self._shared.dsn)

    async def close(self) -> None:
        """See Store.close."""
        pools = (self._shared, self._joints, self._own, self._for_streams, self._for_appends, self._for_held_rows)
        await asyncio.gather(*(pool.close() for pool in pools))

    async def _one(self, statement: str, *args: object) -> Row | None:
        rows = await self._shared.fetch(self._sql[statement], *args)
        return rows[0] if rows else None

    async def _fenced(self, statement: str, run_id: str, fence: int, stamp: int | None, *args: object) -> Verdict:
        """An update that asks for the fence; what the run was instead is asked for only if it did not fit. A row that
        somebody else holds is trouble, and no connection that others need waits for it.
        """
        admit_id(run_id)
        rows = await self._for_held_rows.write(self._sql[statement], run_id, fence, *args)
        if rows:
            row = rows[0]
            status = RunStatus(row["status"])
            return Verdict(Outcome.ok, row["last_seq"], row["fence"], row["now"], status, stamp=row["stamp"])
        row = await self._one("get", run_id)
        if row is None:
            return Verdict(Outcome.refused, 0, 0, await self.now(), RunStatus.pending)
        run = run_of(row)
        # Fitting now can only mean that the run has ended, for a fence never comes again.
        fits = run.fence == fence and stamp in (None, run.stamp)
        outcome = Outcome.refused if fits else Outcome.conflict
        return Verdict(outcome, run.last_seq, run.fence, row["now"], run.status, stamp=run.stamp)


class _PostgresLocked:
    """The open transaction of ``locked``."""

    def __init__(self, held: Held, sql: Statements, run_id: str, stamps: Stamps) -> None:
        self._held = held
        self._sql = sql
        self._run_id = run_id
        self._stamps = stamps

    async def load(self, after_seq: int, stamp: int | None = None) -> Loaded:
        """See Locked.load."""
        loaded = await load_on(self._held, self._sql, self._run_id, after_seq, stamp)
        assert loaded is not None, f"run {self._run_id} has gone while its row was locked"
        return loaded

    async def append(self, batch: Batch) -> Verdict:
        """See Locked.append."""
        admit(batch)
        if batch.run_id != self._run_id:
            raise ValueError(f"the lock is for run {self._run_id}, the batch for run {batch.run_id}")
        (verdict,) = await append_on(self._held, self._sql, [batch], self._stamps())
        return verdict

    async def move(self, queue: str) -> None:
        """See Locked.move."""
        await self._held.fetch(self._sql["move"], self._run_id, queue)


async def load_on(held: Held, sql: Statements, run_id: str, after_seq: int, stamp: int | None = None) -> Loaded | None:
    """Load on a connection, page by page."""
    rows = await held.fetch(sql["load"], run_id, after_seq, PAGE_EVENTS, PAGE_BYTES, stamp)
    if not rows:
        return None
    run, now, after_seq = run_of(rows[0]), rows[0]["now"], rows[0]["after"]
    if after_seq > run.last_seq:
        raise CorruptLog(f"run {run_id}: the caller has seen seq {after_seq}, the log ends at {run.last_seq}")
    events = page_of(rows[0], run_id, after_seq)
    tail = after_seq + len(events)
    while events and tail < run.last_seq:
        count = min(PAGE_EVENTS, run.last_seq - tail)
        rows = await held.fetch(sql["load"], run_id, tail, count, PAGE_BYTES, events[-1].stamp)
        if not rows:
            return None  # pruned between two pages
        if rows[0]["after"] != tail:
            raise StoreTrouble(f"run {run_id}: its log has changed between two pages, at seq {tail}: another server")
        page = page_of(rows[0], run_id, tail)
        if not page:
            break
        events += page
        tail += len(page)
    if tail != run.last_seq:
        raise CorruptLog(f"run {run_id}: the log ends at seq {tail}, its row says {run.last_seq}")
    return Loaded(run, events, now, after_seq)
