"""The servers' own counters, and the CPU time of the whole tree of processes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import msgspec
from redis.asyncio import Redis

TOP_LEVEL = frozenset(
    {"auth", "blpop", "client", "eval", "evalsha", "hello", "info", "ping", "publish", "sadd", "script", "select"}
    | {"smembers", "subscribe", "unsubscribe"}
)
"""Commands that clients send. What the scripts call is counted by the server under names of its own, and none of
these is among them but sadd's, which no script uses."""

OWN = frozenset({"info"})
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Counters(msgspec.Struct, frozen=True):
    """Readings at one moment. ``commits``: transactions that wrote. ``cpu``: seconds, by kind of process."""

    commits: int
    wal_bytes: int
    redis: dict[str, int]
    cpu: dict[str, float]

    def __sub__(self, before: Counters) -> Counters:
        """What happened since."""
        return Counters(
            commits=self.commits - before.commits,
            wal_bytes=self.wal_bytes - before.wal_bytes,
            redis={name: count - before.redis.get(name, 0) for name, count in self.redis.items()},
            cpu={name: seconds - before.cpu.get(name, 0.0) for name, seconds in self.cpu.items()},
        )

    @property
    def redis_calls(self) -> int:
        """Commands that clients sent, but for our own reading."""
        return sum(count for name, count in self.redis.items() if name not in OWN)


class Probe:
    """``async with Probe(postgres_url, redis_url)`` reads both servers on connections of its own."""

    def __init__(self, postgres_url: str, redis_url: str) -> None:
        self._postgres_url = postgres_url
        self._redis: Any = cast(Any, Redis).from_url(redis_url, decode_responses=True)
        self._postgres: Any = None

    async def __aenter__(self) -> Probe:
        self._postgres = await cast(Any, asyncpg).connect(self._postgres_url)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._postgres.close()
        await self._redis.aclose()

    async def read(self, workers: frozenset[int] = frozenset()) -> Counters:
        """All counters now. ``workers``: process ids that are the engine's."""
        # A transaction gets an id when it first writes, so the next free id counts write commits exactly (and the few
        # of autovacuum's). Reading it writes nothing.
        row = await self._postgres.fetchrow(
            "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS commits,"
            " pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint AS wal"
        )
        stats: Mapping[str, Mapping[str, Any]] = await self._redis.info("commandstats")
        redis: dict[str, int] = {}
        for name, values in stats.items():
            command = name.removeprefix("cmdstat_").partition("|")[0]
            if command in TOP_LEVEL:
                redis[command] = redis.get(command, 0) + int(values["calls"])
        return Counters(row["commits"], row["wal"], redis, cpu_of_tree(workers))


def cpu_of_tree(workers: frozenset[int]) -> dict[str, float]:
    """CPU seconds of this process and all its descendants, by kind: client, worker, postgres, valkey, other."""
    parents: dict[int, tuple[int, str, float]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            stat = _stat(entry)
            if stat is not None:
                parents[int(entry.name)] = stat
    mine = {os.getpid()}
    grown = True
    while grown:
        found = {pid for pid, (parent, _, _) in parents.items() if parent in mine} - mine
        mine |= found
        grown = bool(found)
    cpu: dict[str, float] = {}
    for pid in mine & set(parents):
        _, name, seconds = parents[pid]
        kind = "client" if pid == os.getpid() else "worker" if pid in workers else _kind(name)
        cpu[kind] = cpu.get(kind, 0.0) + seconds
    return cpu


def _stat(entry: Path) -> tuple[int, str, float] | None:
    try:
        text = (entry / "stat").read_text()
    except OSError:  # it has ended
        return None
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    return int(fields[1]), name, (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def _kind(name: str) -> str:
    if name.startswith("postgres"):
        return "postgres"
    return "valkey" if name.startswith("valkey") else "other"


def resident_bytes(pid: int) -> int:
    """A process's resident set."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
