"""Follows the rows, and if wanted the events, of many open runs with one connection of its own to Postgres."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, cast

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import msgspec

from fencepost_store.events import EventType
from fencepost_store.protocol import RunStatus

CONNECT_SECONDS = 5.0
CALL_SECONDS = 10.0


class Followed(msgspec.Struct):
    """What is known of a run. ``moved``: microseconds, when its log was last seen to be longer, by its row."""

    status: RunStatus = RunStatus.pending
    last_seq: int = 0
    moved: int = 0

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        return self.status.ended


class Seen(msgspec.Struct, frozen=True):
    """An event as far as followers want it."""

    run: str
    seq: int
    type: EventType
    entity: str
    token: str | None
    at: int
    due: int | None


class Follower:
    """``watch`` runs; ``ended(run)`` waits. ``on_event``: called for each new event of the ``types``."""

    def __init__(
        self,
        url: str,
        namespace: str,
        *,
        period: float,
        types: tuple[EventType, ...] = (),
        on_event: Callable[[Seen], None] | None = None,
    ) -> None:
        self.runs: dict[str, Followed] = {}
        self.open: set[str] = set()
        self._url = url
        self._namespace = namespace
        self._period = period
        self._types = [int(kind) for kind in types]
        self._on_event = on_event
        self._waiting: dict[str, asyncio.Future[Followed]] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Follower:
        self._task = asyncio.create_task(self._follow(), name="follower")
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def watch(self, run_id: str) -> None:
        """Follow this run from its first event until its end. Idempotent."""
        if run_id not in self.runs:
            self.runs[run_id] = Followed()
            self.open.add(run_id)

    async def ended(self, run_id: str) -> Followed:
        """Wait for the end of a run, or for its being parked."""
        self.watch(run_id)
        known = self.runs[run_id]
        if known.ended:
            return known
        waiting = self._waiting.setdefault(run_id, asyncio.get_running_loop().create_future())
        return await asyncio.shield(waiting)

    def forget(self) -> None:
        """Forget all runs."""
        self.runs.clear()
        self.open.clear()
        for waiting in self._waiting.values():
            waiting.cancel()
        self._waiting.clear()

    async def _follow(self) -> None:
        """Look again and again; a server that is away is waited for."""
        while True:
            with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                connection = await cast(Any, asyncpg).connect(
                    self._url, timeout=CONNECT_SECONDS, command_timeout=CALL_SECONDS
                )
                try:
                    while True:
                        await self._look(connection)
                        await asyncio.sleep(self._period)
                finally:
                    connection.terminate()
            await asyncio.sleep(self._period)

    async def _look(self, connection: Any) -> None:
        ids = list(self.open)
        if not ids:
            return
        if self._on_event is not None:
            rows = await connection.fetch(
                "SELECT e.run_id, e.seq, e.type, e.entity, e.token, e.at, e.due"
                " FROM unnest($1::uuid[], $2::integer[]) AS f (run, seq)"
                f" JOIN {self._namespace}.events e ON e.run_id = f.run AND e.seq > f.seq AND e.type = ANY ($3)"
                " ORDER BY e.run_id, e.seq",
                ids,
                [self.runs[run].last_seq for run in ids],
                self._types,
            )
            newest = await self._rows(connection, ids)
            for row in rows:
                run = str(row["run_id"])
                if run in self.runs and row["seq"] > self.runs[run].last_seq:
                    kind = EventType(row["type"])
                    event = Seen(run, row["seq"], kind, row["entity"], row["token"], row["at"], row["due"])
                    self._on_event(event)
            # The rows were read after the events: what has landed between is looked at next time.
            seen = {str(row["run_id"]): row["seq"] for row in rows}
            for run, row in newest.items():
                self._take(run, row, max(self.runs[run].last_seq, seen.get(run, 0)) if run in self.runs else 0)
            return
        for run, row in (await self._rows(connection, ids)).items():
            self._take(run, row, row["last_seq"])

    async def _rows(self, connection: Any, ids: list[str]) -> dict[str, Any]:
        rows = await connection.fetch(
            f"SELECT run_id, status, last_seq, updated_at FROM {self._namespace}.runs WHERE run_id = ANY ($1::uuid[])",
            ids,
        )
        return {str(row["run_id"]): row for row in rows}

    def _take(self, run: str, row: Any, seq: int) -> None:
        known = self.runs.get(run)
        if known is None:
            return
        known.status = RunStatus(row["status"])
        if row["updated_at"] > known.moved:
            known.moved = row["updated_at"]
        known.last_seq = max(known.last_seq, seq)
        if known.ended:
            self.open.discard(run)
        if known.ended or known.status is RunStatus.parked:
            waiting = self._waiting.pop(run, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(known)
