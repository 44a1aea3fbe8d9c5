"""What several features must agree on: parents and children, the links of a chain, attributes and logs; and rows of
runs that do not exist.

The comparison is one statement per portion of runs, for a log's children may be many and only what disagrees is of
interest here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from fencepost.audit.findings import Finding
from fencepost_store.inspection import Inspection

TABLES = ("heartbeats", "streams", "run_attributes")
PAGE_STRAYS = 500


async def kin_findings(
    inspection: Inspection, run_ids: Sequence[str], overdue_seconds: float, again: Callable[[], Awaitable[None]]
) -> list[Finding]:
    """What stands there in two looks. ``overdue_seconds``: how old a duty must be that was not done."""
    older = int(overdue_seconds * 1_000_000)
    first = await inspection.kin(run_ids, older)
    if not first:
        return []
    await again()
    suspicious = list(dict.fromkeys(row.run_id for row in first))
    known = {(row.run_id, row.code, row.subject) for row in first}
    return [
        Finding(row.code, f"{row.subject}: {row.found}" if row.subject else row.found, row.run_id, row.subject)
        for row in await inspection.kin(suspicious, older)
        if (row.run_id, row.code, row.subject) in known
    ]


async def stray_findings(inspection: Inspection) -> AsyncGenerator[Finding]:
    """Rows beside the log whose run does not exist."""
    for table in TABLES:
        after: str | None = None
        while page := await inspection.owners(table, after, PAGE_STRAYS):
            for owner in page:
                if owner.stray:
                    yield Finding("rows_without_run", f"rows in {table}", owner.run_id, table)
            after = page[-1].run_id
