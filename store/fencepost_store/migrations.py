"""Brings a namespace's schema up to date, and refuses to work with one that is not.

Migrations are files, numbered, applied in order, each recorded in the transaction that made it. They only ever add, so
workers of the version before go on working while and after a migration runs. One transaction-level advisory lock per
namespace makes concurrent callers wait for each other.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fencepost_store.driver import Connection, connect
from fencepost_store.events import KINDS
from fencepost_store.fitness import Purpose, WrongEncoding, WrongIsolation, judge, require_rights
from fencepost_store.statements import Statements, migration_files, rendered
from fencepost_store.translation import translating
from fencepost_store.trouble import StoreRefused

SERVER_MAJOR_MIN = 14
"""The oldest Postgres with all that the schema needs (lz4 columns), and the oldest that its makers maintain."""


__all__ = ["SchemaMismatch", "ServerTooOld", "WrongEncoding", "WrongIsolation", "check", "migrate"]


class SchemaMismatch(StoreRefused):
    """The namespace's schema is missing, older than this version needs, or newer than it knows. Says which, and the way
    out."""


class ServerTooOld(StoreRefused):
    """The server is older than SERVER_MAJOR_MIN."""


async def migrate(conn_or_dsn: Connection | str, namespace: str) -> list[str]:
    """Apply what is missing, all in one transaction; returns the names of what was applied. Idempotent, safe from
    several processes at once. Raises ValueError (namespace), ServerTooOld, WrongEncoding, WrongIsolation,
    SchemaMismatch (newer than this version), StoreTrouble."""
    sql = Statements(namespace)
    async with _connection(conn_or_dsn) as connection, connection.transaction(isolation="read_committed"):
        _require_server(connection)
        await connection.execute(sql["migration_lock"], f"fencepost migrate {namespace}")
        applied, _ = await _applied(connection, sql)
        _require_known(applied, namespace)
        (row,) = await connection.fetch(sql["namespace_exists"], sql.schema)
        if not row["there"]:  # IF NOT EXISTS needs the right to create one, also where there is nothing to create
            await connection.execute(sql["create_schema"])
        names: list[str] = []
        for version, name, text in migration_files()[len(applied) :]:
            await connection.execute(rendered(text, sql.schema))
            await connection.execute(sql["record_version"], version, name)
            names.append(f"{version:04d}_{name}")
        if names:
            await _record_kinds(connection, sql)
        return names


async def check(conn_or_dsn: Connection | str, namespace: str, *, purpose: Purpose | None = None) -> tuple[str, ...]:
    """Raise SchemaMismatch, ServerTooOld, WrongEncoding or WrongIsolation unless the namespace has exactly what this
    version needs; with a ``purpose`` also MissingRights, unless our role may do what that asks for. Changes nothing.
    Answers what an operator should know."""
    sql = Statements(namespace)
    async with _connection(conn_or_dsn) as connection:
        _require_server(connection)
        # In one transaction, or a pooler would give each half of a question another server.
        async with connection.transaction(isolation="read_committed"):
            if purpose is not None:
                await require_rights(connection, sql, purpose)
            applied, warnings = await _applied(connection, sql)
        way_out = f"run `fencepost db migrate` for namespace {namespace}"
        if not applied:
            raise SchemaMismatch(f"namespace {namespace} has no schema in this database yet: {way_out}")
        _require_known(applied, namespace)
        needed = len(migration_files())
        if len(applied) < needed:
            raise SchemaMismatch(
                f"namespace {namespace} has schema version {len(applied)}, this fencepost needs {needed}: {way_out}"
            )
    return warnings


async def _applied(connection: Connection, sql: Statements) -> tuple[list[str], tuple[str, ...]]:
    """The names of the migrations that the namespace has had, in order, and what ``fitness.judge`` says."""
    (row,) = await connection.fetch(sql["schema_exists"], f"{sql.schema}.schema_version")
    warnings = judge(row)
    if not row["there"]:
        return [], warnings
    return [row["name"] for row in await connection.fetch(sql["applied"])], warnings


def _require_known(applied: list[str], namespace: str) -> None:
    """Every applied migration must be one of ours, in our order."""
    known = [name for _, name, _ in migration_files()]
    if applied != known[: len(applied)]:
        unknown = [name for name in applied if name not in known] or applied
        raise SchemaMismatch(
            f"namespace {namespace} has schema version {len(applied)}, this fencepost knows {len(known)}"
            f" (unknown here: {', '.join(unknown)}): upgrade fencepost, or use another namespace"
        )


def _require_server(connection: Connection) -> None:
    major = connection.get_server_version().major
    if major < SERVER_MAJOR_MIN:
        raise ServerTooOld(
            f"the server is Postgres {major}, fencepost needs {SERVER_MAJOR_MIN} or newer: upgrade the server"
        )


async def _record_kinds(connection: Connection, sql: Statements) -> None:
    """Fill ``event_kinds`` from KINDS."""
    rows: list[tuple[object, ...]] = [
        (int(event_type), event_type.name, kind.decision, kind.visible, kind.role.value, kind.ends_run)
        for event_type, kind in KINDS.items()
    ]
    await connection.executemany(sql["record_kind"], rows)


@asynccontextmanager
async def _connection(conn_or_dsn: Connection | str) -> AsyncGenerator[Connection]:
    """The caller's connection as it is, or one of our own, with the driver's errors as the store's."""
    if not isinstance(conn_or_dsn, str):
        yield conn_or_dsn
        return
    async with translating(conn_or_dsn):
        connection = await connect(conn_or_dsn)
        try:
            yield connection
        finally:
            await connection.close()
