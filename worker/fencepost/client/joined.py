"""A run's first event inside a transaction of the caller's: on an asyncpg connection, or on one of the DB-API (psycopg,
psycopg2, Django's).

The connection's own errors come out as they are: the transaction is the caller's, and so is the decision to try it
again.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, cast

from fencepost import errors
from fencepost.client.joined_rows import plain_cursor, values
from fencepost.log import LimitExceeded, RunLog
from fencepost_store.admission import admit_run
from fencepost_store.protocol import NewRun, Started
from fencepost_store.wire import start_arguments

TICK_DELAY_MS = 50
"""Between the start and the first look of a worker whether it was committed. A worker that finds nothing looks again,
half of the run's age later (fencepost.engine.unborn)."""

IDLE = 0
"""libpq's transaction status of a connection outside a transaction."""

_ABSENT = frozenset({"42P01", "3F000", "42883"})
"""SQLSTATE: no such table, schema or function."""

Identity = tuple[str, datetime]


def arguments(run: NewRun, identity: Identity) -> tuple[str | None, ...]:
    """The parameters of ``start_run_joined``: text, or None."""
    return tuple(map(_text, (*start_arguments(run), identity[1], identity[0])))


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return f"{{{','.join(map(str, cast('list[int]', value)))}}}"
    return value.isoformat() if isinstance(value, datetime) else str(value)


def admit(log: RunLog, run: NewRun) -> None:
    """Refuse what could never be stored, before the caller's transaction is touched. Raises PayloadTooLarge,
    ArgumentError.
    """
    try:
        log.check_start(run)
        admit_run(run)
    except LimitExceeded as limit:
        raise errors.PayloadTooLarge(str(limit), size=limit.value, limit=limit.bound) from limit
    except ValueError as error:
        raise errors.ArgumentError(str(error)) from error


async def start_on(connection: Any, sql: str, identity: Identity, run: NewRun) -> Started:
    """By an asyncpg connection. Raises ArgumentError, WrongDatabase, what asyncpg raises."""
    if not callable(getattr(connection, "fetchrow", None)) or not hasattr(connection, "is_in_transaction"):
        raise errors.ArgumentError(
            f"connection={connection!r}: fencepost.Client takes an asyncpg connection;"
            " fencepost.sync.Client takes one of psycopg, psycopg2 or Django"
        )
    if not connection.is_in_transaction():
        raise _outside()
    try:
        row = await connection.fetchrow(sql, *arguments(run, identity))
    except Exception as error:
        if getattr(error, "sqlstate", None) in _ABSENT:
            raise _elsewhere(identity) from error
        raise
    return _started(row, identity)


def start_by_cursor(connection: Any, sql: str, identity: Identity, run: NewRun) -> Started:
    """By a DB-API connection whose parameters are written ``%s``, in the calling thread. Raises as ``start_on``."""
    if not callable(getattr(connection, "cursor", None)) or hasattr(connection, "is_in_transaction"):
        raise errors.ArgumentError(
            f"connection={connection!r}: fencepost.sync.Client takes a connection of psycopg, psycopg2 or Django;"
            " of SQLAlchemy's, session.connection().connection.dbapi_connection"
        )
    if _is_outside(connection):
        raise _outside()
    try:
        with plain_cursor(connection) as cursor:
            cursor.execute(re.sub(r"\$\d+", "%s", sql), arguments(run, identity))
            row = cursor.fetchone()
    except Exception as error:
        cause = getattr(error, "__cause__", None)  # Django wraps the driver's
        if {getattr(one, name, None) for one in (error, cause) for name in ("sqlstate", "pgcode")} & _ABSENT:
            raise _elsewhere(identity) from error
        raise
    return _started(row, identity)


def _is_outside(connection: Any) -> bool:
    """Whether what is written now would be committed at once."""
    if hasattr(connection, "in_atomic_block"):  # Django
        return bool(connection.get_autocommit()) and not connection.in_atomic_block
    if not getattr(connection, "autocommit", False):
        return False  # the driver begins a transaction with the first statement
    info = getattr(connection, "info", None)
    return getattr(info, "transaction_status", IDLE) == IDLE


def _started(row: Any, identity: Identity) -> Started:
    if row is None:
        raise _elsewhere(identity)
    run_id, created, payload, starts_in = values(row)
    return Started(run_id, created == "true", bytes.fromhex(payload), int(starts_in))


def _outside() -> errors.ArgumentError:
    return errors.ArgumentError(
        "connection= is in no transaction, so the run would be committed at once: begin one"
        " (`async with connection.transaction():`), or leave connection= out"
    )


def _elsewhere(identity: Identity) -> errors.WrongDatabase:
    return errors.WrongDatabase(
        f"connection= leads to another database than the client's ({identity[0]!r}), or to another copy of it: no"
        " worker would see the run; open both with the same database URL"
    )
