"""The store's connections: held open, each with its own prepared statements, and never reset between uses.

A pool's release asks the server to reset the session, which doubles the round trips of an append. Here nothing leaves
state in a session, so there is nothing to reset. A connection on which anything went wrong but a plain SQL error is
thrown away, and the next use makes another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

import msgspec

from fencepost_store.driver import (
    CLOSE_SECONDS,
    CONNECT_SECONDS,
    Connection,
    InterfaceError,
    InvalidCachedStatementError,
    PostgresError,
    Row,
    Statement,
    connect,
)
from fencepost_store.protocol import StoreTrouble
from fencepost_store.servers import Servers, identity_of
from fencepost_store.sessions import Budget, begin, end, is_fit, is_writable, pooler, transaction
from fencepost_store.statements import of_no_namespace
from fencepost_store.translation import is_of_role, read_only, translated, translating, where

SURE_SECONDS = 10.0
"""A connection that was idle for less is taken as it is. Balancers and firewalls forget an idle one after minutes, and
its server may be a standby by now; that is found by a question, or the call that comes next would wait for its whole
time (H130), or be sent to whoever cannot carry it out (H222)."""


class Era(msgspec.Struct):
    """How often a connection of some pools has turned out to lead to a server that takes no writes, or to a session
    that has gone bad. Connections of an earlier era are not used again."""

    number: int = 0


class Held:
    """One connection, whose driver's errors come out as the store's. ``prepared`` False: every statement runs in a
    transaction of its own, within ``budget``, and leaves nothing behind, for poolers that give each transaction another
    server. ``pooled``: whether there is one, as far as was asked."""

    def __init__(
        self,
        connection: Connection,
        dsn: str,
        pools_era: Era,
        era: int,
        budget: Budget,
        *,
        prepared: bool,
        pooled: bool = False,
    ) -> None:
        self.pooled: bool = pooled
        self.connection = connection
        self._pools_era = pools_era
        self._era = era
        self._budget = budget
        self.healthy: bool = True
        self.idle_since: float = 0.0
        self.used_before: bool = False
        self._dsn = dsn
        self.prepared: bool = prepared
        self._statements: dict[str, Statement] = {}

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        """The rows of a statement that brings nothing its caller has made: whatever the server has against it is
        trouble. In one round trip but for its first use here."""
        with self._translating(writes=False):
            return await self._rows(sql, *args)

    async def write(self, sql: str, *args: object) -> list[Row]:
        """As ``fetch``, for a statement that brings a caller's values: Unstorable says that they can never be kept."""
        with self._translating():
            return await self._rows(sql, *args)

    async def _rows(self, sql: str, *args: object) -> list[Row]:
        if self.prepared:
            statement = self._statements.get(sql)
            if statement is None:
                statement = self._statements[sql] = await self.connection.prepare(sql)
            return await statement.fetch(*args)
        if self.connection.is_in_transaction():
            return await self.connection.fetch(sql, *args)
        async with transaction(self.connection, self._budget):
            return await self.connection.fetch(sql, *args)

    @asynccontextmanager
    async def transaction(self, budget: Budget) -> AsyncGenerator[None]:
        """As ``sessions.transaction``. What the block raises comes out as it is. A cancelled block costs the
        connection."""
        with self._translating():
            await begin(self.connection, budget)
        try:
            yield
        except Exception:
            if not self.connection.is_closed():
                with self._translating():
                    await end(self.connection, "rollback")
            raise
        with self._translating():
            await end(self.connection, "commit")

    @property
    def trusted(self) -> bool:
        """Whether it may be used again: nothing went wrong on it, nor on another that leads to the same server."""
        return self.healthy and self._era == self._pools_era.number

    def distrust(self) -> None:
        """It leads to a server that takes no writes, or its session has gone bad: so have the others of its time, which
        nothing would ever make us give up, for such a server answers."""
        self.healthy = False
        if self._era == self._pools_era.number:
            self._pools_era.number += 1

    @contextmanager
    def _translating(self, *, writes: bool = True) -> Generator[None]:
        try:
            yield
        except PostgresError as error:
            self.healthy = self.healthy and not isinstance(error, InvalidCachedStatementError)
            if is_of_role(error):
                self.distrust()
            raise self._ours(error, writes=writes) from error
        except Exception as error:
            self.healthy = False
            ours = self._ours(error, writes=writes)
            if ours is error:
                raise
            raise ours from error
        except BaseException:
            self.healthy = False
            raise

    def _ours(self, error: Exception, *, writes: bool) -> Exception:
        return translated(error, self._dsn, writes=writes) or error


class Connections:
    """At most ``size`` connections to one database, each of whose statements has ``command_timeout_seconds``, and waits
    ``lock_seconds`` at most for locks that others hold (0: for all of that). Raises what ``trouble.translated`` makes
    of a driver's errors. ``plans`` False: for statements that are not ours, and are left to the planner. ``era``: one
    for all pools of a database. ``servers``: is told where each leads to."""

    def __init__(
        self,
        dsn: str,
        size: int,
        *,
        prepared: bool,
        command_timeout_seconds: float,
        connect_seconds: float = CONNECT_SECONDS,
        plans: bool = True,
        servers: Servers | None = None,
        lock_seconds: float = 0.0,
        era: Era | None = None,
    ) -> None:
        assert size >= 1, f"connections must be at least 1, not {size}"
        self.dsn = dsn
        self._prepared = prepared
        self._plans = plans
        self._timeout = command_timeout_seconds
        self._connect_seconds = connect_seconds
        self._servers = servers or Servers()
        self._budget = Budget(lock_ms=int(lock_seconds * 1_000), statement_ms=int(command_timeout_seconds * 1_000))
        self._era = era or Era()
        self._free = asyncio.Semaphore(size)
        self._idle: list[Held] = []
        self._busy: set[Held] = set()
        self._closed = False

    async def fetch(self, sql: str, *args: object) -> list[Row]:
        """Run one statement on a free connection; wait for one if all are in use."""
        async with self.use() as held:
            return await held.fetch(sql, *args)

    async def write(self, sql: str, *args: object) -> list[Row]:
        """As ``fetch``, for a statement that brings a caller's values."""
        async with self.use() as held:
            return await held.write(sql, *args)

    @asynccontextmanager
    async def use(self) -> AsyncGenerator[Held]:
        """A connection for as long as the block runs."""
        held = await self.lend()
        try:
            yield held
        finally:
            self.give_back(held)

    async def lend(self) -> Held:
        """A connection until it is given back: for a use that is no block. Waits if all are in use."""
        await self._free.acquire()
        try:
            held = await self._take()
        except BaseException:
            self._free.release()
            raise
        self._busy.add(held)
        return held

    async def close(self) -> None:
        """Close the idle connections and drop the busy ones. Idempotent; what comes later raises StoreTrouble."""
        self._closed = True
        for held in list(self._busy):
            held.connection.terminate()
        idle, self._idle = self._idle, []
        await asyncio.gather(*(_closed(held.connection) for held in idle))

    async def _take(self) -> Held:
        if self._closed:
            raise StoreTrouble(f"the store's connections to {where(self.dsn)} are closed")
        while self._idle:
            held = self._idle.pop()
            if held.connection.is_closed():
                continue
            if not held.trusted:
                held.connection.terminate()
                continue
            if _now() - held.idle_since < SURE_SECONDS or await is_fit(held.connection):
                return held
            for one in [one for one in self._idle if one.idle_since <= held.idle_since]:  # the same has met them
                self._idle.remove(one)
                one.connection.terminate()
        return await self._made()

    async def _made(self) -> Held:
        """A new one, to a server that takes writes."""
        era = self._era.number
        async with translating(self.dsn):
            connection, prepared, pooled = await self._connect(prepared=self._prepared), self._prepared, False
            try:
                if prepared:
                    pooled, passed_on = await pooler(connection)
                    if passed_on:
                        connection.terminate()  # its driver would prepare by itself
                        connection, prepared = await self._connect(prepared=False), False
                if not await is_writable(connection):
                    raise read_only(self.dsn)
                self._servers.met(await identity_of(connection))
                if prepared and not pooled:  # else it would be the pooler's other clients' as well
                    if self._plans:
                        await connection.execute(of_no_namespace("plans"))
                    if self._budget.lock_ms:
                        await connection.execute(of_no_namespace("lock_wait").format(lock_ms=self._budget.lock_ms))
            except BaseException:
                connection.terminate()
                raise
        return Held(connection, self.dsn, self._era, era, self._budget, prepared=prepared, pooled=pooled)

    async def _connect(self, *, prepared: bool) -> Connection:
        return await connect(
            self.dsn,
            prepared=prepared,
            command_timeout_seconds=self._timeout,
            connect_seconds=self._connect_seconds,
        )

    def give_back(self, held: Held) -> None:
        """The other end of ``lend``. One that is unhealthy or in a transaction is thrown away."""
        self._free.release()
        self._busy.discard(held)
        if held.trusted and not self._closed and not held.connection.is_in_transaction():
            held.idle_since = _now()
            held.used_before = True
            self._idle.append(held)
        else:
            # A statement that was cancelled, timed out or lost may still run; its outcome is unknown and its session
            # not ours any more.
            held.connection.terminate()


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _closed(connection: Connection) -> None:
    """In good order, if the server hears of it."""
    try:
        await connection.close(timeout=CLOSE_SECONDS)
    except (OSError, PostgresError, InterfaceError):
        connection.terminate()
