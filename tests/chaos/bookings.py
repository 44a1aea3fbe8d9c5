"""What transactional steps have written beside the log: one row for each that is completed, and no other."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types

from fencepost import payload
from fencepost.records import StepCreated, unpack


async def prepare(url: str) -> None:
    """The users' table. It has no key: a row that is there twice must show."""
    connection: Any = await cast(Any, asyncpg).connect(url)
    try:
        await connection.execute("CREATE SCHEMA IF NOT EXISTS chaos_user")
        await connection.execute("CREATE TABLE IF NOT EXISTS chaos_user.bookings (run uuid, place integer)")
    finally:
        await connection.close()


async def misbooked(url: str, namespace: str) -> list[str]:
    """Rows that are missing, there twice, or there without a step that is completed."""
    connection: Any = await cast(Any, asyncpg).connect(url)
    try:
        rows = await connection.fetch("SELECT run, place FROM chaos_user.bookings")
        steps = await connection.fetch(
            f"SELECT c.run_id, c.payload FROM {namespace}.runs r JOIN {namespace}.events c USING (run_id)"
            f" JOIN {namespace}.events e ON e.run_id = c.run_id AND e.entity = c.entity AND e.type = 13"
            " WHERE r.workflow = 'booked' AND c.type = 10"
        )
    finally:
        await connection.close()
    written = Counter((str(row["run"]), int(row["place"])) for row in rows)
    completed = {(str(row["run_id"]), _place(row["payload"])) for row in steps}
    return compared(written, completed)


def compared(written: Counter[tuple[str, int]], completed: set[tuple[str, int]]) -> list[str]:
    """Both sides, by run and place."""
    wrong: list[str] = []
    for run, place in sorted(completed | written.keys()):
        rows, done = written[run, place], (run, place) in completed
        if rows != 1 or not done:
            wrong.append(f"run {run}: place {place} is {'' if done else 'not '}completed, and was written {rows} times")
    return wrong


def _place(created: bytes) -> int:
    args: list[int] = payload.decode(unpack(created, StepCreated).args)[0]
    return args[0]
