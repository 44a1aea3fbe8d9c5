"""Whether a database, its settings and our role's rights are what fencepost needs; each with the way out."""

from __future__ import annotations

from typing import Literal

import msgspec

from fencepost_store.connections import Connections
from fencepost_store.driver import Connection, Row
from fencepost_store.statements import Statements, of_no_namespace
from fencepost_store.trouble import ServerUnable, StoreRefused

ENCODING = "UTF8"
KEPT = {"synchronous_commit": "off", "fsync": "off", "full_page_writes": "off"}
"""Settings, and the value at which Postgres may lose or spoil what it has committed."""
ISOLATION = "read committed"


class WrongIsolation(StoreRefused):
    """The database or the role has another default than READ COMMITTED, at which no event could ever be appended."""


class WrongEncoding(StoreRefused):
    """The database's encoding is not UTF8: some texts could not be kept in it, or could not be read again."""


Purpose = Literal["worker", "client", "operator"]
"""What a role is for, as docs/operations.md has it: an operator runs `db migrate`, and all that a worker does."""


class MissingRights(StoreRefused):
    """Our role may not do in the namespace what its purpose asks for. Says which statements cure it."""


def judge(row: Row) -> tuple[str, ...]:
    """Of a row of ``schema_exists``: what an operator should know. Raises ServerUnable (it takes no writes),
    WrongEncoding, WrongIsolation.
    """
    if row["read_only"]:
        raise ServerUnable(
            "this Postgres takes no writes: it is a standby, or default_transaction_read_only is on. While a fail-over"
            " is under way wait for its end; else let database_url name the primary"
        )
    if row["encoding"] != ENCODING:
        raise WrongEncoding(
            f"the database's encoding is {row['encoding']}, fencepost needs {ENCODING}. The encoding of a database"
            f" cannot be changed: create another one, with CREATE DATABASE name ENCODING '{ENCODING}' TEMPLATE"
            " template0 LOCALE 'C', and name it in database_url"
        )
    if row["isolation"] != ISOLATION:
        raise WrongIsolation(
            f"default_transaction_isolation is {row['isolation']!r} here, fencepost needs 'read committed': set"
            " that for fencepost's role, with ALTER ROLE name SET default_transaction_isolation = 'read committed'"
        )
    return _not_kept(row) + _not_waited_for(row)


def _not_kept(row: Row) -> tuple[str, ...]:
    """What a crash may cost."""
    return tuple(
        f"{setting} = {unsafe}: when Postgres crashes it may lose what it has committed, so steps that have ended may"
        " run again. Turn it on for fencepost's role, database or server"
        for setting, unsafe in KEPT.items()
        if row[setting] == unsafe
    )


def _not_waited_for(row: Row) -> tuple[str, ...]:
    """What a fail-over may cost."""
    standbys = row["standbys"]
    if not standbys or row["synchronous_commit"] == "off":
        return ()
    if row["synchronous_commit"] == "local":
        why, cure = "synchronous_commit = local", "set synchronous_commit to on"
    elif not row["synchronous_standby_names"]:
        why, cure = "synchronous_standby_names is empty", "name standbys in synchronous_standby_names"
    else:
        return ()
    who = "1 standby receives" if standbys == 1 else f"{standbys} standbys receive"
    return (
        f"{who} commits that nobody waits for ({why}): a fail-over there may lose the last ones, and runs go on from"
        f" the log that is left. To keep all that was committed, {cure}; that costs a round trip per commit",
    )


class Seen(msgspec.Struct, frozen=True):
    """Who answers, and to whom. ``pooled``: a pooler stands before the server. ``prepared``: statements can be prepared
    there."""

    server: str
    role: str
    pooled: bool
    prepared: bool


async def look(dsn: str, *, connect_seconds: float) -> Seen:
    """Connect as a worker does, and say what is there. Raises StoreTrouble (StoreRefused for a wrong password)."""
    pool = Connections(dsn, 1, prepared=True, command_timeout_seconds=connect_seconds, connect_seconds=connect_seconds)
    try:
        async with pool.use() as held:
            (row,) = await held.fetch(of_no_namespace("me"))
            version = held.connection.get_server_version()
            return Seen(f"Postgres {version.major}.{version.minor}", row["me"], held.pooled, held.prepared)
    finally:
        await pool.close()


async def require_rights(connection: Connection, sql: Statements, purpose: Purpose) -> None:
    """Raise MissingRights unless our role has in the namespace all that its purpose needs; of a namespace that is not
    there, an operator must be able to make it.
    """
    (role,) = await connection.fetch(sql["usage"], sql.namespace)
    lacking = [] if role["usage"] is not False else [f"USAGE ON SCHEMA {sql.schema}"]
    if role["usage"] is not None:
        for row in await connection.fetch(sql["rights"], sql.namespace, purpose):
            lacking.append(f"{row['rights']} ON {row['kind']} {sql.schema}.{row['name']}")
    if purpose == "operator":
        lacking += await _lacking_to_migrate(connection, sql)
    if lacking:
        said = "; ".join(f"GRANT {what} TO {role['me']}" for what in lacking)
        raise MissingRights(
            f"role {role['me']} lacks rights of {_article(purpose)} in namespace {sql.namespace}, grant them: {said}"
        )


async def _lacking_to_migrate(connection: Connection, sql: Statements) -> list[str]:
    (found,) = await connection.fetch(sql["owners"], sql.namespace)
    if not found["there"]:
        return [] if found["may_create"] else [_creation("DATABASE", found["database"])]
    return list(found["owners"]) + ([] if found["may_add"] else [_creation("SCHEMA", sql.schema)])


def _creation(kind: str, name: str) -> str:
    return " ".join(("CREATE", "ON", kind, name))


def _article(purpose: Purpose) -> str:
    return f"an {purpose}" if purpose == "operator" else f"a {purpose}"
