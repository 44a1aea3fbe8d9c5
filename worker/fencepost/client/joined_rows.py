"""A cursor of the driver's own kind, and its row, whatever the caller's connection makes of cursors and rows.

A connection may have a factory for rows (``dict_row``, ``class_row``, ``RealDictConnection``) or for cursors with other
marks for parameters. They are for the caller's queries; ours is read behind an insert, where an error would come too
late.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from typing import Any, cast

COLUMNS = ("o_run", "o_created", "o_payload", "o_starts_in")


def plain_cursor(connection: Any) -> AbstractContextManager[Any]:
    """One that takes ``%s`` and answers tuples, where the driver is known; else the connection's own. What was never
    imported cannot have made the connection.
    """
    psycopg: Any = sys.modules.get("psycopg")
    if psycopg is not None and isinstance(connection, psycopg.Connection):
        return cast(AbstractContextManager[Any], psycopg.Cursor(connection, row_factory=psycopg.rows.tuple_row))
    psycopg2: Any = sys.modules.get("psycopg2")
    if psycopg2 is not None and isinstance(connection, psycopg2.extensions.connection):
        kind = psycopg2.extensions
        return cast(AbstractContextManager[Any], kind.connection.cursor(connection, cursor_factory=kind.cursor))
    cursor = connection.cursor()
    inner = getattr(cursor, "cursor", None)  # Django's, around the driver's
    if psycopg is not None and isinstance(inner, psycopg.Cursor):
        cast(Any, inner).row_factory = psycopg.rows.tuple_row
    return cast(AbstractContextManager[Any], cursor)


def values(row: Any) -> tuple[Any, ...]:
    """The columns of ``start_run_joined``, of a row of any shape: by name where it has names, else by place."""
    if callable(getattr(row, "keys", None)):
        return tuple(row[name] for name in COLUMNS)
    if all(hasattr(row, name) for name in COLUMNS):
        return tuple(getattr(row, name) for name in COLUMNS)
    return tuple(row[place] for place in range(len(COLUMNS)))
