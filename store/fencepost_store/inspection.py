"""What an audit reads of a namespace: whole logs without their payloads, each run from one snapshot. Nothing is
written.

Unlike ``Store.load`` it does not refuse what is damaged: finding that is the auditor's task.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from fencepost_store.connections import Connections
from fencepost_store.driver import Row
from fencepost_store.events import Event, EventType
from fencepost_store.migrations import check
from fencepost_store.protocol import Parked
from fencepost_store.statements import Statements
from fencepost_store.translation import translating

_TYPES = {int(event_type): event_type for event_type in EventType}


class Inspected(msgspec.Struct, frozen=True):
    """A run's row, log and tokens, from one snapshot. ``status`` is the number in the row, which may be none of
    RunStatus. ``events``: without payloads but for run_started's and cancel_requested's; ``unknown``: (seq, type) of
    those whose type this version does not know, which are not among them. ``held``: (entity, token) of its rows in
    ``hooks``. ``wake_at``, ``now``: microseconds, database clock.
    """

    run_id: str
    workflow: str
    queue: str
    status: int
    last_seq: int
    fence: int
    wake_at: int | None
    parked: Parked | None
    events: tuple[Event, ...]
    unknown: tuple[tuple[int, int], ...]
    held: tuple[tuple[str, str], ...]
    now: int


class Length(msgspec.Struct, frozen=True):
    """A run and how many events its row says that it has."""

    run_id: str
    last_seq: int


class Standing(msgspec.Struct, frozen=True):
    """Whether a run has ended, and its deadline."""

    ended: bool
    wake_at: int | None


class HeldToken(msgspec.Struct, frozen=True):
    """A row of ``hooks``. ``stray``: its run does not exist."""

    token: str
    run_id: str
    entity: str
    stray: bool


class Disagreement(msgspec.Struct, frozen=True):
    """Between a run and its relatives, or its attributes and its log: ``inspect_kin.sql``."""

    run_id: str
    code: str
    subject: str
    found: str


class Late(msgspec.Struct, frozen=True):
    """A run that no reconciler has looked at. ``age``: microseconds since its deadline passed."""

    run_id: str
    queue: str
    age: int


class Owner(msgspec.Struct, frozen=True):
    """A run that has rows in a table. ``stray``: it does not exist."""

    run_id: str
    stray: bool


async def connect(dsn: str, namespace: str, *, prepared: bool, command_timeout_seconds: float) -> Inspection:
    """Look at a migrated namespace. Raises as ``postgres.connect`` does."""
    inspection = Inspection(dsn, namespace, prepared=prepared, command_timeout_seconds=command_timeout_seconds)
    try:
        await inspection.check()
    except BaseException:
        await inspection.close()
        raise
    return inspection


class Inspection:
    """One connection that only reads. Raises StoreTrouble as the store does. Use ``connect``."""

    def __init__(self, dsn: str, namespace: str, *, prepared: bool, command_timeout_seconds: float) -> None:
        self._sql = Statements(namespace)
        self.warnings: tuple[str, ...] = ()
        self._connections = Connections(dsn, 1, prepared=prepared, command_timeout_seconds=command_timeout_seconds)

    async def check(self) -> None:
        """Raise unless server and schema are what this version needs; ``warnings`` is what an operator should know."""
        async with self._connections.use() as held, translating(self._connections.dsn):
            self.warnings = await check(held.connection, self._sql.namespace)

    async def page(self, after: str | None, limit: int, *, open_only: bool) -> list[Length]:
        """Runs above an id, by id."""
        rows = await self._connections.fetch(self._sql["inspect_page"], after, open_only, limit)
        return [Length(str(row["run_id"]), row["last_seq"]) for row in rows]

    async def runs(self, run_ids: Sequence[str]) -> list[Inspected]:
        """Those of the runs that exist, by id, each as it stands. All their logs are in memory at once."""
        return [_inspected(row) for row in await self._connections.fetch(self._sql["inspect"], list(run_ids))]

    async def standings(self, run_ids: Sequence[str]) -> dict[str, Standing]:
        """Those of the runs that exist."""
        rows = await self._connections.fetch(self._sql["inspect_ends"], list(run_ids))
        return {str(row["run_id"]): Standing(row["ended"], row["wake_at"]) for row in rows}

    async def tokens(self, after: str, limit: int) -> list[HeldToken]:
        """Rows of ``hooks`` above a token, by token."""
        rows = await self._connections.fetch(self._sql["inspect_tokens"], after, limit)
        return [HeldToken(row["token"], str(row["run_id"]), row["entity"], row["stray"]) for row in rows]

    async def kin(self, run_ids: Sequence[str], older: int) -> list[Disagreement]:
        """Where the runs and others disagree, of what is ``older`` microseconds old."""
        rows = await self._connections.fetch(self._sql["inspect_kin"], list(run_ids), older)
        return [Disagreement(str(row["run_id"]), row["code"], row["subject"], row["found"]) for row in rows]

    async def owners(self, table: str, after: str | None, limit: int) -> list[Owner]:
        """Runs above an id that have rows in ``heartbeats``, ``streams`` or ``run_attributes``, by id."""
        rows = await self._connections.fetch(self._sql[f"inspect_{table}"], after, limit)
        return [Owner(str(row["run_id"]), row["stray"]) for row in rows]

    async def late(self, by: int, limit: int) -> list[Late]:
        """Runs whose deadline passed more than ``by`` microseconds ago, longest ago first."""
        rows = await self._connections.fetch(self._sql["inspect_late"], by, limit)
        return [Late(str(row["run_id"]), row["queue"], row["now"] - row["wake_at"]) for row in rows]

    async def now(self) -> int:
        """The database clock, microseconds since the epoch."""
        (row,) = await self._connections.fetch(self._sql["now"])
        instant: int = row["now"]
        return instant

    async def close(self) -> None:
        """Give back the connection. Idempotent."""
        await self._connections.close()


def _inspected(row: Row) -> Inspected:
    names = ("seqs", "types", "entities", "attempts", "ats", "dues", "tokens", "dedupes", "payloads")
    columns: list[list[Any]] = [row[name] or [] for name in names]
    lines = list(zip(*columns, strict=True))
    return Inspected(
        run_id=str(row["run_id"]),
        workflow=row["workflow"],
        queue=row["queue"],
        status=row["status"],
        last_seq=row["last_seq"],
        fence=row["fence"],
        wake_at=row["wake_at"],
        parked=_parked(row["parked"]),
        events=tuple(Event(seq, _TYPES[kind], *rest) for seq, kind, *rest in lines if kind in _TYPES),
        unknown=tuple((seq, kind) for seq, kind, *_ in lines if kind not in _TYPES),
        held=tuple((entity, token) for entity, token in row["held"] or ()),
        now=row["now"],
    )


def _parked(value: str | None) -> Parked | None:
    try:
        return None if value is None else msgspec.json.decode(value, type=Parked)
    except msgspec.MsgspecError:
        return Parked("?", 0, "what cannot be read", value or "", "?")
