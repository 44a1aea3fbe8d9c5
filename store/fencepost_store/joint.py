"""A transaction that user code fills and whose commit carries an event: a step's writes and its end land together, or
neither does.

Order of locks: the user's own first, the run's row last, and nothing behind it: what the user's tables have deferred is
checked before (``seal``). The row is held from the append to the commit, never while user code runs, and a worker that
freezes in between loses it to the server's time limit (H123).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fencepost_store.admission import admit
from fencepost_store.connections import Connections, Held
from fencepost_store.driver import (
    APPLICATION_NAME,
    Connection,
    InvalidCachedStatementError,
    InvalidSQLStatementNameError,
    OutdatedSchemaCacheError,
)
from fencepost_store.lent import Loan, lend
from fencepost_store.protocol import Batch, Verdict
from fencepost_store.sessions import is_empty
from fencepost_store.stamps import draw_stamp
from fencepost_store.statements import Statements
from fencepost_store.translation import read_only, translated
from fencepost_store.wire import arguments, compared, verdicts

STALE = (InvalidCachedStatementError, InvalidSQLStatementNameError, OutdatedSchemaCacheError)
"""What comes of a statement that the driver has kept: its tables or types have changed, or somebody has called
DEALLOCATE ALL, which the server does not tell the driver."""


class TransactionEnded(Exception):
    """The user's code has committed or rolled back by itself: what is open now, if anything, is not what was begun."""


class MadeReadOnly(Exception):
    """The user's code has made the transaction read-only, so no event can land with it."""


class Joint:
    """One open transaction at READ COMMITTED. Whatever happens, ``close`` it."""

    def __init__(self, pool: Connections, held: Held, sql: Statements, timeout_seconds: float) -> None:
        self._pool = pool
        self._held: Held | None = held
        self._sql = sql
        self._timeout = timeout_seconds
        self._fit = False
        self._loan: Loan | None = None
        self._id = ""
        self.ours: bool = True
        self.connection: Connection = held.connection
        self._transaction = held.connection.transaction(isolation="read_committed")

    @classmethod
    async def begin(cls, pool: Connections, sql: Statements, timeout_seconds: float) -> Joint:
        """Begin on a connection of the pool; waits if all are in use. Raises StoreTrouble."""
        joint = cls(pool, await pool.lend(), sql, timeout_seconds)
        try:
            async with joint._ours():
                await joint._transaction.start()
                if is_empty(await joint.connection.execute(sql["begin"])):  # or the body's writes would fail, not we
                    joint._distrust()
                    raise read_only(pool.dsn)
                joint._id = joint._name().rpartition(" ")[2]
        except BaseException:
            joint.close()
            raise
        return joint

    def _distrust(self) -> None:
        if self._held is not None:
            self._held.distrust()

    @property
    def timeout_seconds(self) -> float:
        """What each statement has, the user's too unless it is given a timeout of its own."""
        return self._timeout

    def lend(self, ended: Callable[[], Exception]) -> Any:
        """The connection as user code is given it. ``ended`` makes the error for what is used behind ``take_back``."""
        self._loan, face = lend(self.connection, ended, self._watch)
        return face

    def revoke(self) -> bool:
        """Nothing that was lent works from now on. True: something of it is at work, which costs the session."""
        loan = self._loan
        assert loan is not None
        loan.open = False
        loan.unfit = loan.unfit or loan.under_way > 0
        return loan.under_way > 0

    def is_stale(self, error: Exception) -> bool:
        """Whether the error comes from what earlier users of the session have left in the driver, not from this one's
        statements. Then the session is not used again.
        """
        assert self._held is not None
        assert self._loan is not None
        stale = self._held.used_before and isinstance(error, STALE)
        self._loan.unfit = self._loan.unfit or stale
        return stale

    @property
    def lost(self) -> bool:
        """Whether the connection is gone."""
        return self.connection.is_closed()

    async def seal(self) -> None:
        """The user's part is over: deferred constraints are checked, time limits begin. Raises TransactionEnded,
        MadeReadOnly, and the driver's own errors, for a broken constraint is the user's.
        """
        if not self.ours or not (self.lost or self.connection.is_in_transaction()):
            raise TransactionEnded
        if is_empty(await self.connection.execute(self._sql["seal"])):
            if is_empty(await self.connection.execute(self._sql["writable"])):
                raise MadeReadOnly
            raise TransactionEnded

    async def append(self, batch: Batch) -> Verdict:
        """As Locked.append: takes the run's row until ``commit``. Raises StoreTrouble, Unstorable."""
        admit(batch)
        stamp = draw_stamp()
        sent = (*arguments([batch], careful=True), *compared([batch], stamp))
        async with self._ours():
            (row,) = await self.connection.fetch(self._sql["append"], *sent)
        (verdict,) = verdicts(row, [batch], stamp)
        return verdict

    async def commit(self) -> None:
        """Commit. Raises StoreTrouble: then it may or may not have landed, but for RolledBack (it has not)."""
        async with self._ours():
            await self._transaction.commit()

    async def roll_back(self) -> None:
        """Take everything back and let the locks go. Raises StoreTrouble."""
        self._watch(failed=True)
        async with self._ours():
            await self._transaction.rollback()
            if self._id and self.ours:
                # What an error has followed in one call (COMMIT; BEGIN; SELECT 1 / 0) was not seen.
                self.ours = not is_empty(await self.connection.execute(self._sql["undone"].format(id=int(self._id))))

    async def clean(self) -> None:
        """Take from the session what user code has left in it, so that another may use it; where that cannot be done,
        it is not used again. Raises StoreTrouble.
        """
        if self._loan is not None and self._loan.unfit:
            return
        assert self._held is not None
        if not self._held.prepared:  # a pooler's session is gone with the transaction, and another's would be cleaned
            self._fit = True
            return
        async with self._ours():
            self._fit = not is_empty(await self.connection.execute(self._sql["clean"]))

    def _name(self) -> str:
        """The session's, as the server has reported it last."""
        return getattr(self.connection.get_settings(), "application_name", "")

    def _watch(self, *, failed: bool = False) -> None:
        """After each call of user code's that went well: is it still our transaction? The server takes the name back at
        its end, and at once where a statement has ``failed``."""
        if not self.lost:
            open_still = self.connection.is_in_transaction() and (failed or self._name() != APPLICATION_NAME)
            self.ours = self.ours and open_still

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
