"""asyncpg as far as the store uses it, with types, because the driver ships none. Nothing else in the store imports
it."""

from __future__ import annotations

import functools
import importlib
import itertools
import os
import secrets
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

Row = Any
"""A Record: untyped in the driver, and taken apart in ``rows.py`` and ``wire.py`` only."""

CONNECT_SECONDS = 10.0
"""How long a server may take to let us in before that is trouble with the server."""

PROCESS = secrets.token_hex(5)
"""Part of every prepared statement's name. The driver counts from one in each process, and behind a pooler several of
them share a session."""

os.register_at_fork(after_in_child=lambda: globals().update(PROCESS=secrets.token_hex(5)))

CLOSE_SECONDS = 2.0
"""How long it may take to say good-bye: no worker's drain waits long for a network that has lost its server."""

APPLICATION_NAME = "fencepost"
"""What our sessions are called in pg_stat_activity."""

if TYPE_CHECKING:

    class PostgresError(Exception):
        """An error that the server reported."""

        sqlstate: str | None
        severity_en: str | None

    class InvalidCachedStatementError(PostgresError):
        """A prepared statement whose tables have changed."""

    class InvalidSQLStatementNameError(PostgresError):
        """A prepared statement that is not there any more."""

    class UniqueViolationError(PostgresError):
        """A unique index refused."""

    class InterfaceError(Exception):
        """The driver itself refused, or the connection is gone."""

    class InternalClientError(Exception):
        """The driver did not understand the server."""

    class OutdatedSchemaCacheError(InternalClientError):
        """A type has changed since the driver asked for its layout."""

    class ConnectionLike:
        """What ``isinstance`` takes for a connection though it only stands before one."""

        __slots__ = ()

    class Resource:
        """What a connection has made and speaks through it: a statement, a cursor, a transaction."""

else:
    from asyncpg import (
        InterfaceError,
        InternalClientError,
        InvalidCachedStatementError,
        InvalidSQLStatementNameError,
        OutdatedSchemaCacheError,
        PostgresError,
        UniqueViolationError,
    )
    from asyncpg.connection import _ConnectionProxy as ConnectionLike
    from asyncpg.connresource import ConnectionResource as Resource

__all__ = [
    "APPLICATION_NAME",
    "CLOSE_SECONDS",
    "CONNECT_SECONDS",
    "Connection",
    "ConnectionLike",
    "InterfaceError",
    "InternalClientError",
    "InvalidCachedStatementError",
    "InvalidSQLStatementNameError",
    "OutdatedSchemaCacheError",
    "PostgresError",
    "Resource",
    "Row",
    "Statement",
    "Transaction",
    "UniqueViolationError",
    "connect",
]


class ServerVersion(NamedTuple):
    """The part of the driver's version tuple that we look at."""

    major: int
    minor: int


class Statement(Protocol):
    """A prepared statement."""

    async def fetch(self, *args: object) -> list[Row]:
        """Execute it and return its rows."""
        ...


class Transaction(AbstractAsyncContextManager[object], Protocol):
    """A transaction: by hand, or for as long as a block runs."""

    async def start(self) -> None:
        """Begin."""
        ...

    async def commit(self) -> None:
        """Commit."""
        ...

    async def rollback(self) -> None:
        """Roll back."""
        ...


class Connection(Protocol):
    """A connection."""

    async def fetch(self, query: str, *args: object) -> list[Row]:
        """Execute a query and return its rows."""
        ...

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:  # noqa: ASYNC109 (as above)
        """Execute a command."""
        ...

    async def executemany(self, command: str, args: list[tuple[object, ...]]) -> None:
        """Execute a command once for each tuple."""
        ...

    async def prepare(self, query: str, *, name: str | None = None) -> Statement:
        """Prepare a statement on this connection."""
        ...

    def transaction(self, *, isolation: str) -> Transaction:
        """A transaction, not yet begun."""
        ...

    def is_in_transaction(self) -> bool:
        """Whether a transaction is open."""
        ...

    def is_closed(self) -> bool:
        """Whether the connection is known to be gone."""
        ...

    def terminate(self) -> None:
        """Close at once, without a word to the server."""
        ...

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 (the driver's own signature)
        """Close in good order."""
        ...

    def get_settings(self) -> object:
        """What the server has reported of the session's settings, as attributes."""
        ...

    def get_server_pid(self) -> int:
        """The backend's, as whoever answered our login says."""
        ...

    def get_server_version(self) -> ServerVersion:
        """What the server said it is."""
        ...


async def connect(
    dsn: str,
    *,
    prepared: bool = False,
    command_timeout_seconds: float | None = None,
    connect_seconds: float = CONNECT_SECONDS,
) -> Connection:
    """A connection. Raises the driver's errors as they are."""
    asyncpg: Any = importlib.import_module("asyncpg")
    hosts = dsn.partition("://")[2].partition("/")[0].rpartition("@")[2]
    several = "," in hosts and "target_session_attrs" not in dsn
    connection: Connection = await asyncpg.connect(
        dsn,
        connection_class=_named(),
        timeout=connect_seconds,
        # Of several hosts the one that takes writes, whichever it is now, unless it is said otherwise.
        target_session_attrs="read-write" if several else None,
        command_timeout=command_timeout_seconds,
        statement_cache_size=100 if prepared else 0,
        server_settings={"application_name": APPLICATION_NAME},
    )
    return connection


@functools.cache
def _named() -> Any:
    """The driver's connection, whose statements and savepoints have names that no other process makes."""
    asyncpg: Any = importlib.import_module("asyncpg")
    numbers = itertools.count(1)

    class Named(asyncpg.Connection):  # type: ignore[misc] # the driver has no types
        __slots__ = ()

        def _get_unique_id(self, prefix: str) -> str:
            return f"fencepost_{PROCESS}_{prefix}_{next(numbers):x}"

    return Named
