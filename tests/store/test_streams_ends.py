"""H115: a stream's write is under way while its run ends. A reader that has seen the end and has waited for the write
has seen all; and a stream's first write, which has no row to lock, makes the run's end wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from worlds import GRACE, Admin, E, World, new_run_id, postgres_store

from fencepost_store.events import NewEvent
from fencepost_store.protocol import Batch, NewRun, Outcome
from fencepost_store.streams import StreamOutcome, StreamWrite


@pytest.fixture
async def world(postgres_url: str, namespace: str) -> AsyncIterator[World]:
    store = await postgres_store(postgres_url, namespace)

    async def no_clock(now: int) -> None:
        raise AssertionError("the database's own clock")

    try:
        yield World(store, no_clock)
    finally:
        await store.close()


@pytest.fixture
async def slow(postgres_url: str) -> AsyncIterator[Admin]:
    """A connection whose transactions the test ends by hand."""
    connection = await asyncpg.connect(postgres_url)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def watcher(postgres_url: str) -> AsyncIterator[Admin]:
    connection = await asyncpg.connect(postgres_url)
    try:
        yield connection
    finally:
        await connection.close()


async def under_way(world: World) -> str:
    run_id = new_run_id()
    await world.store.start(NewRun(run_id, "flow", "default", b"\x01in", GRACE))
    await world.turn(run_id, NewEvent(E.run_started))
    await world.turn(run_id, NewEvent(E.step_created, "w#1"))
    await world.fact(run_id, NewEvent(E.step_started, "w#1", attempt=1, dedupe="t"))
    return run_id


async def write_slowly(slow: Admin, namespace: str, run_id: str, first: int, chunk: bytes) -> None:
    """A write whose commit is still to come."""
    await slow.execute("BEGIN")
    row = await slow.fetchrow(
        f"SELECT * FROM {namespace}.write_stream($1, 's', 'w#1', 1::smallint, $2, $3, false, 1000)",
        run_id,
        first,
        [chunk],
    )
    assert row["o_outcome"] == 0


async def waits_for_a_lock(watcher: Admin, task: asyncio.Task[Any], words: str) -> None:
    """Return once a statement with these words waits for a lock; the task must not be done by then."""
    while not task.done():
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1"
        if await watcher.fetchval(query, f"%{words}%"):
            return
    raise AssertionError(f"it did not wait: {task.result()}")


async def test_h115_a_reader_waits_for_the_write_that_began_before_the_run_ended(
    world: World, slow: Admin, watcher: Admin, namespace: str
) -> None:
    run_id = await under_way(world)
    await world.store.write_stream(StreamWrite(run_id, "s", "w#1", 1, 0, (b"a",)))
    await write_slowly(slow, namespace, run_id, 1, b"b")
    await world.fact(run_id, NewEvent(E.run_terminated))
    page = await world.store.read_stream(run_id, "s", 1, limit=10, bytes_max=1000)
    assert page is not None
    assert page.status.ended
    assert page.chunks == ()
    settled = asyncio.ensure_future(world.store.settle_stream(run_id, "s"))
    await waits_for_a_lock(watcher, settled, "FOR SHARE")
    await slow.execute("COMMIT")
    await settled
    page = await world.store.read_stream(run_id, "s", 1, limit=10, bytes_max=1000)
    assert page is not None
    assert [chunk.payload for chunk in page.chunks] == [b"b"]
    late = await world.store.write_stream(StreamWrite(run_id, "s", "w#1", 1, 2, (b"c",)))
    assert late.outcome is StreamOutcome.run_ended


async def test_h115_the_first_write_of_a_stream_and_the_run_s_end_come_one_after_the_other(
    world: World, slow: Admin, watcher: Admin, namespace: str
) -> None:
    run_id = await under_way(world)
    await write_slowly(slow, namespace, run_id, 0, b"a")
    terminated = Batch(run_id, None, (NewEvent(E.run_terminated),), grace=GRACE)
    ending = asyncio.ensure_future(world.store.append([terminated]))
    await waits_for_a_lock(watcher, ending, "append")
    await slow.execute("COMMIT")
    (verdict,) = await ending
    assert verdict.outcome is Outcome.ok
    page = await world.store.read_stream(run_id, "s", 0, limit=10, bytes_max=1000)
    assert page is not None
    assert [chunk.payload for chunk in page.chunks] == [b"a"]


async def test_h114_the_zombie_s_write_that_is_under_way_is_counted_by_its_successor(
    world: World, slow: Admin, watcher: Admin, namespace: str
) -> None:
    """It began before the next attempt did. What the next attempt is told to continue from has it in it."""
    run_id = await under_way(world)
    await world.store.write_stream(StreamWrite(run_id, "s", "w#1", 1, 0, (b"a",)))
    await write_slowly(slow, namespace, run_id, 1, b"b")
    await world.fact(run_id, NewEvent(E.step_started, "w#1", attempt=2, dedupe="t2"))
    taking = asyncio.ensure_future(world.store.write_stream(StreamWrite(run_id, "s", "w#1", 2, 0)))
    await waits_for_a_lock(watcher, taking, "write_stream")
    await slow.execute("COMMIT")
    taken = await taking
    assert (taken.outcome, taken.written, taken.tail) == (StreamOutcome.ok, 2, 2)
