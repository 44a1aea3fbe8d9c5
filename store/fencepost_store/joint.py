"""A transaction that user code fills and whose commit carries an event: a step's writes and its end land together, or
neither does.

Order of locks: the user's own first, the run's row last, and nothing behind it: what the user's tables have deferred is
checked before (``seal``). The row is held from the append to the commit, never while user code runs, and a worker that
freezes in between loses it to the server's time limit (H123).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fencepost_store.admission import admit
from fencepost_store.connections import Connections, Held
from fencepost_store.driver import Connection
from fencepost_store.protocol import Batch, Verdict
from fencepost_store.statements import Statements
from fencepost_store.translation import translated
from fencepost_store.wire import arguments, verdicts


class TransactionEnded(Exception):
    """The user's code has committed or rolled back by itself."""


class Joint:
    """One open transaction at READ COMMITTED. Whatever happens, ``close`` it."""

    def __init__(self, pool: Connections, held: Held, sql: Statements, timeout_seconds: float) -> None:
        self._pool = pool
        self._held: Held | None = held
        self._sql = sql
        self._timeout = timeout_seconds
        self._fit = False
        self.connection: Connection = held.connection
        self._transaction = held.connection.transaction(isolation="read_committed")

    @classmethod
    async def begin(cls, pool: Connections, sql: Statements, timeout_seconds: float) -> Joint:
        """Begin on a connection of the pool; waits if all are in use. Raises StoreTrouble."""
        joint = cls(pool, await pool.lend(), sql, timeout_seconds)
        try:
            async with joint._ours():
                await joint._transaction.start()
                await joint.connection.execute(sql["begin"])
        except BaseException:
            joint.close()
            raise
        return joint

    @property
    def timeout_seconds(self) -> float:
        """What each statement has, the user's too unless it is given a timeout of its own."""
        return self._timeout

    async def seal(self) -> None:
        """The user's part is over: deferred constraints are checked, time limits begin. Raises TransactionEnded, and
        the driver's own errors, for a broken constraint is the user's.
        """
        if not self.connection.is_in_transaction():
            raise TransactionEnded
        await self.connection.execute(self._sql["seal"])

    async def append(self, batch: Batch) -> Verdict:
        """As Locked.append: takes the run's row until ``commit``. Raises StoreTrouble, Unstorable."""
        admit(batch)
        async with self._ours():
            (row,) = await self.connection.fetch(self._sql["append"], *arguments([batch], careful=True))
        (verdict,) = verdicts(row, [batch])
        return verdict

    async def commit(self) -> None:
        """Commit. Raises StoreTrouble: then it may or may not have landed, but for RolledBack (it has not)."""
        async with self._ours():
            await self._transaction.commit()

    async def roll_back(self) -> None:
        """Take everything back and let the locks go. Raises StoreTrouble."""
        async with self._ours():
            await self._transaction.rollback()

    async def clean(self) -> None:
        """Take from the session what user code has left in it, so that another may use it. Raises StoreTrouble."""
        async with self._ours():
            await self.connection.reset()
        self._fit = True

    def close(self) -> None:
        """Give the connection back if it has been cleaned. Any other is cut, and the server rolls back what is open.
        Idempotent.
        """
        held, self._held = self._held, None
        if held is not None:
            held.healthy = held.healthy and self._fit
            self._pool.give_back(held)

    @asynccontextmanager
    async def _ours(self) -> AsyncGenerator[None]:
        """Bounded in time; the driver's errors as the store's; after any error the session is not used again."""
        assert self._held is not None, "the transaction is closed"
        held = self._held
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except BaseException as error:
            held.healthy = False
            ours = translated(error, self._pool.dsn) if isinstance(error, Exception) else None
            if ours is None:
                raise
            raise ours from error
