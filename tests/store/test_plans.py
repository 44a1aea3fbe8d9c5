"""No statement of the store reads more because a namespace has grown: under the plans that were made while its tables
were empty, under those of statistics of a time when one run was all there was, and under fresh ones; generic and
custom."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from importlib import resources

import asyncpg
import pytest
from plan_cases import Case, cases, seed, seed_long
from worlds import Admin, postgres_store

from fencepost_store.connections import Held
from fencepost_store.postgres import PostgresStore
from fencepost_store.statements import Statements

RUNS = 300_000 if os.environ.get("FENCEPOST_LONG") else 20_000
"""In full (``make long``) more than 2,000,000 rows."""
MODES = ("force_generic_plan", "force_custom_plan")
FIXED = frozenset({"clock", "schema_version", "event_kinds"})
"""What a namespace has one of, or as many rows as it has versions."""


@pytest.fixture
async def admin(postgres_url: str) -> AsyncIterator[Admin]:
    connection = await asyncpg.connect(postgres_url)
    try:
        yield connection
    finally:
        await connection.close()


def named(text: str) -> set[str]:
    """The tables and functions of the namespace that some SQL names, without its comments."""
    return set(re.findall(r"\{schema\}\.(\w+)", re.sub(r"--[^\n]*", "", text)))


def statements() -> dict[str, set[str]]:
    """What each statement of the store names that grows."""
    folder = resources.files("fencepost_store").joinpath("sql", "statements")
    texts = {entry.name.removesuffix(".sql"): entry.read_text("utf-8") for entry in folder.iterdir()}
    return {name: found for name, text in texts.items() if (found := named(text) - FIXED)}


def test_every_statement_whose_tables_grow_has_a_case() -> None:
    """A statement that is added is missing here until somebody has said what it may read."""
    assert {case.statement for case in cases(RUNS)} == set(statements())


async def test_every_function_is_called_by_some_case(postgres_url: str, namespace: str, admin: Admin) -> None:
    """Plans inside functions are kept as those of statements are."""
    store = await postgres_store(postgres_url, namespace)
    await store.close()
    rows = await admin.fetch("SELECT proname, prosrc FROM pg_proc WHERE pronamespace = $1::regnamespace", namespace)
    bodies: dict[str, set[str]] = {}
    for row in rows:  # of one name there may be several
        bodies.setdefault(row["proname"], set()).update(re.findall(rf'"{namespace}"\.(\w+)', row["prosrc"]))
    reached: set[str] = set().union(*statements().values())
    while further := set().union(*(bodies.get(name, set()) for name in reached)) - reached:
        reached |= further
    assert set(bodies) - FIXED <= reached


async def grow(admin: Admin, namespace: str, first: int, last: int) -> None:
    for sql in seed(namespace, first, last):
        await admin.execute(sql)


async def young(admin: Admin, namespace: str) -> None:
    """Nobody analyses the tables but the test."""
    for row in await admin.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind = 'r'", namespace
    ):
        await admin.execute(f"ALTER TABLE {namespace}.{row['relname']} SET (autovacuum_enabled = false)")


async def reads(held: Held, namespace: str, case: Case, mode: str) -> int:
    """Rows and index entries that the call reads. Nothing of it stays."""
    counted = (
        "SELECT coalesce(sum(pg_stat_get_xact_tuples_returned(c.oid)), 0) FROM pg_class c"
        " WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'i')"
    )
    transaction = held.connection.transaction(isolation="read_committed")
    await transaction.start()
    try:
        await held.connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
        (before,) = await held.connection.fetch(counted, namespace)
        await held.fetch(Statements(namespace)[case.statement], *case.args)
        (after,) = await held.connection.fetch(counted, namespace)
        return int(after[0] - before[0])
    finally:
        await transaction.rollback()


async def excesses(held: Held, namespace: str, when: str) -> list[str]:
    """Calls that read more than they may."""
    found: list[str] = []
    for mode in MODES:
        for case in cases(RUNS):
            count = await reads(held, namespace, case, mode)
            if count > case.reads:
                found.append(f"{case.statement} {case.what} read {count} of {case.reads} ({mode}, {when})")
    return found


@pytest.mark.timeout(1_200 if os.environ.get("FENCEPOST_LONG") else 120)
@pytest.mark.parametrize("early", [False, True])
async def test_h210_no_statement_reads_more_of_a_grown_namespace(
    postgres_url: str, namespace: str, admin: Admin, early: bool
) -> None:
    """``early``: the tables were analysed when one long run was all that was in them."""
    store: PostgresStore = await postgres_store(postgres_url, namespace)
    try:
        await young(admin, namespace)
        for sql in seed_long(namespace):
            await admin.execute(sql)
        if early:
            await admin.execute(f"ANALYZE {', '.join(f'{namespace}.{name}' for name in ('runs', 'events', 'hooks'))}")
        async with store._shared.use() as held:  # pyright: ignore[reportPrivateUsage] - the plans are this session's
            await excesses(held, namespace, "young")
            await grow(admin, namespace, 1, RUNS)
            found = await excesses(held, namespace, "grown")
            await admin.execute("ANALYZE")
            found += await excesses(held, namespace, "analysed")
        assert found == [], "\n".join(found)
    finally:
        await store.close()


SETTINGS = "SELECT name, setting FROM pg_settings WHERE name ~ '^(enable_|jit$)' ORDER BY name"


async def test_h210_behind_a_pooler_a_transaction_is_planned_as_a_session_of_ours(
    postgres_url: str, namespace: str
) -> None:
    """And the pooler's session has nothing of it left."""
    settings: list[list[tuple[str, str]]] = []
    for prepared in (True, False):
        store = await postgres_store(postgres_url, namespace, prepared_statements=prepared)
        async with store._shared.use() as held:  # pyright: ignore[reportPrivateUsage] - a session's settings
            settings.append([tuple(row) for row in await held.fetch(SETTINGS)])
            settings.append([tuple(row) for row in await held.connection.fetch(SETTINGS)])
        await store.close()
    session, _, transaction, behind = settings
    assert transaction == session
    assert {name for name, value in behind if (name, value) not in session} == {
        "enable_seqscan",
        "enable_bitmapscan",
        "enable_indexonlyscan",
        "enable_hashjoin",
        "enable_mergejoin",
        "jit",
    }


async def test_a_session_for_the_user_s_statements_is_left_as_it_is(postgres_url: str, namespace: str) -> None:
    """``transaction()`` lends it; what is closed for our look-ups would be closed for reports as well."""
    store = await postgres_store(postgres_url, namespace)
    try:
        joint = await store.join()
        try:
            rows = await joint.connection.fetch(SETTINGS)
        finally:
            joint.close()
        assert ("enable_seqscan", "on") in [tuple(row) for row in rows]
    finally:
        await store.close()
