"""A transaction that the user fills and an append joins: each call is bounded, and no slot of the pool is lost."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from worlds import GRACE, Admin, new_run_id, postgres_store

from fencepost_store.connections import Connections
from fencepost_store.events import EventType as E
from fencepost_store.events import NewEvent
from fencepost_store.joint import Joint
from fencepost_store.protocol import Batch, FactOutcome, NewRun, Outcome, Reason, StoreTrouble
from fencepost_store.statements import Statements

STEP = (NewEvent(E.step_created, "s#1"), NewEvent(E.step_started, "s#1", attempt=1))
END = NewEvent(E.step_completed, "s#1", attempt=1)


class Place:
    """A run with a started step, and a pool of one connection."""

    def __init__(self, pool: Connections, sql: Statements, admin: Admin, run_id: str, namespace: str) -> None:
        self.pool, self.sql, self.admin, self.run_id = pool, sql, admin, run_id
        self.rows = f"SELECT FROM {namespace}.runs WHERE run_id = '{run_id}' FOR UPDATE"

    @asynccontextmanager
    async def joint(self, timeout_seconds: float = 30) -> AsyncGenerator[Joint]:
        """A transaction that has begun."""
        joint = await Joint.begin(self.pool, self.sql, timeout_seconds)
        try:
            yield joint
        finally:
            joint.close()

    def batch(self, *events: NewEvent) -> Batch:
        """Facts of the run."""
        return Batch(self.run_id, None, events, grace=GRACE)


@pytest.fixture
async def here(postgres_url: str, namespace: str) -> AsyncIterator[Place]:
    """See Place. Transactions are serializable in this pool if nobody says otherwise."""
    store = await postgres_store(postgres_url, namespace)
    run_id = new_run_id()
    await store.start(NewRun(run_id, "flow", "q", b"\x01", GRACE))
    await store.append([Batch(run_id, 1, (NewEvent(E.run_started), STEP[0]), seen=1, grace=GRACE)])
    await store.append([Batch(run_id, None, STEP[1:], grace=GRACE)])
    usual = f"{postgres_url}&default_transaction_isolation=serializable"
    pool = Connections(usual, 1, prepared=True, command_timeout_seconds=30)
    admin = await asyncpg.connect(postgres_url)
    try:
        yield Place(pool, Statements(namespace), admin, run_id, namespace)
    finally:
        await pool.close()
        await admin.close()
        await store.close()


async def test_it_is_read_committed_whatever_is_usual_in_its_database(here: Place) -> None:
    """An append in another one is refused by the server."""
    async with here.joint() as joint:
        connection: Any = joint.connection
        assert await connection.fetchval("SHOW default_transaction_isolation") == "serializable"
        assert await connection.fetchval("SHOW transaction_isolation") == "read committed"
        verdict = await joint.append(here.batch(END))
        assert verdict.outcome is Outcome.ok
        await joint.commit()


async def test_an_end_that_is_there_already_is_a_verdict_and_no_error(here: Place) -> None:
    """The user's transaction is whole."""
    async with here.joint() as joint:
        await joint.append(here.batch(END))
        (fact,) = (await joint.append(here.batch(END))).facts
        assert (fact.outcome, fact.reason) == (FactOutcome.refused, Reason.entity_ended)
        assert await joint.connection.fetch("SELECT 1")


async def test_a_row_that_never_comes_free_is_waited_for_only_so_long(here: Place) -> None:
    """Without the server's limit (seal) there is the client's."""
    async with here.admin.transaction(), here.joint(timeout_seconds=0.3) as joint:
        await here.admin.execute(here.rows)
        with pytest.raises(StoreTrouble):
            await joint.append(here.batch(END))


async def test_a_commit_that_does_not_end_is_waited_for_only_so_long(here: Place) -> None:
    """By a deferred trigger that takes its time."""
    name = f"slow_{uuid.uuid4().hex[:16]}"
    await here.admin.execute(
        f"CREATE TABLE {name} (n integer);"
        f" CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN PERFORM pg_sleep(60); RETURN NULL; END';"
        f" CREATE CONSTRAINT TRIGGER {name} AFTER INSERT ON {name} DEFERRABLE INITIALLY DEFERRED"
        f" FOR EACH ROW EXECUTE FUNCTION {name}()"
    )
    async with here.joint(timeout_seconds=0.3) as joint:
        await joint.connection.execute(f"INSERT INTO {name} VALUES (1)")
        with pytest.raises(StoreTrouble):
            await joint.commit()


async def test_a_transaction_that_cannot_begin_leaves_its_place_to_the_next(here: Place) -> None:
    """The time for it is over at once; the pool has one connection, and whoever comes next gets one."""
    with pytest.raises(StoreTrouble):
        await Joint.begin(here.pool, here.sql, 0)
    async with asyncio.timeout(20), here.joint() as joint:
        assert await joint.connection.fetch("SELECT 1")
