"""Transactions of steps' bodies over a wire: what a body writes is in the table if, and only if, the commit that
carries its step's end has landed.
"""

# Two sides of one wire.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
from tests.simulate.bodies import Body
from tests.simulate.plan import Node
from tests.simulate.wires import Transaction, Wire

from fencepost import transaction
from fencepost_store.memory import MemoryStore
from fencepost_store.protocol import Batch, StoreTrouble, Verdict

BUDGET_SECONDS = 5.0
"""As the real one's: how long the server lets the run's row be held."""


class Booked(msgspec.Struct, frozen=True):
    """A row of a user's table, and the body that wrote it."""

    run: int
    entity: str
    attempt: int
    body: int


class Session:
    """What a body has of its transaction."""

    def __init__(self) -> None:
        self.rows: list[Booked] = []
        self.ended: Callable[[], Exception] | None = None

    def write(self, row: Booked) -> None:
        """Until the commit nobody sees it. Behind its block it is refused."""
        if self.ended is not None:
            raise self.ended()
        self.rows.append(row)


class SimJoint:
    """As ``fencepost_store.joint.Joint``. ``table``: the rows that are committed."""

    def __init__(self, wire: Wire, store: MemoryStore, table: list[Booked]) -> None:
        self.connection = Session()
        self._wire = wire
        self._store = store
        self._table = table
        self._row: Transaction | None = None
        self.ours = True

    @classmethod
    async def begin(cls, wire: Wire, store: MemoryStore, table: list[Booked]) -> SimJoint:
        """Raises StoreTrouble."""
        await wire.call("store", "begin", _nothing, StoreTrouble)
        return cls(wire, store, table)

    def lend(self, ended: Callable[[], Exception]) -> Session:
        """See Joint.lend."""
        self._ended = ended
        return self.connection

    def revoke(self) -> bool:
        """See Joint.revoke. A session here has no statement under way."""
        self.connection.ended = self._ended
        return False

    def is_stale(self, error: Exception) -> bool:
        """A session here keeps no statements."""
        return False

    async def seal(self) -> None:
        """Raises what a driver would: to the body it is an error like any other."""
        try:
            await self._wire.call("store", "seal", _nothing, StoreTrouble)
        except StoreTrouble as trouble:
            raise ConnectionError(str(trouble)) from trouble

    async def append(self, batch: Batch) -> Verdict:
        """Takes the run's row, and keeps it."""
        self._row = row = Transaction(self._wire, self._store, batch.run_id, BUDGET_SECONDS)
        row.on_commit = partial(self._table.extend, self.connection.rows)
        async with self._cut_off():
            await row.begin()
            verdict: Verdict = await row.ask(lambda locked: locked.append(batch))
        return verdict

    async def commit(self) -> None:
        """Raises StoreTrouble: then nobody here knows."""
        row = self._row
        assert row is not None
        async with self._cut_off():
            await self._wire.call("store", "commit", row.commit, StoreTrouble)

    async def roll_back(self) -> None:
        """Nothing of it is kept."""
        self.close()
        await self._wire.call("store", "rollback", _nothing, StoreTrouble)

    async def clean(self) -> None:
        """For the next one."""
        await self._wire.call("store", "reset", _nothing, StoreTrouble)

    def close(self) -> None:
        """The server sees the connection end."""
        if self._row is not None:
            self._row.end(commit=False)

    @asynccontextmanager
    async def _cut_off(self) -> AsyncGenerator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise


async def _nothing() -> None:
    """What the server does then changes nothing that anybody sees."""


async def book(body: Body, node: Node) -> None:
    """One row; that of an attempt that fails is not to be seen."""
    async with transaction() as connection:
        session: Any = connection
        await asyncio.sleep(node.seconds / 2)
        session.write(Booked(body.run, body.entity, body.attempt, body.number))
        await asyncio.sleep(node.seconds / 2)
        if body.attempt <= node.fails:
            body.erred = True
            raise ValueError(f"attempt {body.attempt} fails with its row written")
