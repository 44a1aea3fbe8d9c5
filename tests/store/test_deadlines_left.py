"""A deadline that moves back or goes is left in the index until it has passed: it is none, and hides none (H214)."""

from __future__ import annotations

import re

import asyncpg
from worlds import EPOCH, GRACE, SECOND, World

from fencepost_store.events import EventType as E
from fencepost_store.events import NewEvent
from fencepost_store.ledger import WAKE_GRAIN
from fencepost_store.postgres import PostgresStore

ARMED = -(-(EPOCH + GRACE) // WAKE_GRAIN) * WAKE_GRAIN
FAR = EPOCH + 3_600 * SECOND
HOT_MIN = 0.95
HOOK = NewEvent(E.hook_created, "h#1", token="t", payload=b"\1")


async def wake_of(world: World, run: str) -> int | None:
    return (await world.loaded(run)).run.wake_at


async def signal(world: World, run: str, number: int, wake_at: int | None) -> None:
    """A signal, and the turn that takes it in."""
    await world.fact(run, NewEvent(E.hook_received, "h#1", dedupe=f"d{number}", payload=b"\1"))
    assert await wake_of(world, run) is not None
    await world.turn(run, NewEvent(E.marker, f"m#{number}"), wake_at=wake_at)
    assert await wake_of(world, run) == wake_at


async def kept(world: World, postgres_url: str) -> list[int]:
    """What the rows have in the index, earliest first."""
    store = world.store
    assert isinstance(store, PostgresStore)
    schema = store._sql.schema  # pyright: ignore[reportPrivateUsage] - what is in the index is seen nowhere else
    admin = await asyncpg.connect(postgres_url)
    try:
        rows = await admin.fetch(f"SELECT wake_at FROM {schema}.runs WHERE wake_at IS NOT NULL ORDER BY wake_at")
        return [row["wake_at"] for row in rows]
    finally:
        await admin.close()


async def test_h214_signals_and_their_turns_touch_no_index(postgres_world: World, postgres_url: str) -> None:
    """Each arms a deadline and each turn takes it away, and the row stays on its page."""
    world, signals = postgres_world, 100
    run = await world.run(HOOK)
    store = world.store
    assert isinstance(store, PostgresStore)
    namespace = re.sub('"', "", store._sql.schema)  # pyright: ignore[reportPrivateUsage] - as above
    admin = await asyncpg.connect(postgres_url)
    counted = (
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE schemaname = $1 AND relname = 'runs'",
        namespace,
    )
    try:
        before = await flushed(store, admin, *counted)
        for number in range(signals):
            await signal(world, run, number, None)
        updates, hot = (then - first for then, first in zip(await flushed(store, admin, *counted), before, strict=True))
    finally:
        await admin.close()
    print(f"{hot} of {updates} updates of runs were HOT")
    assert updates == 2 * signals
    assert hot >= HOT_MIN * updates


async def flushed(store: PostgresStore, admin: asyncpg.Connection, sql: str, namespace: str) -> tuple[int, int]:
    async with store._for_held_rows.use() as held:  # pyright: ignore[reportPrivateUsage] - a backend reports for itself only
        await held.connection.execute("SELECT pg_stat_force_next_flush()")
    row = await admin.fetchrow(sql, namespace)
    assert row is not None
    return row["n_tup_upd"], row["n_tup_hot_upd"]


async def test_h214_what_was_left_is_not_due_and_is_moved_when_it_has_passed(
    postgres_world: World, postgres_url: str
) -> None:
    world = postgres_world
    gone, later = await world.run(HOOK), await world.run(NewEvent(E.hook_created, "h#1", token="u", payload=b"\1"))
    await signal(world, gone, 1, None)
    await signal(world, later, 1, FAR)
    assert await kept(world, postgres_url) == [ARMED, ARMED]
    assert [due.run_id for due in await world.store.scan_deadlines(None, 10)] == [later]
    await world.advance(ARMED - EPOCH)
    assert await world.store.take_due(10, SECOND) == []
    assert await kept(world, postgres_url) == [FAR]
    assert await wake_of(world, later) == FAR
    await world.advance(FAR - world.time)
    assert [(due.run_id, due.wake_at) for due in await world.store.take_due(10, SECOND)] == [(later, FAR)]
    assert await wake_of(world, later) == FAR + SECOND


async def test_h214_what_was_left_hides_nothing_that_is_due(postgres_world: World, postgres_url: str) -> None:
    """More of it than is asked for; the run that is due comes all the same."""
    world, limit = postgres_world, 2
    for number in range(30 * limit):
        run = await world.run(NewEvent(E.hook_created, "h#1", token=f"t{number}", payload=b"\1"))
        await signal(world, run, 1, None)
    due = await world.run()
    await world.turn(due, NewEvent(E.marker, "m#1"), wake_at=ARMED + 1)
    await world.advance(ARMED - EPOCH + SECOND)
    assert [one.run_id for one in await world.store.take_due(limit, 60 * SECOND)] == [due]
    assert await kept(world, postgres_url) == [ARMED + 61 * SECOND]


async def test_h214_a_run_that_has_ended_keeps_no_deadline_that_it_has_not(
    postgres_world: World, postgres_url: str
) -> None:
    """By what stands in the index its duties are known: a run with a deadline is not pruned."""
    world = postgres_world
    run = await world.run(HOOK)
    await signal(world, run, 1, None)
    await world.turn(run, NewEvent(E.run_completed, payload=b"\1"), wake_at=None)
    assert await kept(world, postgres_url) == []
