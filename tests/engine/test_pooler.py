"""Behind a pooler that gives each transaction another server: no process executes what another has prepared. On a real
PgBouncer; skipped where there is none.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import sys

import msgspec
import pytest
from tests.engine.engine_real import place
from tests.log_lines import captured
from tests.pooler import PGBOUNCER, knows_prepared_statements, pooler

from fencepost import step, transaction, workflow
from fencepost.client import Client
from fencepost.engine.worker import Worker
from fencepost_store import driver, migrations
from fencepost_store.connections import Connections

KNOWN = [None, 0, 1, 100] if knows_prepared_statements() else [None]
"""Of max_prepared_statements: its default, none, so few that they are forgotten all the time, enough."""
there = pytest.mark.skipif(PGBOUNCER is None, reason="no pgbouncer on this machine: apt-get install pgbouncer")

OTHER = """
import asyncio, sys
from fencepost_store.connections import Connections

async def main():
    pool = Connections(sys.argv[1], 3, prepared=True, command_timeout_seconds=30)
    word = sys.argv[2]
    for n in range(150):
        async def ask(k):
            (row,) = await pool.fetch(f"SELECT $1::int AS n, '{word}{k}' AS word", n)
            assert (row["n"], row["word"]) == (n, f"{word}{k}"), tuple(row)
        await asyncio.gather(*(ask(k) for k in range(5)))
    await pool.close()

asyncio.run(main())
"""


@there
@pytest.mark.parametrize("known", KNOWN)
async def test_h186_processes_behind_a_pooler_execute_their_own_statements(
    postgres_url: str, known: int | None
) -> None:
    """Three processes whose statements agree in number and in types: nothing but the answer tells them apart."""
    async with pooler(postgres_url, servers=2, max_prepared=known) as url:
        processes = [
            await asyncio.create_subprocess_exec(sys.executable, "-c", OTHER, url, word, stderr=asyncio.subprocess.PIPE)
            for word in ("mine", "yours", "theirs")
        ]
        ended = await asyncio.gather(*(process.communicate() for process in processes))
        assert [process.returncode for process in processes] == [0, 0, 0], ended[0][1].decode()[-2000:]


@pytest.mark.skipif(not knows_prepared_statements(), reason="no PgBouncer 1.21 or later on this machine")
async def test_h186_a_pooler_that_knows_prepared_statements_gets_them(postgres_url: str) -> None:
    """Under names of its own on its servers: `db migrate` and a worker need not be told."""
    async with pooler(postgres_url, max_prepared=50) as url:
        pool = Connections(url, 2, prepared=True, command_timeout_seconds=30)
        async with pool.use() as held:
            assert (held.pooled, held.prepared) == (True, True)
            assert [row["n"] for row in await held.fetch("SELECT $1::int AS n", 7)] == [7]
            rows = await held.fetch("SELECT name FROM pg_prepared_statements")
            assert rows
            assert not any(driver.PROCESS in row["name"] for row in rows)
        await pool.close()


@there
@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_h186_a_pooler_is_recognised_and_nothing_is_prepared_on_its_servers(postgres_url: str, mode: str) -> None:
    none = 0 if knows_prepared_statements() else None
    async with pooler(postgres_url, mode=mode, max_prepared=none) as url:
        pool = Connections(url, 2, prepared=True, command_timeout_seconds=30)
        async with pool.use() as held:
            assert (held.pooled, held.prepared) == (True, False)
            assert [row["n"] for row in await held.fetch("SELECT $1::int AS n", 7)] == [7]
            (row,) = await held.fetch("SELECT count(*)::int AS n FROM pg_prepared_statements WHERE name <> ''")
            assert row["n"] == 0
        await pool.close()


async def test_h186_without_a_pooler_statements_are_prepared_under_names_of_this_process(postgres_url: str) -> None:
    """Also those that the driver prepares by itself: two processes count from one on the same servers."""
    pool = Connections(postgres_url, 1, prepared=True, command_timeout_seconds=30)
    async with pool.use() as held:
        assert held.prepared
        await held.fetch("SELECT $1::int", 1)
        await held.connection.fetch("SELECT $1::text", "x")
        names = [row["name"] for row in await held.fetch("SELECT name FROM pg_prepared_statements")]
        assert len(names) >= 2
        assert all(driver.PROCESS in name for name in names), names
    await pool.close()


@there
@pytest.mark.parametrize("known", KNOWN)
async def test_h186_a_run_and_its_transactional_step_work_behind_a_pooler(
    postgres_url: str, valkey_url: str, known: int | None
) -> None:
    """With fencepost's default setting, from `migrate` to the result, in two workers on three servers; no line says
    that anything was amiss."""
    async with place(postgres_url, valkey_url) as direct, pooler(postgres_url, max_prepared=known) as url:
        config = msgspec.structs.replace(direct.config, database_url=url)
        assert await migrations.migrate(url, config.namespace) == []

        @step(registry=direct.registry)
        async def book(n: int) -> int:
            async with transaction() as connection:
                return await connection.fetchval(f"INSERT INTO {direct.table} VALUES ($1, '') RETURNING n", n)

        @workflow(registry=direct.registry)
        async def flow(first: int) -> int:
            return sum(await asyncio.gather(*(book(first + n) for n in range(3))))

        with captured() as lines:
            async with Worker(config, direct.registry), Worker(config, direct.registry), Client(config) as client:
                runs = [await client.start(flow, 3 * n) for n in range(10)]
                assert sum([await run.result(60) for run in runs]) == sum(range(30))
        assert [line for line in lines if line["log_level"] in ("warning", "error")] == []
        assert await direct.notes() == list(range(30))
