"""What the logs know of a token whose hook is gone: who listened, what was taken in. Each store in turn."""

from __future__ import annotations

import asyncpg
import pytest
from worlds import EPOCH, SECOND, World, new_run_id, postgres_store

from fencepost_store.events import EventType as E
from fencepost_store.events import NewEvent
from fencepost_store.protocol import TRACED_HOOKS, NewRun, RunStatus
from fencepost_store.statements import Statements


def hook(entity: str, token: str = "t", payload: bytes = b"\x01h") -> NewEvent:
    return NewEvent(E.hook_created, entity, token=token, payload=payload)


def signal(entity: str, delivery: str) -> NewEvent:
    return NewEvent(E.hook_received, entity, dedupe=delivery, payload=b"\x02p")


async def test_a_token_that_nobody_used_leaves_no_trace(world: World) -> None:
    run = await world.run(hook("h#1"))
    loser = await world.run(hook("h#1"))  # a conflict: it never listened
    assert await world.store.trace_token("other", "d") is None
    trace = await world.store.trace_token("t")
    assert trace is not None
    assert (trace.run_id, trace.live, trace.taken_by) == (run, True, None)
    assert trace.run_id != loser
    assert await world.store.trace_token("\0", "d") is None


async def test_the_hook_that_listens_is_told_with_its_record(world: World) -> None:
    await world.run(hook("h#1"), NewEvent(E.hook_disposed, "h#1"))
    await world.advance(-5 * SECOND)  # the clock went back: the one that listens still counts before the newest
    run = await world.run(hook("h#7", payload=b"\x01mine"))
    trace = await world.store.trace_token("t")
    assert trace is not None
    assert (trace.run_id, trace.entity, trace.payload, trace.live) == (run, "h#7", b"\x01mine", True)
    assert (trace.workflow, trace.queue, trace.status) == ("flow", "default", RunStatus.running)
    assert trace.at == EPOCH - 5 * SECOND


@pytest.mark.parametrize("end", [NewEvent(E.hook_disposed, "h#1"), NewEvent(E.run_completed)])
async def test_h103_a_delivery_is_known_after_its_hook_is_gone(world: World, end: NewEvent) -> None:
    run = await world.run(hook("h#1"), signal("h#1", "d"), end)
    trace = await world.store.trace_token("t", "d")
    assert trace is not None
    assert (trace.run_id, trace.live, trace.taken_by) == (run, False, run)
    assert trace.status is (RunStatus.completed if end.type is E.run_completed else RunStatus.running)
    other = await world.store.trace_token("t", "e")
    assert other is not None
    assert other.taken_by is None


async def test_h103_a_delivery_is_known_after_another_run_took_the_token(world: World) -> None:
    first = await world.run(hook("h#1"), signal("h#1", "d"), NewEvent(E.run_completed))
    await world.advance(SECOND)
    second = await world.run(hook("h#1"))
    trace = await world.store.trace_token("t", "d")
    assert trace is not None
    assert (trace.run_id, trace.live, trace.taken_by) == (second, True, first)


async def test_a_delivery_to_another_hook_of_the_same_run_is_another_delivery(world: World) -> None:
    """Or a signal under an id that a sender used for another token would be swallowed."""
    await world.run(hook("h#1"), hook("h#2", "u"), signal("h#2", "d"), NewEvent(E.run_completed))
    trace = await world.store.trace_token("t", "d")
    assert trace is not None
    assert trace.taken_by is None


async def test_only_so_many_hooks_that_are_gone_are_looked_at(world: World) -> None:
    events = [hook("h#0"), signal("h#0", "old"), NewEvent(E.hook_disposed, "h#0")]
    run = await world.run(*events)
    for n in range(1, TRACED_HOOKS):
        await world.turn(run, hook(f"h#{n}"), NewEvent(E.hook_disposed, f"h#{n}"))
    trace = await world.store.trace_token("t", "old")
    assert trace is not None
    assert (trace.taken_by, trace.entity) == (run, f"h#{TRACED_HOOKS - 1}")
    await world.turn(run, hook("last"), NewEvent(E.hook_disposed, "last"))
    trace = await world.store.trace_token("t", "old")
    assert trace is not None
    assert trace.taken_by is None


async def test_a_trace_is_a_look_up_in_a_log_of_20_000(postgres_url: str, namespace: str) -> None:
    """By index alone, whatever the log's length."""
    store = await postgres_store(postgres_url, namespace)
    run = new_run_id()
    try:
        await store.start(NewRun(run, "flow", "q", b"\x01", 10))
    finally:
        await store.close()
    admin = await asyncpg.connect(postgres_url)
    try:
        await admin.execute(
            f"""INSERT INTO {namespace}.events (at, run_id, seq, type, ordinal, attempt, entity, payload)
            SELECT 0, $1, n, 10, 0, 0, 's#' || n, '' FROM generate_series(4, 20000) n""",
            run,
        )
        await admin.execute(
            f"""INSERT INTO {namespace}.events (at, run_id, seq, type, ordinal, attempt, entity, token, dedupe, payload)
            VALUES (0, $1, 2, 30, 0, 0, 'h#1', 't', NULL, ''), (0, $1, 3, 32, NULL, 0, 'h#1', NULL, 'd', '')""",
            run,
        )
        await admin.execute(f"ANALYZE {namespace}.events, {namespace}.runs, {namespace}.hooks")
    finally:
        await admin.close()
    session = await asyncpg.connect(postgres_url)  # its statistics begin at nothing
    try:
        async with session.transaction():
            await session.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            (row,) = await session.fetch(Statements(namespace)["trace_token"], "t", "d")
            assert str(row["taken_by"]) == run
            read = await session.fetchval(
                "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables"
                " WHERE schemaname = $1 AND relname = 'events'",
                namespace,
            )
    finally:
        await session.close()
    assert read <= 4
