"""``start(connection=...)``: the run is there when the caller commits, and never was if the caller rolls back. On real
servers, from asyncpg and from psycopg.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
import time
from typing import Any

import asyncpg
import psycopg
import pytest
from tests.engine.engine_real import Place, place

from fencepost import errors, step, sync, transaction, workflow
from fencepost.engine.unborn import look_again_ms


def flow_of(here: Place) -> Any:
    """A workflow that doubles."""

    @workflow(registry=here.registry)
    async def flow(n: int) -> int:
        return 2 * n

    return flow


async def test_a_run_is_there_with_the_commit_and_gone_with_the_rollback(postgres_url: str, valkey_url: str) -> None:
    async with place(postgres_url, valkey_url) as here, here.worker():
        flow = flow_of(here)
        own: Any = await asyncpg.connect(postgres_url)
        transaction_ = own.transaction()
        await transaction_.start()
        await own.execute(f"INSERT INTO {here.table} VALUES (1, '')")
        kept = await here.client.start(flow, 1, connection=own)
        with pytest.raises(errors.RunNotFound):
            await kept.status()
        with pytest.raises(errors.RunNotFound):
            await kept.committed()
        await transaction_.commit()
        await kept.committed()
        assert await kept.result(30) == 2
        transaction_ = own.transaction()
        await transaction_.start()
        lost = await here.client.start(flow, 2, connection=own)
        await transaction_.rollback()
        await asyncio.sleep(0.3)
        with pytest.raises(errors.RunNotFound):
            await lost.status()
        assert await here.client.list() == [await kept.status()]
        await own.close()


async def test_h124_a_run_is_found_soon_after_a_commit_that_nobody_told_of(postgres_url: str, valkey_url: str) -> None:
    """The ticks that came before the commit have found nothing; they have not gone: no grace, no reconcile period."""
    async with place(postgres_url, valkey_url, reconcile_period_seconds=600.0) as here, here.worker():
        flow = flow_of(here)
        own: Any = await asyncpg.connect(postgres_url)
        async with own.transaction():
            run = await here.client.start(flow, 1, connection=own)
            await asyncio.sleep(1.0)
        committed = time.monotonic()
        assert await run.result(30) == 2
        assert time.monotonic() - committed < 1.0, "half of the transaction's length, and a round trip or two"
        await own.close()


def test_h124_looks_for_a_run_become_rarer_and_end_with_its_grace() -> None:
    """What is not there after a grace is left to its own deadline; other ids are not looked for."""
    run_id = "019a0000-0000-7000-8000-000000000000"
    born = 0x019A00000000 * 1000
    looks: list[int] = []
    now = born
    while (rest := look_again_ms(run_id, now, 10_000_000, 50)) is not None:
        looks.append(rest)
        now += rest * 1000
        assert len(looks) < 20
    assert looks[:4] == [50, 50, 50, 75]
    assert now >= born + 10_000_000
    assert look_again_ms(run_id, born - 11_000_000, 10_000_000, 50) is None
    assert look_again_ms(run_id, born + 9_999_000, 10_000_000, 50) == 4_999
    assert look_again_ms(run_id, born + 10_000_000, 10_000_000, 50) is None
    assert look_again_ms(run_id, born - 9_999_000, 10_000_000, 50) == 50, "its client's clock is ahead"
    assert look_again_ms(run_id.replace("-7000-", "-4000-"), born, 10_000_000, 50) is None, "tells no time"
    assert look_again_ms("nobody", born, 10_000_000, 50) is None


KILLED = """
    import asyncio, os, sys
    import asyncpg
    from fencepost import Client

    async def main():
        async with Client() as client:
            connection = await asyncpg.connect(os.environ["FENCEPOST_DATABASE_URL"])

            async def die(*args):
                await transaction.commit()
                print(run_id, flush=True)
                os.kill(os.getpid(), 9)

            client._open.queue.enqueue = die
            transaction = connection.transaction()
            await transaction.start()
            joined = __import__("fencepost.client.joined", fromlist=["x"])
            start_on = joined.start_on

            async def noting(*args):
                global run_id
                started = await start_on(*args)
                run_id = started.run_id
                return started

            joined.start_on = noting
            await client.start("flow", 3, connection=connection)

    asyncio.run(main())
"""


async def test_h45_h124_a_caller_killed_between_commit_and_enqueue_loses_no_run(
    postgres_url: str, valkey_url: str
) -> None:
    """Redis never hears of it: the run's deadline brings the reconciler."""
    async with place(postgres_url, valkey_url, grace_seconds=1.0, reconcile_period_seconds=1.0) as here:
        flow_of(here)
        environ = os.environ | {
            "FENCEPOST_DATABASE_URL": postgres_url,
            "FENCEPOST_REDIS_URL": valkey_url,
            "FENCEPOST_NAMESPACE": here.config.namespace,
            "FENCEPOST_GRACE_SECONDS": "1",
        }
        caller = await asyncio.create_subprocess_exec(
            sys.executable, "-c", textwrap.dedent(KILLED), env=environ, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await caller.communicate()
        assert caller.returncode == -signal.SIGKILL
        async with here.worker():
            assert await here.client.run(out.decode().strip()).result(30) == 6


async def test_keys_behave_inside_the_callers_transaction(postgres_url: str, valkey_url: str) -> None:
    """The same key twice in one transaction; taken by another open one, which rolls back, or commits."""
    async with place(postgres_url, valkey_url) as here:
        flow = flow_of(here)
        one: Any = await asyncpg.connect(postgres_url)
        other: Any = await asyncpg.connect(postgres_url)
        async with one.transaction():
            first = await here.client.start(flow, 1, key="k", connection=one)
            again = await here.client.start("flow", 1, key="k", connection=one)
            assert (first.created, again.created, again.id) == (True, False, first.id)
            with pytest.raises(errors.StartConflict):
                await here.client.start("flow", 2, key="k", strict=True, connection=one)

            async def rival() -> Any:
                async with other.transaction():
                    return await here.client.start("flow", 1, key="k", connection=other)

            waiting = asyncio.create_task(rival())
            await asyncio.sleep(0.2)
            assert not waiting.done(), "it waits for the first one's end"
        found = await waiting
        assert (found.created, found.id) == (False, first.id)
        rolled = one.transaction()
        await rolled.start()
        gone = await here.client.start("flow", 1, key="l", connection=one)

        async def heir() -> Any:
            async with other.transaction():
                return await here.client.start("flow", 1, key="l", connection=other)

        waiting = asyncio.create_task(heir())
        await asyncio.sleep(0.2)
        await rolled.rollback()
        heir_run = await waiting
        assert heir_run.created
        assert heir_run.id != gone.id
        await one.close()
        await other.close()


async def test_what_cannot_be_is_refused_before_the_transaction_is_touched(postgres_url: str, valkey_url: str) -> None:
    """No transaction, no connection, another database (with and without a namespace of that name), too large."""
    async with place(postgres_url, valkey_url) as here, place(postgres_url, valkey_url) as twin:
        own: Any = await asyncpg.connect(postgres_url)
        with pytest.raises(errors.ArgumentError, match="in no transaction"):
            await here.client.start("flow", connection=own)
        with pytest.raises(errors.ArgumentError, match="asyncpg connection"):
            await here.client.start("flow", connection="postgresql://")
        await here.admin.execute(f"CREATE DATABASE twin_{twin.config.namespace}")
        elsewhere: Any = await asyncpg.connect(postgres_url.replace("/postgres?", f"/twin_{twin.config.namespace}?"))
        async with elsewhere.transaction():
            with pytest.raises(errors.WrongDatabase):
                await here.client.start("flow", connection=elsewhere)
        await elsewhere.execute(f"CREATE SCHEMA {here.config.namespace}")
        await elsewhere.close()
        async with own.transaction():
            with pytest.raises(errors.PayloadTooLarge):
                await here.client.start("flow", "x" * 2_000_000, connection=own)
            with pytest.raises(errors.ArgumentError):
                await here.client.start("flow", key="x" * 2_000, connection=own)
            assert await own.fetchval("SELECT 1") == 1, "the transaction is whole"
        await own.close()
        await here.admin.execute(f"DROP DATABASE twin_{twin.config.namespace}")


async def test_a_namespace_of_the_same_name_elsewhere_is_noticed(postgres_url: str, valkey_url: str) -> None:
    """A copy with its own history: nothing is written there, and its transaction stays whole."""
    async with place(postgres_url, valkey_url) as here:
        await here.client.prepare_joined("flow", (), {})  # the client has seen who it talks to
        await here.admin.execute(
            f"UPDATE {here.config.namespace}.schema_version SET applied_at = applied_at + interval '1 us'"
        )
        own: Any = await asyncpg.connect(postgres_url)
        async with own.transaction():
            with pytest.raises(errors.WrongDatabase):
                await here.client.start("flow", connection=own)
            assert await own.fetchval(f"SELECT count(*) FROM {here.config.namespace}.runs") == 0
        await own.close()


async def test_psycopg_through_the_sync_client(postgres_url: str, valkey_url: str) -> None:
    """Commit and rollback; a connection in autocommit is refused, but for a block of its own."""
    async with place(postgres_url, valkey_url) as here, here.worker():
        flow = flow_of(here)

        def drive() -> None:
            with sync.Client(here.config) as client, psycopg.connect(postgres_url) as own:
                kept = client.start(flow, 4, key="p", connection=own)
                own.commit()
                kept.committed()
                assert kept.result(30) == 8
                lost = client.start("flow", 5, connection=own)
                own.rollback()
                with pytest.raises(errors.RunNotFound):
                    lost.status()
                again = client.start("flow", 4, key="p", connection=own)
                assert (again.created, again.id) == (False, kept.id)
                own.rollback()
                own.autocommit = True
                with pytest.raises(errors.ArgumentError, match="in no transaction"):
                    client.start("flow", 6, connection=own)
                with own.transaction():
                    inside = client.start(flow, 7, connection=own)
                assert inside.result(30) == 14
                with pytest.raises(errors.ArgumentError, match="psycopg"):
                    client.start("flow", 6, connection=object())

        await asyncio.to_thread(drive)


async def test_a_transactional_step_starts_a_run_exactly_once(postgres_url: str, valkey_url: str) -> None:
    """The two together: a run that is started in the step's transaction, and a first attempt that fails behind it."""
    async with place(postgres_url, valkey_url) as here:
        flow = flow_of(here)
        tried: list[str] = []

        @step(registry=here.registry, first_delay=0.0)
        async def spawn() -> str:
            async with transaction() as connection:
                run = await here.client.start(flow, 21, connection=connection)
                tried.append(run.id)
            if len(tried) == 1:
                raise ValueError("behind")
            return run.id

        @workflow(registry=here.registry)
        async def parent() -> str:
            return await spawn()

        async with here.worker():
            run_id = await (await here.client.start(parent)).result(30)
            assert await here.client.run(run_id).result(30) == 42
            assert [info.id for info in await here.client.list(workflow="flow")] == [tried[1]] == [run_id]
