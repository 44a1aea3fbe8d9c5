"""Many writers at once on real Postgres with fsync on. Each hammer is also turned on the unsafe variant, to show that
it can fail.

A hammer is evidence and not proof: the proof is the lock before the check, and the unique indexes behind both.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator

import asyncpg
import pytest
from worlds import GRACE, Admin, new_run_id, postgres_store

from fencepost_store import postgres
from fencepost_store.coalescer import append_alone
from fencepost_store.events import EventType as E
from fencepost_store.events import NewEvent
from fencepost_store.postgres import PostgresStore
from fencepost_store.protocol import Batch, NewRun, Outcome, StoreTrouble

WRITERS = 12
SECONDS = 2.0

UNSAFE = """
WITH tail AS (
    UPDATE {schema}.runs SET last_seq = last_seq + 1 WHERE run_id = $1 RETURNING last_seq
)
INSERT INTO {schema}.events (at, run_id, seq, type, ordinal, attempt, entity, payload)
SELECT 0, $1, tail.last_seq, 11, $3, $3, $2, '' FROM tail
WHERE NOT EXISTS (SELECT FROM {schema}.events WHERE run_id = $1 AND entity = $2 AND ordinal = 32767)
"""
"""step_started in one statement, as one would write it at first: its look at the log is older than the lock that it
waits for."""


@pytest.fixture
async def store(postgres_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PostgresStore]:
    """A call waits for a row until somebody has looked at how it waits."""
    monkeypatch.setattr(postgres, "LOCK_WAIT_SECONDS", 600.0)
    store = await postgres_store(postgres_url, namespace, connections=WRITERS)
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


async def new_run(store: PostgresStore, *events: NewEvent) -> str:
    run_id = new_run_id()
    await store.start(NewRun(run_id, "flow", "q", b"\x01", GRACE))
    if events:
        (verdict,) = await store.append([Batch(run_id, 1, events, seen=1)])
        assert verdict.outcome is Outcome.ok
    return run_id


async def late_starts(admin: Admin, namespace: str) -> int:
    """Starts that stand behind the end of their step."""
    found: int = await admin.fetchval(
        f"""SELECT count(*) FROM {namespace}.events s JOIN {namespace}.events e USING (run_id, entity)
        WHERE s.type = 11 AND e.ordinal = 32767 AND s.seq > e.seq"""
    )
    return found


async def gaps(admin: Admin, namespace: str) -> int:
    """Runs whose log is not 1..last_seq."""
    found: int = await admin.fetchval(
        f"""SELECT count(*) FROM {namespace}.runs r WHERE last_seq <> (
            SELECT count(*) FROM {namespace}.events e WHERE e.run_id = r.run_id AND e.seq <= r.last_seq)"""
    )
    return found


async def test_h01_h02_no_start_lands_behind_the_end_of_its_step(
    store: PostgresStore, admin: Admin, namespace: str
) -> None:
    """Starters and completers race for the same steps, through one door."""
    entities = [f"s#{n}" for n in range(100)]
    run = await new_run(store, *(NewEvent(E.step_created, entity) for entity in entities))
    counts: Counter[str] = Counter()
    until = time.monotonic() + SECONDS

    async def race(writer: int) -> None:
        source = random.Random(writer)
        while time.monotonic() < until:
            # Attempts are started in order by everybody, until somebody completes the step.
            kind = source.choice((E.step_started, E.step_started, E.step_completed))
            event = NewEvent(
                kind, source.choice(entities), attempt=source.choice((1, 1, 2)), dedupe=str(source.random())
            )
            (verdict,) = await store.append([Batch(run, None, (event,))])
            counts[f"{kind.name} {verdict.outcome.value}"] += 1

    await asyncio.gather(*(race(writer) for writer in range(WRITERS)))
    assert len(counts) == 4, f"every kind of verdict must have occurred: {counts}"
    assert await late_starts(admin, namespace) == 0
    assert await gaps(admin, namespace) == 0


async def test_h02_the_one_statement_variant_lets_late_starts_through(
    postgres_url: str, store: PostgresStore, admin: Admin, namespace: str
) -> None:
    """Driven by two sessions, so that it fails every time: the start waits for the row that the completion holds."""
    run = await new_run(store, NewEvent(E.step_created, "s#1"))
    starter = await asyncpg.connect(postgres_url)
    try:
        transaction = admin.transaction()
        await transaction.start()
        await admin.execute(f"UPDATE {namespace}.runs SET last_seq = last_seq + 1, fence = 3 WHERE run_id = $1", run)
        unsafe = UNSAFE.replace("{schema}", namespace)
        start = asyncio.create_task(starter.execute(unsafe, run, "s#1", 1))
        await _blocked(admin, starter.get_server_pid())
        await admin.execute(
            f"INSERT INTO {namespace}.events (at, run_id, seq, type, ordinal, attempt, entity, payload)"
            " VALUES (0, $1, 3, 13, 32767, 1, 's#1', '')",
            run,
        )
        await transaction.commit()
        await start
        assert await late_starts(admin, namespace) == 1, "the variant that must fail did not"
        # The same timeline through append: the check comes after the lock.
        other = await new_run(store, NewEvent(E.step_created, "s#1"))
        async with store.locked(other, 10) as locked:
            task = asyncio.create_task(
                store.append([Batch(other, None, (NewEvent(E.step_started, "s#1", attempt=1),))])
            )
            await _somebody_blocked(admin)
            await locked.append(Batch(other, None, (NewEvent(E.step_completed, "s#1", attempt=1),)))
        (verdict,) = await task
        assert verdict.outcome is Outcome.refused
        assert await late_starts(admin, namespace) == 1
    finally:
        await starter.close()


async def _blocked(admin: Admin, pid: int) -> None:
    """Return once this session waits for a lock. Asks again at once each time, so that nothing depends on luck."""
    blocked = False
    while not blocked:
        blocked = await admin.fetchval("SELECT cardinality(pg_blocking_pids($1)) > 0", pid)


async def _somebody_blocked(admin: Admin) -> None:
    """Return once any session of this server waits for a lock."""
    blocked = False
    while not blocked:
        blocked = await admin.fetchval(
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
        )


async def test_h03_of_many_turns_on_one_snapshot_one_wins_every_round(
    store: PostgresStore, admin: Admin, namespace: str
) -> None:
    runs = [await new_run(store) for _ in range(3)]
    wins: Counter[tuple[str, int]] = Counter()
    conflicts = 0
    until = time.monotonic() + SECONDS

    async def turn(writer: int) -> None:
        nonlocal conflicts
        source = random.Random(writer)
        fences = dict.fromkeys(runs, 1)
        while time.monotonic() < until:
            mine = source.sample(runs, source.choice((1, 2)))
            batches = [
                Batch(run, fences[run], tuple(NewEvent(E.marker, f"m#{new_run_id()}") for _ in range(2)))
                for run in mine
            ]
            for batch, verdict in zip(batches, await store.append(batches), strict=True):
                if verdict.outcome is Outcome.ok:
                    wins[batch.run_id, batch.fence or 0] += 1
                conflicts += verdict.outcome is Outcome.conflict
                fences[batch.run_id] = verdict.fence or fences[batch.run_id]

    await asyncio.gather(*(turn(writer) for writer in range(WRITERS)))
    assert conflicts > 0, "nobody ever lost: this hammer proves nothing"
    assert set(wins.values()) == {1}, "two turns landed on one fence"
    assert await gaps(admin, namespace) == 0
    assert await admin.fetchval(f"SELECT sum(last_seq) FROM {namespace}.runs") == len(runs) + 2 * len(wins)


async def test_h15_mixed_orders_of_runs_and_tokens_never_deadlock(store: PostgresStore, admin: Admin) -> None:
    """Every call disposes and creates hooks of several runs, in any order, on few tokens."""
    runs = [await new_run(store) for _ in range(24)]
    tokens = [f"{new_run_id()}-{n}" for n in range(6)]
    before = await admin.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    counts: Counter[str] = Counter()
    until = time.monotonic() + SECONDS

    async def take(writer: int) -> None:
        source = random.Random(writer)
        mine = runs[writer * 2 : writer * 2 + 2]
        state = {run: (1, list[str]()) for run in mine}
        while time.monotonic() < until:
            batches: list[Batch] = []
            for run in source.sample(mine, 2):
                fence, live = state[run]
                events = [NewEvent(E.hook_disposed, entity) for entity in source.sample(live, len(live))]
                chosen = source.sample(tokens, 3)
                events += [NewEvent(E.hook_created, f"h#{new_run_id()}", token=token) for token in chosen]
                source.shuffle(events)
                batches.append(Batch(run, fence, tuple(events)))
            for batch, verdict in zip(batches, await store.append(batches), strict=True):
                assert verdict.outcome is Outcome.ok, verdict
                live = [event.entity for event in verdict.events if event.type is E.hook_created]
                state[batch.run_id] = (verdict.fence, live)
                counts.update(event.type.name for event in verdict.events)

    await asyncio.gather(*(take(writer) for writer in range(WRITERS)))
    assert set(counts) == {"hook_created", "hook_conflict", "hook_disposed"}, counts
    after = await admin.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert after == before


async def test_h15_unsorted_tokens_would_deadlock(postgres_url: str, store: PostgresStore, namespace: str) -> None:
    """The timeline that the order of tokens closes, driven by two sessions that take two tokens crosswise."""
    first, second = await asyncpg.connect(postgres_url), await asyncpg.connect(postgres_url)
    try:
        runs = [await new_run(store), await new_run(store)]
        await first.execute("BEGIN")
        await second.execute("BEGIN")
        take = f"SELECT {namespace}.take_token($1, $2, $3)"
        await first.fetch(take, "a", runs[0], "h#1")
        await second.fetch(take, "b", runs[1], "h#1")
        crossed = asyncio.gather(
            first.fetch(take, "b", runs[0], "h#2"), second.fetch(take, "a", runs[1], "h#2"), return_exceptions=True
        )
        assert asyncpg.DeadlockDetectedError in [type(result) for result in await crossed]
    finally:
        first.terminate()
        second.terminate()


async def test_h06_a_crash_at_any_statement_of_an_append_leaves_the_run_as_before(
    store: PostgresStore, admin: Admin, namespace: str
) -> None:
    """H09 too: a trigger on each table that append writes ends the statement there, before and after the row."""
    run = await new_run(store, NewEvent(E.hook_created, "h#1", token="a"))
    batch = Batch(run, 2, (NewEvent(E.hook_disposed, "h#1"), NewEvent(E.hook_created, "h#2", token="b")))
    plain = Batch(run, 2, (NewEvent(E.marker, "m"),))
    before = await store.load(run)
    await admin.execute(
        f"CREATE FUNCTION {namespace}.crash() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'crash' USING ERRCODE = '58030'; END $$"
    )
    boundaries = [
        (moment, operation, table)
        for moment in ("BEFORE", "AFTER")
        for operation, table in (("INSERT", "hooks"), ("DELETE", "hooks"), ("UPDATE", "runs"), ("INSERT", "events"))
    ]
    for moment, operation, table in boundaries:
        await admin.execute(
            f"CREATE TRIGGER crash {moment} {operation} ON {namespace}.{table}"
            f" FOR EACH ROW EXECUTE FUNCTION {namespace}.crash()"
        )
        for asked in (batch,) if table == "hooks" else (batch, plain):
            with pytest.raises(StoreTrouble, match="crash"):
                await store.append([asked])
        await admin.execute(f"DROP TRIGGER crash ON {namespace}.{table}")
        after = await store.load(run)
        assert before is not None
        assert after is not None
        assert (after.run, after.events) == (before.run, before.events), (moment, operation, table)
        live = await store.find_hook("a")
        assert live is not None
        assert live.entity == "h#1"
    (verdict,) = await store.append([batch])
    assert verdict.outcome is Outcome.ok


async def test_h04_no_later_position_commits_before_an_earlier_one(store: PostgresStore, admin: Admin) -> None:
    """A writer has taken seq 3 and not committed; another one comes. It waits, readers see 1..2, and then both are
    there, one after the other.
    """
    run = await new_run(store, NewEvent(E.step_created, "s#1"))
    async with store.locked(run, 10) as locked:
        await locked.append(Batch(run, None, (NewEvent(E.step_started, "s#1", attempt=1, dedupe="a"),)))
        second = asyncio.create_task(store.append([Batch(run, None, (NewEvent(E.cancel_requested, dedupe="b"),))]))
        await _somebody_blocked(admin)
        seen = await store.load(run)
        assert seen is not None
        assert [event.seq for event in seen.events] == [1, 2]
    (verdict,) = await second
    assert [event.seq for event in verdict.events] == [4]
    after = await store.load(run)
    assert after is not None
    assert [event.type for event in after.events[2:]] == [E.step_started, E.cancel_requested]


async def test_h15_whoever_waits_for_a_token_holds_no_later_one(
    store: PostgresStore, admin: Admin, namespace: str
) -> None:
    """A call asks for b and then a, and a is in somebody's hands: it waits, and b is free for others meanwhile. In the
    order of asking it would hold b, and two such calls could wait for each other.
    """
    first, second, third = [await new_run(store) for _ in range(3)]
    async with admin.transaction():
        await admin.fetch(f"SELECT {namespace}.take_token('a', $1, 'h#1')", third)
        events = tuple(NewEvent(E.hook_created, f"h#{token}", token=token) for token in "ba")
        waiting = asyncio.create_task(append_alone(store, Batch(first, 1, events)))
        await _somebody_blocked(admin)
        taken = asyncio.create_task(store.append([Batch(second, 1, (NewEvent(E.hook_created, "h#1", token="b"),))]))
        while not taken.done():
            await asyncio.sleep(0)
            blocked = await admin.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
            )
            assert blocked < 2, "the second call waits for a token that the first one holds while it waits itself"
        (verdict,) = await taken
        assert [event.type for event in verdict.events] == [E.hook_created]
    verdict = await waiting
    assert [event.type for event in verdict.events] == [E.hook_conflict, E.hook_conflict]


async def test_h76_the_index_allows_one_start_per_attempt(store: PostgresStore, admin: Admin, namespace: str) -> None:
    """The second guard: whatever a look-up may miss, the row is refused."""
    run = await new_run(store, NewEvent(E.step_created, "s#1"))
    await store.append([Batch(run, None, (NewEvent(E.step_started, "s#1", attempt=1, dedupe="a"),))])
    with pytest.raises(asyncpg.UniqueViolationError):
        await admin.execute(
            f"INSERT INTO {namespace}.events (at, run_id, seq, type, ordinal, attempt, entity, payload)"
            " VALUES (0, $1, 9, 11, 1, 1, 's#1', '')",
            run,
        )
