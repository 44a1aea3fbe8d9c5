"""The schema: migrated once whoever asks, checked before use, planned by index whatever the size."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from importlib import resources
from typing import cast

import asyncpg
import pytest
from worlds import Admin, new_run_id, postgres_store

from fencepost_store import migrations
from fencepost_store.driver import Connection, ServerVersion
from fencepost_store.events import KINDS, NewEvent, Role, ordinal
from fencepost_store.events import EventType as E
from fencepost_store.ledger import CREATED_BY, ENDINGS
from fencepost_store.migrations import SchemaMismatch, ServerTooOld, WrongIsolation, check, migrate
from fencepost_store.protocol import Batch, NewRun
from fencepost_store.statements import Statements, valid_namespace
from fencepost_store.wire import arguments


@pytest.fixture
async def admin(postgres_url: str) -> AsyncIterator[Admin]:
    connection = await asyncpg.connect(postgres_url)
    try:
        yield connection
    finally:
        await connection.close()


async def test_migrating_twice_or_from_several_processes_at_once_does_it_once(
    postgres_url: str, namespace: str
) -> None:
    names = await asyncio.gather(*(migrate(postgres_url, namespace) for _ in range(4)))
    done = [found for found in names if found]
    assert len(done) == 1
    assert [name[:4] for name in done[0]] == [f"{n:04d}" for n in range(1, len(done[0]) + 1)]
    assert await migrate(postgres_url, namespace) == []
    await check(postgres_url, namespace)


async def test_a_missing_an_old_and_a_newer_schema_are_told_apart_with_the_way_out(
    postgres_url: str, namespace: str, admin: Admin
) -> None:
    with pytest.raises(SchemaMismatch, match=r"no schema.*fencepost db migrate"):
        await check(postgres_url, namespace)
    names = await migrate(postgres_url, namespace)
    await admin.execute(f"INSERT INTO {namespace}.schema_version (version, name) VALUES (900, 'from_the_future')")
    for look in (check, migrate):
        with pytest.raises(SchemaMismatch, match=r"from_the_future.*upgrade"):
            await look(postgres_url, namespace)
    await admin.execute(f"DELETE FROM {namespace}.schema_version WHERE version >= {len(names)}")
    with pytest.raises(SchemaMismatch, match=rf"version {len(names) - 1}, .* needs {len(names)}.*fencepost db migrate"):
        await check(postgres_url, namespace)


async def test_a_server_that_is_too_old_is_refused() -> None:
    class Old:
        def get_server_version(self) -> ServerVersion:
            return ServerVersion(migrations.SERVER_MAJOR_MIN - 1, 0)

    with pytest.raises(ServerTooOld, match="Postgres 13"):
        await check(cast(Connection, Old()), "any")


@pytest.mark.parametrize("isolation", ["serializable", "repeatable read"])
async def test_another_default_isolation_is_refused_with_the_way_out(
    postgres_url: str, namespace: str, admin: Admin, isolation: str
) -> None:
    """Nothing could be appended there: every call would be refused, for ever."""
    role = f"strict_{namespace}"
    await admin.execute(f"CREATE ROLE {role} LOGIN SUPERUSER")
    await admin.execute(f"ALTER ROLE {role} SET default_transaction_isolation = '{isolation}'")
    own = re.sub(r"//[^@/]*@", f"//{role}@", postgres_url)
    for look in (check, migrate):
        with pytest.raises(WrongIsolation, match=rf"{isolation}.*ALTER ROLE"):
            await look(own, namespace)
    await admin.execute(f"ALTER ROLE {role} SET default_transaction_isolation = 'read committed'")
    await migrate(own, namespace)
    await check(own, namespace)


@pytest.mark.parametrize("name", ["", "A", "1a", "a-b", 'a"b', "a;b", "public", "pg_x", "information_schema", "a" * 42])
def test_a_name_that_cannot_be_a_schema_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="namespace"):
        valid_namespace(name)


async def test_h71_two_namespaces_do_not_see_each_other(postgres_url: str, namespace: str) -> None:
    first = await postgres_store(postgres_url, namespace)
    second = await postgres_store(postgres_url, f"{namespace}_b")
    try:
        run = new_run_id()
        await first.start(NewRun(run, "flow", "q", b"\x01", 0, key="k"))
        assert (await second.get(run), await second.find_key("flow", "k")) == (None, None)
        assert await second.take_due(10, 1) == []
        assert [due.run_id for due in await first.take_due(10, 1)] == [run]
    finally:
        await first.close()
        await second.close()


async def test_the_event_table_of_the_schema_is_that_of_the_code(
    postgres_url: str, namespace: str, admin: Admin
) -> None:
    await migrate(postgres_url, namespace)
    rows = await admin.fetch(f"SELECT type, name, decision, visible, role, ends_run FROM {namespace}.event_kinds")
    assert {tuple(row) for row in rows} == {
        (int(event), event.name, kind.decision, kind.visible, kind.role.value, kind.ends_run)
        for event, kind in KINDS.items()
    }


def test_the_short_cuts_that_sql_takes_through_the_numbers_hold() -> None:
    """append.sql computes the creation that an event needs and the status that an end sets from the event's number."""
    for event, kind in KINDS.items():
        number = int(event)
        needed = number - number % 10 if 11 <= number <= 44 and number % 10 > 0 else None
        if event not in (E.hook_conflict, E.hook_inherited):
            assert needed == CREATED_BY.get(event), event
        assert (ordinal(event, 1) == 0) == (kind.role is Role.creation)
    assert {int(event): int(status) for event, status in ENDINGS.items()} == {n: n + 7 for n in (3, 4, 5, 6, 7)}


def test_every_sql_file_says_why_it_exists() -> None:
    for folder in ("migrations", "statements"):
        for entry in resources.files("fencepost_store").joinpath("sql", folder).iterdir():
            assert entry.read_text("utf-8").startswith("-- "), entry.name


async def test_payloads_are_compressed_as_well_as_the_server_can_and_run_rows_are_updated_in_place(
    postgres_url: str, namespace: str, admin: Admin
) -> None:
    store = await postgres_store(postgres_url, namespace, connections=1)
    try:
        run = new_run_id()
        await store.start(NewRun(run, "flow", "q", b"\x01" + bytes(20_000), 10))
        methods = await admin.fetchval("SELECT enumvals FROM pg_settings WHERE name = 'default_toast_compression'")
        used = await admin.fetchval(f"SELECT pg_column_compression(payload) FROM {namespace}.events")
        assert used == ("lz4" if "lz4" in methods else "pglz")
        for n in range(50):
            await store.append([Batch(run, n + 1, (NewEvent(E.marker, f"m#{n}"),), seen=n + 1, wake_at=7)])
    finally:
        await store.close()  # the backend reports its statistics when it ends
    updates = hot = 0
    while updates < 50:
        row = await admin.fetchrow(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = $1::regclass", f"{namespace}.runs"
        )
        assert row is not None
        updates, hot = row["n_tup_upd"], row["n_tup_hot_upd"]
    assert hot >= updates - 1, "only the change of the deadline may touch an index"


LONG = 100_000


async def test_every_guard_is_a_look_up_at_100_000_events_as_at_10(
    postgres_url: str, namespace: str, admin: Admin
) -> None:
    """No statement of an append scans a table, and a long log costs as many rows as a short one."""
    store = await postgres_store(postgres_url, namespace)
    short, long = new_run_id(), new_run_id()
    try:
        for run in (short, long):
            await store.start(NewRun(run, "flow", "q", b"\x01", 10))
    finally:
        await store.close()
    for run, length in ((short, 10), (long, LONG)):
        await admin.execute(
            f"""INSERT INTO {namespace}.events (at, run_id, seq, type, ordinal, attempt, entity, payload)
            SELECT 0, $1, n, 10, 0, 0, 's#' || n, '' FROM generate_series(2, {length}) n""",
            run,
        )
        await admin.execute(f"UPDATE {namespace}.runs SET last_seq = {length}, fence = {length} WHERE run_id = $1", run)
    # So many runs that looking at all of them would show.
    await admin.execute(
        f"""INSERT INTO {namespace}.runs (created_at, run_id, updated_at, last_seq, fence, status, workflow, queue)
        SELECT 0, gen_random_uuid(), 0, 1, 1, 10, 'flow', 'q' FROM generate_series(1, 5000)"""
    )
    await admin.execute(f"ANALYZE {namespace}.events, {namespace}.runs")
    costs: list[dict[str, tuple[int, int]]] = []
    for run, length in ((short, 10), (long, LONG)):
        session = await asyncpg.connect(postgres_url)  # its statistics begin at nothing
        try:
            costs.append(await _cost(session, namespace, run, length))
        finally:
            await session.close()
    assert costs[0] == costs[1]
    assert all(scans == 0 for scans, _ in costs[1].values()), costs[1]


async def _cost(admin: Admin, namespace: str, run: str, length: int) -> dict[str, tuple[int, int]]:
    """Per table: sequential scans and rows fetched by index, by a dozen guarded appends in one transaction."""
    call = Statements(namespace)["append"]
    facts = [
        NewEvent(E.step_started, "s#5", attempt=1, dedupe="w"),
        NewEvent(E.step_started, "s#5", attempt=1, dedupe="v"),
        NewEvent(E.step_retrying, "s#5", attempt=1, due_in=0),
        NewEvent(E.step_started, "s#5", attempt=2),
        NewEvent(E.step_failed, "s#5", attempt=2),
        NewEvent(E.step_completed, "s#6", attempt=1),
        NewEvent(E.step_completed, "s#6", attempt=1),
        NewEvent(E.hook_received, "h#1", dedupe="d"),
        NewEvent(E.cancel_requested, dedupe="d"),
        NewEvent(E.cancel_requested, dedupe="d"),
        NewEvent(E.child_completed, "c#1"),
    ]
    turn = (NewEvent(E.hook_created, "h#9", token="t"), NewEvent(E.hook_disposed, "h#9"), NewEvent(E.run_completed))
    transaction = admin.transaction()
    await transaction.start()
    try:
        for fact in facts:
            await admin.fetch(call, *arguments([Batch(run, None, (fact,))], careful=True), [None], [None], 7)
        fence: int = await admin.fetchval(f"SELECT fence FROM {namespace}.runs WHERE run_id = $1", run)
        assert fence > length
        (row,) = await admin.fetch(call, *arguments([Batch(run, fence, turn)], careful=True), [7], [None] * 3, 7)
        assert row["o_outcomes"] == [0]
        rows = await admin.fetch(
            "SELECT relname, seq_scan, idx_tup_fetch FROM pg_stat_xact_user_tables"
            " WHERE schemaname = $1 AND relname IN ('events', 'runs')",
            namespace,
        )
        return {row["relname"]: (row["seq_scan"], row["idx_tup_fetch"]) for row in rows}
    finally:
        await transaction.rollback()


async def test_nothing_to_migrate_needs_no_right_to_create(postgres_url: str, namespace: str, admin: Admin) -> None:
    """A role that may only use the tables, as a worker's, finds the schema up to date."""
    await migrate(postgres_url, namespace)
    role = f"role_{namespace}"
    await admin.execute(
        f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {namespace} TO {role};"
        f" GRANT SELECT ON ALL TABLES IN SCHEMA {namespace} TO {role}"
    )
    try:
        assert await migrate(postgres_url.replace("//postgres@", f"//{role}@"), namespace) == []
    finally:
        await admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
