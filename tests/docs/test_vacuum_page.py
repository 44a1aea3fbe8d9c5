"""docs/operations.md says how each table is vacuumed, and why: all of them, and as they are."""

from __future__ import annotations

import re

import asyncpg
from tests.docs.markdown import read

from fencepost_store.migrations import migrate

SMALL = {"schema_version", "event_kinds", "pruned_runs"}
"""Tables that have few rows, whatever is done."""


async def test_every_table_s_settings_are_on_the_page(postgres_url: str, namespace: str) -> None:
    await migrate(postgres_url, namespace)
    connection = await asyncpg.connect(postgres_url)
    try:
        rows = await connection.fetch(
            "SELECT relname, reloptions FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind = 'r'",
            namespace,
        )
    finally:
        await connection.close()
    page = read("docs/operations.md").partition("## Vacuum")[2].partition("## ")[0]
    told = {
        table: set(settings.split(", "))
        for tables, settings in re.findall(r"^\| (`.*?`) \| (.*?) \|", page, re.MULTILINE)
        for table in re.findall(r"`(\w+)`", tables)
    }
    assert told == {row["relname"]: set(row["reloptions"] or ()) for row in rows if row["relname"] not in SMALL}
