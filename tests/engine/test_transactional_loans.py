"""What ``transaction()`` lends ends with its block: a task that outlives it, and everything it has kept, writes nothing
later, and nothing that one step leaves in the session is there for the next. On real servers.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import asyncpg
import pytest
from tests.engine.engine_real import place
from tests.engine.test_transactional_steps import flow_of, shape

from fencepost import errors, transaction

Kept = Callable[[Any], Coroutine[Any, Any, Callable[..., Any]]]
INSERT = "INSERT INTO {table} VALUES (66, 'late') RETURNING n"


async def kept_method(connection: Any) -> Callable[..., Any]:
    return connection.execute


async def kept_connection(connection: Any) -> Callable[..., Any]:
    async def use(sql: str = "") -> None:
        await connection.execute(sql)

    return use


async def kept_call(connection: Any) -> Callable[..., Any]:
    """Called inside the block, awaited behind it."""
    calls: list[Any] = []
    execute = connection.execute
    calls.append(execute("INSERT INTO unused VALUES (1)"))

    async def use(sql: str = "") -> None:
        await calls[0]

    return use


async def kept_statement(connection: Any) -> Callable[..., Any]:
    return (await connection.prepare("SELECT 1 WHERE $1::text IS NOT NULL")).fetch


async def kept_cursor(connection: Any) -> Callable[..., Any]:
    return (await connection.cursor("SELECT generate_series(1, 9)")).forward


async def kept_rows(connection: Any) -> Callable[..., Any]:
    rows = connection.cursor("SELECT generate_series(1, 900)").__aiter__()
    await rows.__anext__()

    async def use(_: object = None) -> None:
        await rows.__anext__()

    return use


async def kept_factory(connection: Any) -> Callable[..., Any]:
    factory = connection.cursor("SELECT 1")

    async def use(_: object = None) -> None:
        await factory

    return use


async def kept_transaction(connection: Any) -> Callable[..., Any]:
    nested = connection.transaction()

    async def use(_: object = None) -> None:
        async with nested:
            pass

    return use


async def kept_savepoint(connection: Any) -> Callable[..., Any]:
    nested = connection.transaction()
    await nested.start()

    async def use(_: object = None) -> None:
        await nested.rollback()

    return use


async def kept_copy(connection: Any) -> Callable[..., Any]:
    async def use(_: object = None) -> None:
        await connection.copy_records_to_table("nowhere", records=[(1, "x")])

    return use


KEPT: list[Kept] = [
    kept_method, kept_connection, kept_call, kept_statement, kept_cursor, kept_rows, kept_factory, kept_transaction,
    kept_savepoint, kept_copy,
]  # fmt: skip


@pytest.mark.parametrize("keep", KEPT, ids=lambda keep: keep.__name__)
async def test_h183_what_was_lent_is_refused_in_the_next_steps_transaction(
    postgres_url: str, valkey_url: str, keep: Kept
) -> None:
    """A task of the first step uses it while the second one, on the same session, is in its block."""
    async with place(postgres_url, valkey_url, transaction_connections=1) as here:
        found: list[Any] = []
        second = asyncio.Event()
        used = asyncio.Event()
        tasks: list[asyncio.Task[None]] = []
        pids: list[int] = []

        async def linger(use: Callable[..., Any]) -> None:
            await second.wait()
            try:
                found.append(await use(INSERT.format(table=here.table)))
            except Exception as error:  # noqa: BLE001 - whatever it is
                found.append(error)
            used.set()

        async def body() -> str:
            async with transaction() as connection:
                pids.append(await connection.fetchval("SELECT pg_backend_pid()"))
                await connection.execute(f"INSERT INTO {here.table} VALUES ($1, '')", len(pids))
                if len(pids) == 1:
                    tasks.append(asyncio.create_task(linger(await keep(connection))))
                else:
                    second.set()
                    await used.wait()
            return "done"

        flow = flow_of(here, body)
        async with here.worker():
            for _ in range(2):
                assert await (await here.client.start(flow)).result(30) == "done"
        assert [type(error) for error in found] == [errors.TransactionMisuse], found
        assert await here.notes() == [1, 2]
        assert pids[0] == pids[1], "the same session, or nothing was shown"


async def test_h183_nothing_of_the_drivers_own_can_be_reached(postgres_url: str, valkey_url: str) -> None:
    """Not by a private name, not behind a bound method; and to isinstance it is what it stands for."""
    async with place(postgres_url, valkey_url) as here:

        async def body() -> list[str]:
            reached: list[str] = []
            async with transaction() as connection:
                assert isinstance(connection, asyncpg.Connection)
                statement = await connection.prepare("SELECT 1")
                nested = connection.transaction()
                cursor = connection.cursor("SELECT 1")
                for lent in (connection, statement, nested, cursor, connection.execute, statement.fetch):
                    for name in ("_con", "_connection", "_protocol", "_state", "_target", "__self__", "__wrapped__"):
                        value = getattr(lent, name, None)
                        if value is not None and "lent by" not in repr(value):
                            reached.append(f"{lent!r}.{name}")
            return reached

        flow = flow_of(here, body, retries=0)
        async with here.worker():
            assert await (await here.client.start(flow)).result(30) == []


async def test_h183_a_statement_under_way_at_the_blocks_end_is_misuse(postgres_url: str, valkey_url: str) -> None:
    """In another task, a COPY among them: nobody knows whether it has landed, so nothing is committed."""
    async with place(postgres_url, valkey_url, transaction_connections=1) as here:
        tasks: list[Any] = []

        async def asleep(connection: Any, begun: asyncio.Event) -> None:
            begun.set()
            await connection.execute("SELECT pg_sleep(60)")

        async def copying(connection: Any, begun: asyncio.Event) -> None:
            async def source() -> AsyncIterator[bytes]:
                yield b"1\tx\n"
                begun.set()
                await asyncio.Event().wait()

            await connection.copy_to_table(here.table, source=source())

        for task in (asleep, copying):

            async def body(task: Any = task) -> str:
                begun = asyncio.Event()
                async with transaction() as connection:
                    await connection.execute(f"INSERT INTO {here.table} VALUES (1, '')")
                    tasks.append(asyncio.create_task(task(connection, begun)))
                    await begun.wait()
                    await asyncio.sleep(0)
                return "done"

            flow = flow_of(here, body, name=task.__name__)
            async with here.worker():
                run = await here.client.start(flow)
                assert await run.result(30) == "TransactionMisuse"
                assert await shape(run) == ["step_started 1", "step_failed 1"]
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await here.notes() == []


LEAKS = {
    "temporary table": ("CREATE TEMP TABLE mine (n int)", "SELECT to_regclass('pg_temp.mine')::text", None),
    "prepared": ("PREPARE mine AS SELECT 1", "SELECT count(*)::int FROM pg_prepared_statements WHERE from_sql", 0),
    "setting": ("SET work_mem = '123MB'", "SELECT current_setting('work_mem') = '123MB'", False),
    "search_path": ("SET search_path = pg_catalog", "SELECT current_setting('search_path') = 'pg_catalog'", False),
    "isolation of the session": (
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SELECT current_setting('default_transaction_isolation')",
        "read committed",
    ),
    "lock": ("SELECT pg_advisory_lock(4711)", "SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory'", 0),
    "listen": ("LISTEN mine", "SELECT count(*)::int FROM pg_listening_channels()", 0),
    "cursor": (
        "DECLARE mine CURSOR WITH HOLD FOR SELECT 1",
        "SELECT count(*)::int FROM pg_cursors WHERE name = 'mine'",
        0,
    ),
    "sequence": ("SELECT nextval('{table}_seq')", "SELECT count(*)::int FROM lastval_or_none()", 0),
    "role": ("SET ROLE pg_monitor", "SELECT current_user::text = 'pg_monitor'", False),
}


@pytest.mark.parametrize("name", LEAKS)
async def test_h185_what_a_step_leaves_in_its_session_is_not_there_for_the_next(
    postgres_url: str, valkey_url: str, name: str
) -> None:
    async with place(postgres_url, valkey_url, transaction_connections=1) as here:
        await here.admin.execute(
            f"CREATE SEQUENCE {here.table}_seq; CREATE OR REPLACE FUNCTION lastval_or_none() RETURNS SETOF bigint"
            " LANGUAGE plpgsql AS 'BEGIN RETURN NEXT lastval(); EXCEPTION WHEN OTHERS THEN RETURN; END'"
        )
        sql, ask, expected = LEAKS[name]
        seen: list[Any] = []

        async def body() -> str:
            async with transaction() as connection:
                seen.append(await connection.fetchval(ask))
                await connection.execute(sql.format(table=here.table))
            return "done"

        async def leaves() -> str:
            async with transaction() as connection:
                await connection.execute(sql.format(table=here.table))
            return "done"

        flow, first = flow_of(here, body, name="body"), flow_of(here, leaves, name="leaves", retries=0)
        async with here.worker():
            await (await here.client.start(first)).result(30)
            await (await here.client.start(flow)).result(30)
        assert seen == [expected]


async def test_h185_what_a_step_tells_the_driver_is_not_there_for_the_next(postgres_url: str, valkey_url: str) -> None:
    """Codecs, named statements, and statements on temporary tables of another shape."""
    async with place(postgres_url, valkey_url, transaction_connections=1) as here:

        async def codecs() -> Any:
            async with transaction() as connection:
                before = await connection.fetchval("SELECT '[1]'::json")
                await connection.set_type_codec("json", schema="pg_catalog", encoder=str, decoder=repr)
                return before

        async def named() -> Any:
            async with transaction() as connection:
                statement = await connection.prepare("SELECT 7", name="mine")
                kept.append(statement)
                return await statement.fetchval()

        async def shaped() -> Any:
            shapes.append("n int" if not shapes else "n text, m int")
            async with transaction() as connection:
                await connection.execute(f"CREATE TEMP TABLE t ({shapes[-1]})")
                return len(await connection.fetch("SELECT * FROM t WHERE $1", True))

        kept: list[Any] = []
        shapes: list[str] = []
        flows = [flow_of(here, body, name=body.__name__, retries=0) for body in (codecs, named, shaped)]
        async with here.worker():
            answers = [await (await here.client.start(flow)).result(30) for flow in flows for _ in range(2)]
        assert answers == ["[1]", "[1]", 7, 7, 0, 0]


async def test_h185_statements_of_the_driver_that_a_step_deallocates_cost_no_retry(
    postgres_url: str, valkey_url: str
) -> None:
    """Neither the next step's nor its own: the server tells the driver nothing, so the session is out of date."""
    async with place(postgres_url, valkey_url, transaction_connections=1) as here:
        insert = f"INSERT INTO {here.table} VALUES ($1, $2)"

        async def writes() -> str:
            async with transaction() as connection:
                await connection.execute(insert, 1, "innocent")
            return "done"

        async def deallocates() -> str:
            async with transaction() as connection:
                await connection.execute("DEALLOCATE ALL")
                await connection.execute(insert, 2, "own")
            return "done"

        first, second = (flow_of(here, body, name=body.__name__, retries=0) for body in (writes, deallocates))
        async with here.worker():
            for flow in (first, second, first):
                run = await here.client.start(flow)
                assert await run.result(30) == "done"
                assert not [one for one in await shape(run) if "failed" in one or "retrying" in one]
        assert sorted(row["n"] for row in await here.admin.fetch(f"SELECT n FROM {here.table}")) == [1, 1, 2]


async def test_a_plain_step_leaves_its_session_and_its_statements_to_the_next(
    postgres_url: str, valkey_url: str
) -> None:
    """No new connection, and no statement is prepared again: that would cost every step."""
    async with place(postgres_url, valkey_url, transaction_connections=1) as here:
        seen: list[tuple[int, int]] = []
        count = "SELECT pg_backend_pid(), count(*)::int FROM pg_prepared_statements WHERE $1::int IS NOT NULL"

        async def body() -> str:
            async with transaction() as connection, connection.transaction():
                seen.append(tuple(await connection.fetchrow(count, 1)))
                out = io.BytesIO()
                await connection.copy_from_query("SELECT 1", output=out)
                assert [row[0] async for row in connection.cursor("SELECT 1")] == [1]
            return "done"

        flow = flow_of(here, body)
        async with here.worker():
            for _ in range(4):
                assert await (await here.client.start(flow)).result(30) == "done"
        assert len(set(seen[1:])) == 1, seen
        assert seen[0][0] == seen[1][0]
