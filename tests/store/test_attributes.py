"""Attributes and put-off starts: in one transaction with the event, and found by index. Each store in turn."""

from __future__ import annotations

import asyncpg
import pytest
from worlds import EPOCH, GRACE, SECOND, World, new_run_id, postgres_store

from fencepost_store.admission import Unstorable
from fencepost_store.attributes import ATTRIBUTES_TAG, TEXT_BYTES_MAX, packed
from fencepost_store.events import EventType as E
from fencepost_store.events import NewEvent
from fencepost_store.ledger import WAKE_GRAIN
from fencepost_store.postgres import PostgresStore
from fencepost_store.protocol import NewRun, Outcome, RunFilter, RunStatus, Store

NEAR = 600 * SECOND
RUNS = 3_000
READS_MAX = 60
"""Rows and index entries of one look-up, with the few runs that it finds."""


def setting(number: int, **changes: str | None) -> NewEvent:
    return NewEvent(E.attributes_set, f"attributes#{number}", payload=packed(changes))


async def attributes_of(world: World, run_id: str) -> dict[str, str]:
    return dict((await world.store.details([run_id]))[run_id].attributes)


async def test_attributes_change_with_their_event_and_in_the_order_of_events(world: World) -> None:
    run = await world.run()
    await world.turn(run, setting(1, stage="snew", n="i1"), setting(2, stage="spaid"), setting(3, n=None, m="i2"))
    assert await attributes_of(world, run) == {"stage": "spaid", "m": "i2"}
    found = await world.store.list_runs(RunFilter(attributes={"stage": ("spaid",), "m": ("i1", "i2")}), 10)
    assert [one.run_id for one in found] == [run]
    assert await world.store.list_runs(RunFilter(attributes={"stage": ("snew",)}), 10) == []


async def test_i2_a_batch_that_does_not_land_changes_no_attribute(world: World) -> None:
    run = await world.run()
    stale = await world.fenced(run, 1, setting(1, stage="spaid"), seen=2)
    assert stale.outcome is Outcome.conflict
    refused = await world.turn(run, setting(1, stage="spaid"), NewEvent(E.step_cancelled, "nothing#1"))
    assert refused.outcome is Outcome.refused
    assert await attributes_of(world, run) == {}


async def test_attributes_stay_when_the_run_has_ended_and_start_with_it(world: World) -> None:
    run_id = new_run_id()
    await world.store.start(NewRun(run_id, "flow", "q", b"\x01", GRACE, attributes={"customer": "sx"}))
    await world.turn(run_id, NewEvent(E.run_started), setting(1, stage="spaid"), NewEvent(E.run_completed))
    assert await attributes_of(world, run_id) == {"customer": "sx", "stage": "spaid"}
    where = RunFilter("flow", (RunStatus.completed,), "q", {"stage": ("spaid",), "customer": ("sx",)})
    assert [one.run_id for one in await world.store.list_runs(where, 10)] == [run_id]
    again = await world.store.start(NewRun(run_id, "flow", "q", b"\x01", GRACE, attributes={"customer": "sy"}))
    assert not again.created
    assert (await attributes_of(world, run_id))["customer"] == "sx", "a run that was there is not changed by a start"


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"\x01{}", "begins with"),
        (ATTRIBUTES_TAG + b"[]", "no changes"),
        (ATTRIBUTES_TAG + b"\xff", "no changes"),
        (packed({"n": "s\0"}), "NUL"),
        (packed({"n": "s" * (TEXT_BYTES_MAX + 1)}), f"more than {TEXT_BYTES_MAX} bytes"),
    ],
)
async def test_what_postgres_could_not_read_is_refused_before_it_is_sent(
    world: World, payload: bytes, words: str
) -> None:
    run = await world.run()
    with pytest.raises(Unstorable, match=words):
        await world.turn(run, NewEvent(E.attributes_set, "attributes#1", payload=payload))


async def test_a_put_off_start_stands_in_the_log_and_its_deadline_is_when_it_comes_near(world: World) -> None:
    for in_, at, due, wake in (
        (7_200 * SECOND, None, EPOCH + 7_200 * SECOND, EPOCH + 6_600 * SECOND),
        (60 * SECOND, None, EPOCH + 60 * SECOND, EPOCH + 60 * SECOND + GRACE),
        (None, EPOCH + NEAR, EPOCH + NEAR, EPOCH + NEAR + GRACE),
        (None, EPOCH - 1, None, EPOCH + GRACE),
        (0, None, None, EPOCH + GRACE),
    ):
        run_id = new_run_id()
        started = await world.store.start(
            NewRun(run_id, "flow", "q", b"\x01", GRACE, start_in=in_, start_at=at, near=NEAR)
        )
        assert started.starts_in == (0 if due is None else due - EPOCH)
        loaded = await world.loaded(run_id)
        assert (loaded.events[0].due, loaded.run.wake_at) == (due, wake)
        assert (await world.store.details([run_id]))[run_id].starts_at == due
        await world.turn(run_id, NewEvent(E.run_started))
        assert (await world.store.details([run_id]))[run_id].starts_at is None, "it has begun"


async def test_a_cancellation_before_the_start_lowers_the_deadline(world: World) -> None:
    run_id = new_run_id()
    await world.store.start(NewRun(run_id, "flow", "q", b"\x01", GRACE, start_in=10 * NEAR, near=NEAR))
    await world.fact(run_id, NewEvent(E.cancel_requested, dedupe="c"))
    assert (await world.loaded(run_id)).run.wake_at == -(-(EPOCH + GRACE) // WAKE_GRAIN) * WAKE_GRAIN


async def rows_read(store: PostgresStore, admin: asyncpg.Connection, namespace: str) -> int:
    """Rows and index entries that scans of runs and attributes have read so far."""
    async with store._shared.use() as held:  # pyright: ignore[reportPrivateUsage] - a backend reports for itself only
        await held.connection.execute("SELECT pg_stat_force_next_flush()")
    row = await admin.fetchrow(
        "SELECT sum(idx_tup_read) + (SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE schemaname = $1"
        " AND relname IN ('runs', 'run_attributes')) FROM pg_stat_user_indexes WHERE schemaname = $1"
        " AND relname IN ('runs', 'run_attributes')",
        namespace,
    )
    assert row is not None
    return int(row[0])


async def crowd(store: Store, admin: asyncpg.Connection, namespace: str) -> None:
    """Many runs that have completed; in the middle one has failed, one is running, one is of another workflow and has
    an attribute of its own; a common attribute has everybody."""
    await admin.execute(
        f"""
        INSERT INTO {namespace}.runs (created_at, run_id, updated_at, last_seq, fence, status, workflow, queue)
        SELECT n, ('01920000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, n, 1, 1,
            CASE n WHEN {RUNS // 2} THEN 11 WHEN {RUNS // 2 + 1} THEN 1 ELSE 10 END,
            CASE n WHEN {RUNS // 2} THEN 'other' ELSE 'flow' END, 'q'
        FROM generate_series(1, {RUNS}) AS n;
        INSERT INTO {namespace}.run_attributes (run_id, name, value)
        SELECT run_id, 'stage', 'spaid' FROM {namespace}.runs
        UNION ALL SELECT run_id, 'customer', 's' || created_at FROM {namespace}.runs;
        ANALYZE {namespace}.runs, {namespace}.run_attributes
        """
    )


@pytest.mark.parametrize(
    "where",
    [
        RunFilter(statuses=(RunStatus.failed,)),
        RunFilter(statuses=(RunStatus.failed, RunStatus.cancelled)),
        RunFilter(statuses=(RunStatus.running,)),
        RunFilter(statuses=(RunStatus.pending, RunStatus.running, RunStatus.parked), workflow="flow"),
        RunFilter(workflow="other"),
        RunFilter(attributes={"customer": (f"s{RUNS // 2}",)}),
        RunFilter(attributes={"customer": (f"i{RUNS // 2}", f"s{RUNS // 2}")}),
        RunFilter("other", (RunStatus.failed,), "q", {"stage": ("spaid",)}),
        RunFilter("flow", (RunStatus.running,), None, {"stage": ("spaid",), "customer": (f"s{RUNS // 2 + 1}",)}),
    ],
    ids=lambda where: " ".join(str(part) for part in (where.workflow, *where.attributes, *where.statuses) if part),
)
async def test_runs_are_listed_by_status_workflow_and_attributes_through_indexes(
    postgres_url: str, namespace: str, where: RunFilter
) -> None:
    """With so many others, what is read is what is found."""
    store = await postgres_store(postgres_url, namespace)
    admin = await asyncpg.connect(postgres_url)
    try:
        await crowd(store, admin, namespace)
        before = await rows_read(store, admin, namespace)
        assert len(await store.list_runs(where, 20)) == 1
        assert 0 < await rows_read(store, admin, namespace) - before <= READS_MAX
    finally:
        await admin.close()
        await store.close()
