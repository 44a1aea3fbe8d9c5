"""What an append reads: as much at event 1,000 as at event 10, whatever the planner believes of the tables."""

from __future__ import annotations

import asyncpg
import pytest
import uuid_utils
from worlds import postgres_store

from fencepost_store.events import EventType, NewEvent
from fencepost_store.postgres import PostgresStore
from fencepost_store.protocol import Batch, NewRun, Outcome, Verdict

STEPS = 400
PER_APPEND_MAX = 8
"""Index entries: two look-ups per guarded fact, with room for what the update of the runs costs."""


def turn(run_id: str, last: Verdict, number: int) -> Batch:
    """The end of one step and the start of the next, as a worker's hot path sends them."""
    events = (
        NewEvent(EventType.step_completed, f"a#{number}", attempt=1, dedupe="w.1", payload=b"\1"),
        NewEvent(EventType.step_created, f"a#{number + 1}", payload=b"\1"),
        NewEvent(EventType.step_started, f"a#{number + 1}", attempt=1, dedupe="w.1", payload=b"\1"),
    )
    return Batch(run_id=run_id, fence=last.fence, seen=last.last_seq, events=events, grace=10_000_000)


async def started(store: PostgresStore) -> tuple[str, Verdict]:
    """A run whose first step is under way."""
    run_id = str(uuid_utils.uuid7())
    await store.start(NewRun(run_id, "w", "default", b"\1", 10_000_000))
    events = (
        NewEvent(EventType.run_started, payload=b"\1"),
        NewEvent(EventType.step_created, "a#1", payload=b"\1"),
        NewEvent(EventType.step_started, "a#1", attempt=1, dedupe="w.1", payload=b"\1"),
    )
    (verdict,) = await store.append([Batch(run_id=run_id, fence=1, seen=1, events=events, grace=10_000_000)])
    return run_id, verdict


@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.parametrize("analyzed_early", [False, True])
async def test_an_append_reads_no_more_of_a_long_log(
    postgres_url: str, namespace: str, runs: int, analyzed_early: bool
) -> None:
    """Without statistics, as in a schema's first minute, and with those of a time when every log was short."""
    store = await postgres_store(postgres_url, namespace)
    admin = await asyncpg.connect(postgres_url)
    try:
        if analyzed_early:
            for _ in range(50):
                await store.start(NewRun(str(uuid_utils.uuid7()), "w", "default", b"\1", 10_000_000))
            await admin.execute(f'ANALYZE "{namespace}".events, "{namespace}".runs')
        logs = [await started(store) for _ in range(runs)]
        before = await entries_read(store, admin, namespace)
        for number in range(1, STEPS + 1):
            verdicts = await store.append([turn(run_id, last, number) for run_id, last in logs])
            assert [verdict.outcome for verdict in verdicts] == [Outcome.ok] * runs
            logs = [(run_id, verdict) for (run_id, _), verdict in zip(logs, verdicts, strict=True)]
        read = await entries_read(store, admin, namespace) - before
        assert 0 < read <= PER_APPEND_MAX * STEPS * runs
    finally:
        await admin.close()
        await store.close()


@pytest.mark.parametrize("analyzed_early", [False, True])
async def test_a_look_up_reads_no_more_of_a_long_log(postgres_url: str, namespace: str, analyzed_early: bool) -> None:
    """One step of a log of 400: its creation, its start, the start it has not, its end."""
    store = await postgres_store(postgres_url, namespace)
    admin = await asyncpg.connect(postgres_url)
    try:
        if analyzed_early:
            for _ in range(50):
                await store.start(NewRun(str(uuid_utils.uuid7()), "w", "default", b"\1", 10_000_000))
            await admin.execute(f'ANALYZE "{namespace}".events, "{namespace}".runs')
        run_id, last = await started(store)
        for number in range(1, STEPS + 1):
            (last,) = await store.append([turn(run_id, last, number)])
        before = await entries_read(store, admin, namespace)
        looked_up = range(1, STEPS, 10)  # often enough for the plan that a server keeps
        for number in looked_up:
            found = await store.load_entity(run_id, f"a#{number}")
            assert found is not None
            assert len(found.events) == 3
        assert 0 < await entries_read(store, admin, namespace) - before <= len(looked_up) * PER_APPEND_MAX
    finally:
        await admin.close()
        await store.close()


async def entries_read(store: PostgresStore, admin: asyncpg.Connection, namespace: str) -> int:
    """Index entries and rows that scans of the events have read so far."""
    for pool in (store._shared, store._for_held_rows):  # pyright: ignore[reportPrivateUsage]
        async with pool.use() as held:  # a backend reports for itself only
            await held.connection.execute("SELECT pg_stat_force_next_flush()")
    row = await admin.fetchrow(
        "SELECT sum(idx_tup_read) + (SELECT seq_tup_read FROM pg_stat_user_tables WHERE schemaname = $1"
        " AND relname = 'events') FROM pg_stat_user_indexes WHERE schemaname = $1 AND relname = 'events'",
        namespace,
    )
    assert row is not None
    return int(row[0])
