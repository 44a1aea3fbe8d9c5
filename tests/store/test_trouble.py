"""Trouble with the server is StoreTrouble, never a verdict; and the store heals by itself with the next call."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import asyncpg
import pytest
from worlds import GRACE, Admin, new_run_id, postgres_store

from fencepost_store.admission import Unstorable
from fencepost_store.coalescer import Coalescer
from fencepost_store.driver import PostgresError
from fencepost_store.events import EventType as E
from fencepost_store.events import NewEvent
from fencepost_store.postgres import PostgresStore, connect
from fencepost_store.protocol import Batch, CorruptLog, NewRun, Outcome, StoreTrouble, Verdict
from fencepost_store.statements import Statements
from fencepost_store.translation import translated, where
from fencepost_store.trouble import RolledBack, RowHeld, ServerUnable, StoreRefused, UnableRolledBack
from fencepost_store.wire import arguments, compared, verdicts

STEP = NewEvent(E.step_created, "s#1")


@pytest.fixture
async def store(postgres_url: str, namespace: str) -> AsyncIterator[PostgresStore]:
    store = await postgres_store(postgres_url, namespace)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def admin(postgres_url: str) -> AsyncIterator[Admin]:
    connection = await asyncpg.connect(postgres_url)
    try:
        yield connection
    finally:
        await connection.close()


async def new_run(store: PostgresStore) -> str:
    run_id = new_run_id()
    await store.start(NewRun(run_id, "flow", "q", b"\x01", GRACE))
    return run_id


async def end_backends(admin: Admin) -> None:
    """What a restart of the server does to every connection of ours in this test's process."""
    await admin.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'fencepost'")


async def waiting(admin: Admin) -> int:
    """The pid of a session of ours that waits for a lock, as soon as there is one."""
    pid: int | None = None
    while pid is None:
        pid = await admin.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'fencepost'"
            " AND cardinality(pg_blocking_pids(pid)) > 0 LIMIT 1"
        )
    return pid


async def test_h85_after_the_server_dropped_every_connection_the_next_call_connects_anew(
    store: PostgresStore, admin: Admin
) -> None:
    run = await new_run(store)
    await asyncio.gather(*(store.get(run) for _ in range(8)))
    await end_backends(admin)
    outcomes: Counter[str] = Counter()
    for _ in range(6):
        try:
            assert await store.get(run) is not None
            outcomes["ok"] += 1
        except StoreTrouble:
            outcomes["trouble"] += 1
    assert outcomes["ok"] >= 2, f"at most one failure per connection that was open: {outcomes}"


async def test_h18_a_call_whose_backend_dies_is_trouble_of_unknown_outcome(store: PostgresStore, admin: Admin) -> None:
    run = await new_run(store)
    async with store.locked(run, 10) as locked:
        task = asyncio.create_task(store.append([Batch(run, 1, (STEP,))]))
        await admin.fetch("SELECT pg_terminate_backend($1)", await waiting(admin))
        with pytest.raises(StoreTrouble) as caught:
            await task
        assert not isinstance(caught.value, RolledBack)
        assert (await locked.append(Batch(run, 1, (STEP,)))).outcome is Outcome.ok
    (verdict,) = await store.append([Batch(run, 2, (NewEvent(E.marker, "m"),))])
    assert verdict.outcome is Outcome.ok


async def test_h85_under_load_every_answer_is_a_verdict_or_trouble_and_the_log_agrees(
    store: PostgresStore, admin: Admin
) -> None:
    coalescer = Coalescer(store)
    runs = [await new_run(store) for _ in range(8)]
    landed: Counter[str] = Counter()
    troubles = 0

    async def work(run: str) -> None:
        nonlocal troubles
        for n in range(60):
            event = NewEvent(E.cancel_requested, dedupe=f"{run}-{n}")
            while True:
                try:
                    verdict = await coalescer.append(Batch(run, None, (event,)))
                except StoreTrouble:
                    troubles += 1
                    continue
                assert verdict.outcome is Outcome.ok
                landed[run] += 1
                break
            if n == 30 and run == runs[0]:
                await end_backends(admin)

    await asyncio.gather(*(work(run) for run in runs))
    await coalescer.close()
    assert troubles > 0, "nobody noticed: the test did not disturb anything"
    for run in runs:
        loaded = await store.load(run)
        assert loaded is not None
        assert len(loaded.events) == 1 + landed[run] == 61, "sent again by its delivery id, each landed once"


async def test_a_cancelled_call_costs_its_connection_and_nothing_else(store: PostgresStore, admin: Admin) -> None:
    run = await new_run(store)
    async with store.locked(run, 10):
        task = asyncio.create_task(store.append([Batch(run, 1, (STEP,))]))
        await waiting(admin)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await store.get(run) is not None


async def test_a_cancelled_lock_stays_cancelled_and_rolls_back(store: PostgresStore) -> None:
    run = await new_run(store)
    entered = asyncio.Event()

    async def hold() -> None:
        async with store.locked(run, 10) as locked:
            await locked.append(Batch(run, 1, (STEP,)))
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (verdict,) = await store.append([Batch(run, 1, (NewEvent(E.marker, "m"),))])
    assert (verdict.outcome, verdict.last_seq) == (Outcome.ok, 2)


async def test_the_server_ends_a_lock_that_is_held_beyond_its_budget(store: PostgresStore, admin: Admin) -> None:
    run = await new_run(store)

    async def overstay() -> None:
        async with store.locked(run, 0.1) as locked:
            await locked.append(Batch(run, 1, (STEP,)))
            ended = False
            while not ended:
                ended = await admin.fetchval(
                    "SELECT count(*) = 0 FROM pg_stat_activity"
                    " WHERE application_name = 'fencepost' AND state LIKE 'idle in transaction%'"
                )
            await locked.load(0)

    with pytest.raises(StoreTrouble):
        await overstay()
    async with store.locked(run, 10):
        with pytest.raises(StoreTrouble):
            async with store.locked(run, 0.05):
                raise AssertionError("two hold one lock")
    loaded = await store.load(run)
    assert loaded is not None
    assert loaded.run.last_seq == 1


async def test_a_missing_database_or_socket_is_named_without_the_password(postgres_url: str) -> None:
    wrong = postgres_url.replace("/postgres?", "/nobody_has_this?")
    assert wrong != postgres_url
    with pytest.raises(StoreRefused, match="nobody_has_this"):
        await connect(wrong, "any")
    with pytest.raises(StoreTrouble) as caught:
        await connect("postgresql://me:geheim@/db?host=/nowhere/at/all", "any")
    assert not isinstance(caught.value, StoreRefused)
    assert "/nowhere/at/all (user me, database db)" in str(caught.value)
    assert "geheim" not in str(caught.value)
    assert where("postgresql://u:p@h:5433/d") == "h:5433 (user u, database d)"


@pytest.mark.parametrize(
    ("state", "severity", "kind"),
    [
        ("40P01", "ERROR", RolledBack),
        ("40001", "ERROR", RolledBack),
        ("55P03", "ERROR", RowHeld),
        ("57014", "ERROR", RolledBack),
        ("53300", "FATAL", ServerUnable),
        ("53100", "ERROR", UnableRolledBack),
        ("25006", "ERROR", UnableRolledBack),
        ("57P01", "FATAL", StoreTrouble),
        ("57P03", "FATAL", StoreTrouble),
        ("25P04", "FATAL", StoreTrouble),
        ("28P01", "FATAL", StoreRefused),
        ("3D000", "FATAL", StoreRefused),
        ("42P01", "ERROR", StoreRefused),
        ("42501", "ERROR", StoreRefused),
        ("22021", "ERROR", Unstorable),
        ("23505", "ERROR", Unstorable),
        ("54000", "ERROR", Unstorable),
        ("XX000", "ERROR", RolledBack),
    ],
)
def test_errors_are_classed_by_sqlstate(state: str, severity: str, kind: type[Exception]) -> None:
    error = PostgresError("whatever it says")
    error.sqlstate, error.severity_en = state, severity
    assert type(translated(error, "postgresql://h/d")) is kind


def test_errors_of_the_network_are_trouble_and_bugs_are_not() -> None:
    for error in (ConnectionResetError(), TimeoutError(), asyncpg.InterfaceError("gone"), EOFError()):
        assert type(translated(error, "postgresql://h/d")) is StoreTrouble
    assert translated(KeyError("bug"), "postgresql://h/d") is None
    assert translated(asyncio.CancelledError(), "postgresql://h/d") is None


def _reply(**changes: object) -> dict[str, object]:
    reply: dict[str, object] = {
        "o_now": 5,
        "o_outcomes": [0],
        "o_last_seqs": [3],
        "o_fences": [3],
        "o_statuses": [1],
        "o_codes": [0, 0],
        "o_values": [2, 3],
        "o_owners": None,
        "o_stamps": [7],
    }
    return reply | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"o_outcomes": []},
        {"o_outcomes": [9]},
        {"o_statuses": [7]},
        {"o_codes": [0]},
        {"o_codes": [0, 9]},
        {"o_values": [2, 4]},
        {"o_last_seqs": [9]},
        {"o_codes": [0, 5]},
        {"o_stamps": []},
    ],
)
def test_h18_a_reply_that_does_not_fit_is_trouble_and_never_a_verdict(changes: dict[str, object]) -> None:
    batches = [Batch("r", 1, (STEP, NewEvent(E.marker, "m")))]
    (sound,) = verdicts(_reply(), batches, 7)
    assert isinstance(sound, Verdict)
    assert [event.seq for event in sound.events] == [2, 3]
    with pytest.raises(StoreTrouble):
        verdicts(_reply(**changes), batches, 7)


async def test_append_refuses_another_isolation_level(store: PostgresStore, admin: Admin, namespace: str) -> None:
    run = await new_run(store)
    call = Statements(namespace)["append"]
    batches = [Batch(run, 1, (STEP,))]
    async with admin.transaction(isolation="repeatable_read"):
        with pytest.raises(asyncpg.PostgresError, match="READ COMMITTED"):
            await admin.fetch(call, *arguments(batches, careful=False), *compared(batches, 7))


async def test_h05_a_log_with_a_gap_is_corrupt_and_never_loaded(
    store: PostgresStore, admin: Admin, namespace: str
) -> None:
    run = await new_run(store)
    await store.append([Batch(run, 1, tuple(NewEvent(E.marker, f"m#{n}") for n in range(4)))])
    await admin.execute(f"DELETE FROM {namespace}.events WHERE seq = 3")
    with pytest.raises(CorruptLog, match="gap"):
        await store.load(run)
    with pytest.raises(CorruptLog, match="expected from 3"):
        await store.load(run, 2)
    await admin.execute(f"DELETE FROM {namespace}.events WHERE seq = 5")
    with pytest.raises(CorruptLog, match="ends at seq 4"):
        await store.load(run, 3)


async def test_without_prepared_statements_everything_works_and_nothing_stays_in_the_session(
    postgres_url: str, namespace: str, admin: Admin
) -> None:
    store = await postgres_store(postgres_url, namespace, prepared_statements=False, connections=1)
    try:
        run = await new_run(store)
        (verdict,) = await store.append([Batch(run, 1, (STEP,), seen=1, wake_at=7)])
        assert verdict.outcome is Outcome.ok
        async with store.locked(run, 5) as locked:
            assert (await locked.append(Batch(run, 2, (NewEvent(E.marker, "m"),)))).outcome is Outcome.ok
        (refused,) = await store.append([Batch(run, 3, (STEP,))])
        assert refused.outcome is Outcome.refused
        loaded = await store.load(run)
        assert loaded is not None
        assert len(loaded.events) == 3
    finally:
        await store.close()


async def test_a_closed_store_says_so(store: PostgresStore) -> None:
    await store.close()
    await store.close()
    with pytest.raises(StoreTrouble, match="closed"):
        await store.now()


async def test_a_long_log_comes_in_pages_and_whole(store: PostgresStore) -> None:
    run = await new_run(store)
    for part in range(3):
        events = tuple(NewEvent(E.marker, f"m#{part}-{n}") for n in range(900))
        (verdict,) = await store.append([Batch(run, 1 + part * 900, events)])
        assert verdict.outcome is Outcome.ok
    loaded = await store.load(run)
    assert loaded is not None
    assert [event.seq for event in loaded.events] == list(range(1, 2_702))


def test_a_server_that_hangs_is_said_to_not_answer() -> None:
    """asyncio's TimeoutError has no words of its own, and "TimeoutError:" helps nobody."""
    told = translated(TimeoutError(), "postgresql://u@h/d")
    assert str(told) == "Postgres at h (user u, database d) did not answer in time"
