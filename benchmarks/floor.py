"""The floor: what plain Postgres needs for the rows that must be durable, one bare asyncpg loop per connection.

A run is its start (its row, its first event) and one commit per step (two inserts, one update); the last step's commit
ends the run. A run without steps is its start and one commit with its other two events.
"""

from __future__ import annotations

import asyncio
import time
from importlib import resources
from typing import Any, cast

import asyncpg
import uuid_utils

from benchmarks.cases import Case

CONNECTIONS_MAX = 8
"""For many runs in flight. More of them commit fewer rows per second on a small machine, fewer leave it idle."""

SMALL = 12
"""Bytes of a payload without data: about what msgpack makes of a number and a name."""


def _sql(name: str) -> str:
    return resources.files("benchmarks").joinpath(f"{name}.sql").read_text("utf-8")


class Floor:
    """``async with Floor(url)``."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connections: list[Any] = []
        self._statements: list[tuple[Any, Any]] = []

    async def __aenter__(self) -> Floor:
        for _ in range(CONNECTIONS_MAX):
            connection = cast(Any, await asyncpg.connect(self._url))
            self._connections.append(connection)
            if len(self._connections) == 1:
                await connection.execute(_sql("floor_schema"))
            start, step = await connection.prepare(_sql("floor_start")), await connection.prepare(_sql("floor_step"))
            self._statements.append((start, step))
        return self

    async def __aexit__(self, *exc: object) -> None:
        for connection in self._connections:
            await connection.close()

    async def play(self, case: Case) -> list[float]:
        """The runs of one round of the case; seconds of each."""
        left = case.runs
        seconds: list[float] = []

        async def loop(statements: tuple[Any, Any]) -> None:
            nonlocal left
            while left > 0:
                left -= 1
                started = time.perf_counter()
                await _run(statements, case)
                seconds.append(time.perf_counter() - started)

        await asyncio.gather(*(loop(one) for one in self._statements[: min(case.in_flight, CONNECTIONS_MAX)]))
        return seconds


async def _run(statements: tuple[Any, Any], case: Case) -> None:
    start, step = statements
    data = b"\0" * (case.payload_bytes or SMALL)
    run_id = str(uuid_utils.uuid7())
    at = time.time_ns() // 1000
    steps = max(1, case.steps)
    await start.fetch(run_id, at, b"\0" * SMALL)
    for number in range(steps):
        await step.fetch(run_id, at, 2 + 2 * number, f"echo#{number}", data, data, 10 if number == steps - 1 else 1)
