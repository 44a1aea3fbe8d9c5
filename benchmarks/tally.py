"""What one process asks of its servers, counted where the calls leave it. For measuring only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from fencepost.log import NotWritten, RunLog
from fencepost_queue.valkey import ValkeyQueue
from fencepost_store.connections import Held
from fencepost_store.postgres import PostgresStore

tally: Counter[str] = Counter()
"""Calls by name since the process began."""


def install() -> None:
    """Count statements, loads, appends and conflicts, and the queue's calls, in this process from now on."""
    _count(Held, "fetch", "statements")
    _count(PostgresStore, "load", "loads")
    _count(PostgresStore, "append", "append calls")
    for name in ("claim", "settle", "enqueue", "release", "renew", "publish"):
        _count(ValkeyQueue, name, name)
    append: Callable[..., Any] = RunLog.append

    async def counted(*args: Any, **kwargs: Any) -> Any:
        written = await append(*args, **kwargs)
        tally["appends"] += 1
        tally["conflicts"] += isinstance(written, NotWritten)
        return written

    setattr(RunLog, "append", counted)  # noqa: B010 (a checker would refuse the plain assignment)


def _count(owner: type, method: str, name: str) -> None:
    called: Callable[..., Any] = getattr(owner, method)

    def counted(*args: Any, **kwargs: Any) -> Any:
        tally[name] += 1
        return called(*args, **kwargs)

    setattr(owner, method, counted)
