"""The store's connections: held open, each with its own prepared statements, and never reset between uses.

A pool's release asks the server to reset the session, which doubles the round trips of an append. Here nothing leaves
state in a session, so there is nothing to reset. A connection on which anything went wrong but a plain SQL error is
thrown away, and the next use makes another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

from fencepost_store.driver import (
    CLOSE_SECONDS,
    CONNECT_SECONDS,
    PROCESS,
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
from fencepost_store.statements import of_no_namespace
from fencepost_store.translation import translated, translating, where

SURE_SECONDS = 10.0
"""A connection that was idle for less is taken as it is. Balancers and firewalls forget an idle one after minutes; that
is found by a question, or the call that comes next would wait for its whole time (H130)."""
ANSWER_SECONDS = 5.0
"""What the answer to that question may take."""


class Held:
    """One connection, whose driver's errors come out as the store's. ``prepared`` False: every statement runs in a
    transaction of its own and leaves nothing behind, for poolers that give each transaction another server.
    ``pooled``: whether there is one, as far as was asked."""

    def __init__(self, connection: Connection, dsn: str, *, prepared: bool, pooled: bool = False) -> None:
        self.pooled: bool = pooled
        self.connection = connection
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
        await self._begin()
        try:
            rows = await self.connection.fetch(sql, *args)
        except PostgresError:
            await self._end("rollback")
            raise
        await self._end("commit")
        return rows

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[None]:
        """Commit if the block is left without an exception. What the block raises comes out as it is. A cancelled block
        costs the connection: the server rolls back when it sees it gone, which no further cancellation can prevent."""
        with self._translating():
            await self._begin()
        try:
            yield
        except Exception:
            if not self.connection.is_closed():
                with self._translating():
                    await self._end("rollback")
            raise
        with self._translating():
            await self._end("commit")

    async def _begin(self) -> None:
        """A transaction under our settings for plans, which a session of ours has once and for all."""
        await self.connection.execute(of_no_namespace("begin_planned"))

    async def _end(self, how: str) -> None:
        await self.connection.execute(of_no_namespace(how))

    @contextmanager
    def _translating(self, *, writes: bool = True) -> Generator[None]:
        try:
            yield
        except PostgresError as error:
            self.healthy = self.healthy and not isinstance(error, InvalidCachedStatementError)
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
    """At most ``size`` connections to one database, each of whose statements has ``command_timeout_seconds``. Raises
    what ``trouble.translated`` makes of a driver's errors. ``plans`` False: for statements that are not ours, and are
    left to the planner. ``servers``: is told where each
    leads to."""

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
    ) -> None:
        assert size >= 1, f"connections must be at least 1, not {size}"
        self.dsn = dsn
        self._prepared = prepared
        self._plans = plans
        self._timeout = command_timeout_seconds
        self._connect_seconds = connect_seconds
        self._servers = servers or Servers()
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
            if _now() - held.idle_since < SURE_SECONDS or await _answers(held.connection):
                return held
            for one in [one for one in self._idle if one.idle_since <= held.idle_since]:  # the same has met them
                self._idle.remove(one)
                one.connection.terminate()
        async with translating(self.dsn):
            connection = await self._connect(prepared=self._prepared)
            pooled, passed_on = await _pooler(connection) if self._prepared else (False, False)
            if passed_on:
                connection.terminate()  # its driver would prepare by itself
                connection, prepared = await self._connect(prepared=False), False
            else:
                prepared = self._prepared
            try:
                self._servers.met(await identity_of(connection))
                if prepared and self._plans and not pooled:  # else it would be the pooler's other clients' as well
                    await connection.execute(of_no_namespace("plans"))
            except BaseException:
                connection.terminate()
                raise
        return Held(connection, self.dsn, prepared=prepared, pooled=pooled or passed_on)

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
        if held.healthy and not self._closed and not held.connection.is_in_transaction():
            held.idle_since = _now()
            held.used_before = True
            self._idle.append(held)
        else:
            # A statement that was cancelled, timed out or lost may still run; its outcome is unknown and its session
            # not ours any more.
            held.connection.terminate()


async def _pooler(connection: Connection) -> tuple[bool, bool]:
    """Whether a pooler stands before the server, and whether it passes prepared statements on as they come, so that the
    next transaction may meet another server, and another client's statements there (H186). A pooler logs us in with a
    process id of its own making; one that knows prepared statements gives them names of its own.
    """
    name = f"fencepost_{PROCESS}_probe"
    async with connection.transaction(isolation="read_committed"):
        statement = await connection.prepare(of_no_namespace("backend"), name=name)
        (row,) = await statement.fetch(name)
        pooled = row["pid"] != connection.get_server_pid()
        passed_on = pooled and bool(row["as_named"])
        if passed_on:
            await connection.execute(of_no_namespace("forget_probe").format(name=name))
    return pooled, passed_on


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _answers(connection: Connection) -> bool:
    """Whether it is still one; else it is cut. A network may have dropped it, and told nobody."""
    answered = False
    try:
        await connection.execute(of_no_namespace("ping"), timeout=ANSWER_SECONDS)
        answered = True
    except (OSError, PostgresError, InterfaceError):
        pass  # the next connection will say what is wrong, if anything is
    finally:
        if not answered:
            connection.terminate()
    return answered


async def _closed(connection: Connection) -> None:
    """In good order, if the server hears of it."""
    try:
        await connection.close(timeout=CLOSE_SECONDS)
    except (OSError, PostgresError, InterfaceError):
        connection.terminate()
