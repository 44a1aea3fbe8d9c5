"""The floor: what plain Postgres needs for the rows that must be durable, one bare asyncpg loop per connection.

A run is its start (its row, its first event) and one commit per step (two inserts, one update); the last step's commit
ends the run. A run without steps is its start and one commit with its other two events.
"""

from __future__ import annotations

import asyncio
import time
from importlib import resources
from typing import Any, Protocol, cast

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
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
            connection = await cast(Any, asyncpg).connect(self._url)
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

        async def loop(statements: _Statements) -> None:
            nonlocal left
            while left > 0:
                left -= 1
                started = time.perf_counter()
                await _run(statements, case)
                seconds.append(time.perf_counter() - started)

        if case.body_seconds == 0:
            held = [_Held(*pair) for pair in self._statements]
            await asyncio.gather(*(loop(one) for one in held[: min(case.in_flight, CONNECTIONS_MAX)]))
        else:
            pool = _Pool(self._statements)
            await asyncio.gather(*(loop(pool) for _ in range(case.in_flight)))
        return seconds


class _Statements(Protocol):
    """Where a run's commits go."""

    async def start(self, *args: object) -> None: ...

    async def step(self, *args: object) -> None: ...


class _Held:
    """One connection for whole runs: nothing is between the loop and the server."""

    def __init__(self, start: Any, step: Any) -> None:
        self.start = start.fetch
        self.step = step.fetch


class _Pool:
    """Connections shared by more runs than there are, where bodies wait in between."""

    def __init__(self, pairs: list[tuple[Any, Any]]) -> None:
        self._free = asyncio.Queue[tuple[Any, Any]]()
        for pair in pairs:
            self._free.put_nowait(pair)

    async def start(self, *args: object) -> None:
        await self._use(0, args)

    async def step(self, *args: object) -> None:
        await self._use(1, args)

    async def _use(self, which: int, args: tuple[object, ...]) -> None:
        pair = await self._free.get()
        try:
            await pair[which].fetch(*args)
        finally:
            self._free.put_nowait(pair)


async def _run(statements: _Statements, case: Case) -> None:
    data = b"\0" * (case.payload_bytes or SMALL)
    run_id = str(uuid_utils.uuid7())
    at = time.time_ns() // 1000
    steps = max(1, case.steps)
    await statements.start(run_id, at, b"\0" * SMALL)
    for number in range(steps):
        if case.body_seconds > 0:
            await asyncio.sleep(case.body_seconds)
        status = 10 if number == steps - 1 else 1
        await statements.step(run_id, at, 2 + 2 * number, f"echo#{number}", data, data, status)
