"""What the store's tests act on: a store, the clock it goes by, and runs that are quickly made."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import uuid_utils

from fencepost_store.events import Event, EventType, NewEvent
from fencepost_store.memory import MemoryStore
from fencepost_store.migrations import migrate
from fencepost_store.postgres import PostgresStore, connect
from fencepost_store.protocol import Batch, Loaded, NewRun, Outcome, Store, Verdict

Admin = Any
"""A connection of asyncpg, which ships no types."""

E = EventType
SECOND = 1_000_000
GRACE = 10 * SECOND
EPOCH = 1_800_000_000 * SECOND


def new_run_id() -> str:
    """A fresh run id."""
    return str(uuid_utils.uuid7())


@dataclass
class World:
    """A store under a clock that only the test moves."""

    store: Store
    set_clock: Callable[[int], Awaitable[None]]
    time: int = EPOCH

    def __post_init__(self) -> None:
        store: Any = self.store
        store.stamps = itertools.count(1).__next__  # so that two stores which are asked the same draw the same

    async def advance(self, microseconds: int) -> int:
        """Move the clock on; returns the new time."""
        self.time += microseconds
        await self.set_clock(self.time)
        return self.time

    async def run(self, *events: NewEvent, started: bool = True) -> str:
        """A run with these events in its log (after run_created and run_started)."""
        run_id = new_run_id()
        await self.store.start(NewRun(run_id, "flow", "default", b"\x01in", GRACE))
        if started:
            await self.turn(run_id, NewEvent(E.run_started))
        for event in events:
            verdict = await self.fact(run_id, event) if is_fact(event) else await self.turn(run_id, event)
            assert verdict.outcome is Outcome.ok, (event, verdict)
        return run_id

    async def loaded(self, run_id: str) -> Loaded:
        """The run and its whole log."""
        loaded = await self.store.load(run_id)
        assert loaded is not None
        return loaded

    async def log(self, run_id: str) -> tuple[Event, ...]:
        """The whole log."""
        return (await self.loaded(run_id)).events

    async def turn(self, run_id: str, *events: NewEvent, wake_at: int | None = None) -> Verdict:
        """Append with the run's fence as it is now."""
        run = (await self.loaded(run_id)).run
        return await self.fenced(run_id, run.fence, *events, seen=run.last_seq, wake_at=wake_at)

    async def fenced(
        self, run_id: str, fence: int, *events: NewEvent, seen: int = 0, wake_at: int | None = None
    ) -> Verdict:
        """Append with this fence."""
        (verdict,) = await self.store.append([Batch(run_id, fence, events, seen=seen, wake_at=wake_at, grace=GRACE)])
        return verdict

    async def fact(self, run_id: str, *events: NewEvent) -> Verdict:
        """Append without a fence."""
        (verdict,) = await self.store.append([Batch(run_id, None, events, grace=GRACE)])
        return verdict


def is_fact(event: NewEvent) -> bool:
    """Whether the event is sent without a fence in these tests."""
    return event.type in (
        E.step_started,
        E.step_retrying,
        E.step_completed,
        E.step_failed,
        E.hook_received,
        E.child_completed,
        E.child_failed,
        E.cancel_requested,
        E.run_terminated,
    )


def memory_world() -> World:
    """A MemoryStore under a test clock."""
    instant = [EPOCH]

    async def set_clock(now: int) -> None:
        instant[0] = now

    return World(MemoryStore(lambda: instant[0]), set_clock)


async def postgres_store(url: str, namespace: str, **options: Any) -> PostgresStore:
    """A PostgresStore on a fresh namespace, with the database's own clock."""
    await migrate(url, namespace)
    return await connect(url, namespace, **options)


async def frozen_clock(admin: Admin, namespace: str) -> Callable[[int], Awaitable[None]]:
    """Replace the namespace's clock by a row that the test sets."""
    await admin.execute(f"CREATE TABLE {namespace}.test_clock (now bigint NOT NULL)")
    await admin.execute(f"INSERT INTO {namespace}.test_clock VALUES ({EPOCH})")
    await admin.execute(
        f"CREATE OR REPLACE FUNCTION {namespace}.clock() RETURNS bigint LANGUAGE sql VOLATILE AS"
        f" 'SELECT now FROM {namespace}.test_clock'"
    )

    async def set_clock(now: int) -> None:
        await admin.execute(f"UPDATE {namespace}.test_clock SET now = $1", now)

    return set_clock
