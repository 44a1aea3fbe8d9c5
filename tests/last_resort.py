"""What tests of a run's last resort share: a workflow for a flood of signals, and what is loaded under its row lock."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from fencepost import hook, workflow
from fencepost.authoring.registry import Registry
from fencepost_store.protocol import Loaded


def adder(registry: Registry) -> Any:
    """Adds up what it is sent, until that is a zero."""

    @workflow(registry=registry)
    async def adds() -> int:
        total = 0
        async with hook(int, token="t") as numbers:
            async for number in numbers:
                if number == 0:
                    break
                total += number
        return total

    return adds


def watched(store: Any) -> list[int]:
    """How many events each transaction that holds the row loads, one after the other."""
    under_lock: list[int] = []
    real = store.locked

    @asynccontextmanager
    async def locked(run_id: str, budget_seconds: float) -> AsyncGenerator[Any]:
        async with real(run_id, budget_seconds) as held:
            load = held.load

            async def counted(after_seq: int, stamp: int | None = None) -> Loaded:
                loaded: Loaded = await load(after_seq, stamp)
                under_lock.append(len(loaded.events))
                return loaded

            held.load = counted
            yield held

    store.locked = locked
    return under_lock
