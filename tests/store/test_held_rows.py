"""Rows that somebody else's transaction holds for long: what waits for them stands in nobody's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from worlds import new_run_id, postgres_store

from fencepost_store import coalescer as coalescing
from fencepost_store.coalescer import Coalescer
from fencepost_store.connections import Connections, Held
from fencepost_store.events import EventType, NewEvent
from fencepost_store.postgres import PostgresStore
from fencepost_store.protocol import Batch, NewRun, Outcome, StoreTrouble
from fencepost_store.sessions import Budget
from fencepost_store.trouble import RowHeld

GRACE = 10_000_000
HELD = 20
"""More than there are single appends at once."""


@pytest.fixture
async def store(postgres_url: str, namespace: str) -> AsyncIterator[PostgresStore]:
    store = await postgres_store(postgres_url, namespace)
    yield store
    await store.close()


@pytest.fixture
async def admin(postgres_url: str) -> AsyncIterator[Any]:
    admin: Any = await asyncpg.connect(postgres_url)
    yield admin
    await admin.close()


async def _run(store: PostgresStore) -> str:
    run_id = new_run_id()
    await store.start(NewRun(run_id, "flow", "default", b"\x01in", GRACE))
    return run_id


def _signal(run_id: str) -> Batch:
    return Batch(run_id, None, (NewEvent(EventType.cancel_requested, dedupe=new_run_id()),), grace=GRACE)


async def _hold(admin: Any, namespace: str, run_ids: list[str]) -> None:
    await admin.execute("BEGIN")
    await admin.fetch(f"SELECT FROM {namespace}.runs WHERE run_id = ANY ($1::uuid[]) FOR UPDATE", run_ids)


@pytest.mark.parametrize("prepared", [True, False])
async def test_h224_held_rows_stop_no_other_append(
    postgres_url: str, namespace: str, admin: Any, prepared: bool
) -> None:
    """Signals to runs whose rows are held wait, and a thousand of others land meanwhile; then those land, each once."""
    store = await postgres_store(postgres_url, namespace, prepared_statements=prepared)
    coalescer = Coalescer(store)
    try:
        held = [await _run(store) for _ in range(HELD)]
        free = [await _run(store) for _ in range(10)]
        await _hold(admin, namespace, held)
        waiting = [asyncio.create_task(coalescer.append(_signal(run_id))) for run_id in held]
        for _ in range(20):
            verdicts = await asyncio.gather(*(coalescer.append(_signal(run_id)) for run_id in free))
            assert {verdict.outcome for verdict in verdicts} == {Outcome.ok}
            assert (await store.get(free[0])) is not None, "loads have connections as well"
        assert not any(task.done() for task in waiting)
        await admin.execute("COMMIT")
        assert {verdict.outcome for verdict in await asyncio.gather(*waiting)} == {Outcome.ok}
        for run_id in held:
            loaded = await store.load(run_id)
            assert loaded is not None
            assert [event.type for event in loaded.events] == [EventType.run_created, EventType.cancel_requested]
    finally:
        await coalescer.close()
        await store.close()


async def test_h224_a_call_that_is_not_to_wait_is_busy_at_once(
    store: PostgresStore, admin: Any, namespace: str
) -> None:
    run_id = await _run(store)
    await _hold(admin, namespace, [run_id])
    (verdict,) = await store.append([_signal(run_id)], wait=False)
    assert verdict.outcome is Outcome.busy
    (verdict,) = await store.append([_signal(run_id)])
    assert verdict.outcome is Outcome.busy, "nor does any other for long"
    await admin.execute("COMMIT")
    (verdict,) = await store.append([_signal(run_id)], wait=False)
    assert verdict.outcome is Outcome.ok


async def test_h224_deadlines_of_held_rows_keep_no_connection_from_others(
    store: PostgresStore, admin: Any, namespace: str
) -> None:
    """Setting one is trouble with that run alone."""
    held = [await _run(store) for _ in range(8)]
    await _hold(admin, namespace, held)
    touches = [asyncio.create_task(store.touch(run_id, 1, 1, None)) for run_id in held]
    for run_id in held:
        assert await store.load(run_id) is not None
    assert not all(touch.done() for touch in touches)
    for touch in touches:
        with pytest.raises(RowHeld):
            await touch
    await admin.execute("COMMIT")
    assert (await store.touch(held[0], 1, 1, None)).outcome is Outcome.ok


async def test_h224_a_row_that_nobody_lets_go_fails_its_own_appends(
    store: PostgresStore, admin: Any, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the run and where to look; facts that were merged fail together, for each would wait as long again."""
    monkeypatch.setattr(coalescing, "WAITS_MAX", 1)
    run_id = await _run(store)
    await _hold(admin, namespace, [run_id])
    coalescer = Coalescer(store)
    appends = [asyncio.create_task(coalescer.append(_signal(run_id))) for _ in range(3)]
    for append in appends:
        with pytest.raises(RowHeld, match=f"holds the row of run {run_id}.*pg_stat_activity"):
            await append
    await admin.execute("COMMIT")
    assert (await coalescer.append(_signal(run_id))).outcome is Outcome.ok
    await coalescer.close()


async def _frozen(held: Held) -> None:
    async with held.transaction(Budget(idle_ms=1)):
        while not held.connection.is_closed():  # noqa: ASYNC110 - the server does that
            await asyncio.sleep(0.001)
        await held.fetch(LIMITS)


LIMITS = (
    "SELECT current_setting('idle_in_transaction_session_timeout') AS idle, current_setting('lock_timeout') AS lock"
)


async def test_h223_a_pooler_s_transaction_has_its_limits_from_its_first_moment(postgres_url: str) -> None:
    """Who is frozen between two round trips of one statement holds its locks for no longer than that."""
    pool = Connections(postgres_url, 1, prepared=False, command_timeout_seconds=30, lock_seconds=0.5)
    try:
        (row,) = await pool.fetch(LIMITS)
        assert (row["idle"], row["lock"]) == ("5s", "500ms")
        async with pool.use() as held:
            with pytest.raises(StoreTrouble, match="connection is closed"):
                await _frozen(held)
    finally:
        await pool.close()
