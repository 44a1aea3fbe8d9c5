"""What goes wrong between us and Postgres, sorted by what the caller does about it. By type and SQLSTATE, never by
wording."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs

import msgspec

from fencepost_store.admission import Unstorable
from fencepost_store.driver import InterfaceError, InternalClientError, PostgresError
from fencepost_store.protocol import StoreTrouble
from fencepost_store.trouble import RolledBack, RowHeld, ServerUnable, StoreRefused, UnableRolledBack

_REFUSED_CLASSES = frozenset({"28", "3D", "3F", "42"})
"""Login, database, schema, objects and rights: no retry cures these, an operator does."""

_UNSTORABLE_CLASSES = frozenset({"22", "23", "54"})
"""Bad data, a broken constraint, beyond a limit of the server: the statement can never succeed as it is."""

_READ_ONLY = "25006"
_LOCK_WAIT = "55P03"
_UNKNOWN_STATEMENT, _KNOWN_STATEMENT = "26000", "42P05"
_OF_ROLE = frozenset({_READ_ONLY, "25001", "40001", _UNKNOWN_STATEMENT, _KNOWN_STATEMENT})
"""The server takes no writes, or the session is not as we made it (its isolation, its prepared statements): at READ
COMMITTED nothing but a standby says 40001. With class 57, shutdowns and what comes before a start."""
_UNABLE_CLASSES = frozenset({"53", "58"})
"""Out of connections, memory or disk; files that cannot be read. As when it is read-only, the server answers, and can
do nobody's work. One that shuts down or starts up refuses connections, which the next call finds out."""

_TROUBLE = (
    OSError,  # includes TimeoutError and every refused, reset or missing connection
    EOFError,
    InterfaceError,
    InternalClientError,
    msgspec.DecodeError,  # a reply that cannot be understood
)


def translated(error: BaseException, dsn: str, *, writes: bool = True) -> Exception | None:
    """The store's own error for a driver's, None if it is none of ours (a bug, a cancellation). ``writes``: whether the
    statement brings a caller's values; one that only reads is nobody's fault, and never Unstorable (H211)."""
    if isinstance(error, PostgresError):
        state = error.sqlstate or ""
        told = f"Postgres at {where(dsn)} says: {error} (SQLSTATE {state})"
        if state[:2] in _UNSTORABLE_CLASSES and writes:
            return Unstorable(told)
        if state in ("42P01", "3F000", "42883"):
            return StoreRefused(f"{told}; the schema is missing or old, run `fencepost db migrate`")
        if state[:2] in _REFUSED_CLASSES and state != _KNOWN_STATEMENT:
            return StoreRefused(f"{told}; check user, password, database and rights")
        # After the commit record Postgres raises no mere ERROR: what it reports as one has been rolled back. A FATAL
        # one (a shutdown, a kill) may come behind the commit.
        unable = state == _READ_ONLY or state[:2] in _UNABLE_CLASSES
        if state == _LOCK_WAIT:
            return RowHeld(told)
        if error.severity_en == "ERROR":
            return UnableRolledBack(told) if unable else RolledBack(told)
        return ServerUnable(told) if unable else StoreTrouble(told)
    if isinstance(error, UnicodeEncodeError):
        return Unstorable(f"text that is not valid Unicode cannot be stored: {error}")
    if isinstance(error, _TROUBLE):
        if isinstance(error, TimeoutError) and not str(error):
            return StoreTrouble(f"Postgres at {where(dsn)} did not answer in time")
        return StoreTrouble(f"Postgres at {where(dsn)}: {type(error).__name__}: {error}")
    return None


def is_of_role(error: PostgresError) -> bool:
    """Whether the connection, and those to the same server, are not to be used again, though it answers (H222)."""
    state = error.sqlstate or ""
    return state in _OF_ROLE or state[:3] == "57P"


def read_only(dsn: str) -> ServerUnable:
    """What is said of a server that takes no writes."""
    return ServerUnable(
        f"Postgres at {where(dsn)} is read-only: a standby, or default_transaction_read_only is on. While a fail-over"
        " is under way wait for its end; else let database_url name the primary, or several hosts, of which the one"
        " that takes writes is chosen"
    )


@asynccontextmanager
async def translating(dsn: str) -> AsyncGenerator[None]:
    """The driver's errors of a block as the store's."""
    try:
        yield
    except Exception as error:
        ours = translated(error, dsn)
        if ours is None:
            raise
        raise ours from error


def where(dsn: str) -> str:
    """Hosts, user and database of a DSN, for people. Never the password, and nothing where it may have parts of one."""
    authority = re.split(r"[/?#]", dsn.partition("://")[2], maxsplit=1)[0]
    account, _, hosts = authority.rpartition("@")
    path, _, query = dsn.partition("://")[2][len(authority) :].partition("?")
    if "@" in path + query or "#" in path + query:
        return "an address that cannot be read"
    given = parse_qs(query)
    hosts = hosts or given.get("host", ["the default host"])[0]
    user = account.partition(":")[0] or given.get("user", ["the default user"])[0]
    database = path.lstrip("/") or given.get("database", given.get("dbname", ["the default database"]))[0]
    return f"{hosts} (user {user}, database {database})"
