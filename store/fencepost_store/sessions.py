"""What is asked of a session before it is used, and how our transactions on one are bounded by the server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec

from fencepost_store.driver import PROCESS, Connection, InterfaceError, PostgresError
from fencepost_store.statements import of_no_namespace

ANSWER_SECONDS = 5.0
"""What the answer to a question may take."""

IDLE_MS = 5_000
"""How long a transaction of ours may be without a word from us, before the server ends it: what a frozen worker has
locked is free again after half a lease."""


class Budget(msgspec.Struct, frozen=True):
    """What the server allows a transaction of ours: waiting for a lock, one statement, silence between two, the whole
    (Postgres 17 and newer). Milliseconds; 0: no limit."""

    lock_ms: int = 0
    statement_ms: int = 0
    idle_ms: int = IDLE_MS
    whole_ms: int = 0


@asynccontextmanager
async def transaction(connection: Connection, budget: Budget) -> AsyncGenerator[None]:
    """A transaction at READ COMMITTED whose limits are set in the round trip that begins it, so that there is no moment
    without them, whatever stands between us and the server (H223). Commits if the block is left without an exception.

    A cancelled block leaves it open: the connection must be cut, which no further cancellation can prevent.
    """
    await begin(connection, budget)
    try:
        yield
    except Exception:
        if not connection.is_closed():
            await end(connection, "rollback")
        raise
    await end(connection, "commit")


async def begin(connection: Connection, budget: Budget) -> None:
    """The beginning of ``transaction``, for whoever ends it by hand."""
    await connection.execute(of_no_namespace("begin_bounded").format(**msgspec.structs.asdict(budget)))


async def end(connection: Connection, how: str) -> None:
    """``commit`` or ``rollback``."""
    await connection.execute(of_no_namespace(how))


async def pooler(connection: Connection) -> tuple[bool, bool]:
    """Whether a pooler stands before the server, and whether it passes prepared statements on as they come, so that the
    next transaction may meet another server, and another client's statements there (H186). A pooler logs us in with a
    process id of its own making; one that knows prepared statements gives them names of its own.
    """
    name = f"fencepost_{PROCESS}_probe"
    async with transaction(connection, Budget()):
        statement = await connection.prepare(of_no_namespace("backend"), name=name)
        (row,) = await statement.fetch(name)
        pooled = row["pid"] != connection.get_server_pid()
        passed_on = pooled and bool(row["as_named"])
        if passed_on:
            await connection.execute(of_no_namespace("forget_probe").format(name=name))
    return pooled, passed_on


async def is_writable(connection: Connection) -> bool:
    """Whether the server takes writes in this session: no standby, and not read-only by a setting (H222)."""
    return not is_empty(await connection.execute(of_no_namespace("writable"), timeout=ANSWER_SECONDS))


async def is_fit(connection: Connection) -> bool:
    """Whether it is still a connection, to a server that takes writes, with the isolation that we need. A network may
    have dropped it, and told nobody; its server may have another role now; settings of the role may have changed since.
    If it is not fit it is cut."""
    fit = False
    try:
        fit = not is_empty(await connection.execute(of_no_namespace("fit"), timeout=ANSWER_SECONDS))
    except (OSError, PostgresError, InterfaceError):
        pass  # the next connection will say what is wrong, if anything is
    finally:
        if not fit:
            connection.terminate()
    return fit


def is_empty(tag: str) -> bool:
    """Whether the last query of a call found no row, by what the server says of it."""
    return tag.rpartition(" ")[2] == "0"
