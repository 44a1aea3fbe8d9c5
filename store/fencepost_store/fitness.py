"""Whether a database, its settings and our role's rights are what fencepost needs; each with the way out."""

from __future__ import annotations

from fencepost_store.driver import Connection, Row
from fencepost_store.statements import Statements
from fencepost_store.trouble import StoreRefused

ENCODING = "UTF8"
KEPT = {"synchronous_commit": "off", "fsync": "off", "full_page_writes": "off"}
"""Settings, and the value at which Postgres may lose or spoil what it has committed."""
ISOLATION = "read committed"


class WrongIsolation(StoreRefused):
    """The database or the role has another default than READ COMMITTED, at which no event could ever be appended."""


class WrongEncoding(StoreRefused):
    """The database's encoding is not UTF8: some texts could not be kept in it, or could not be read again."""


class MissingRights(StoreRefused):
    """Our role may not do in the namespace what a worker does. Says which statement cures it."""


def judge(row: Row) -> tuple[str, ...]:
    """Of a row of ``schema_exists``: what an operator should know. Raises WrongEncoding, WrongIsolation."""
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
    return tuple(
        f"{setting} = {unsafe}: when Postgres crashes it may lose what it has committed, so steps that have ended may"
        " run again. Turn it on for fencepost's role, database or server"
        for setting, unsafe in KEPT.items()
        if row[setting] == unsafe
    )


async def require_rights(connection: Connection, sql: Statements) -> None:
    """Raise MissingRights unless our role has in the namespace all that a worker needs; nothing if there is none."""
    (role,) = await connection.fetch(sql["usage"], sql.namespace)
    if role["usage"] is None:
        return
    lacking = [] if role["usage"] else [("USAGE", f"ON SCHEMA {sql.schema}")]
    for row in await connection.fetch(sql["rights"], sql.namespace):
        lacking.append((row["rights"], f"ON {row['kind']} {sql.schema}.{row['name']}"))
    if lacking:
        said = "; ".join(f"GRANT {rights} {what} TO {role['me']}" for rights, what in lacking)
        raise MissingRights(f"role {role['me']} lacks rights in namespace {sql.namespace}, grant them: {said}")
