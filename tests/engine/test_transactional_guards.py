"""What guards a step's transaction where it goes wrong: time limits of the server, connections that die, blocks that
are left or not left, leases, the tick that follows. On real servers.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import time
from typing import Any

import psycopg
import pytest
from tests.engine.engine_real import Place, place
from tests.engine.test_transactional_steps import flow_of, shape

from fencepost import current, errors, transaction
from fencepost.engine.joining import Joining
from fencepost.engine.leases import LeaseKeeper
from fencepost_queue.valkey import ValkeyQueue
from fencepost_store import statements
from fencepost_store.joint import Joint
from fencepost_store.protocol import FactOutcome, FactVerdict, Reason, StoreTrouble


@pytest.fixture
def short_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 ms instead of the 5 s that a frozen worker may hold the run's row."""
    words = statements._vocabulary() | {"joint_budget_ms": "300"}
    monkeypatch.setattr(statements, "_vocabulary", lambda: words)


async def test_h123_a_row_that_somebody_else_holds_is_waited_for_only_so_long(
    postgres_url: str, valkey_url: str, short_budget: None
) -> None:
    """No limit of the client's own is near: the server's ends the wait, all is rolled back, the step is tried again."""
    async with place(postgres_url, valkey_url, call_timeout_seconds=600.0) as here:
        held = here.admin.transaction()
        handed_back = asyncio.Event()

        def fault(point: str) -> None:
            if point == "step.looked_up" and begun:
                handed_back.set()

        here.fault = fault
        begun: list[int] = []

        async def body() -> str:
            begun.append(current().attempt)
            async with transaction() as connection:
                await connection.execute(f"INSERT INTO {here.table} VALUES ($1, '')", begun[-1])
                if begun == [1]:
                    await held.start()
                    row = f"SELECT FROM {here.config.namespace}.runs WHERE run_id = $1 FOR UPDATE"
                    await here.admin.execute(row, current().run_id)
            return "done"

        flow = flow_of(here, body)
        async with here.worker():
            run = await here.client.start(flow)
            try:
                await asyncio.wait_for(handed_back.wait(), 20)
            finally:
                await held.rollback()
            assert await run.result(30) == "done"
            assert await here.notes() == [2]


async def test_h123_a_worker_that_freezes_with_the_runs_row_loses_it(
    postgres_url: str, valkey_url: str, short_budget: None
) -> None:
    """Its loop stands still between the append and the commit, until another session has the row."""
    async with place(postgres_url, valkey_url) as here:
        frozen: list[bool] = []
        begun: list[str] = []

        def fault(point: str) -> None:
            if point == "joint.appended" and not frozen:
                frozen.append(_free(postgres_url, here.config.namespace, within_seconds=20))

        here.fault = fault

        async def body() -> str:
            begun.append(current().run_id)
            async with transaction() as connection:
                await connection.execute(f"INSERT INTO {here.table} VALUES ($1, '')", current().attempt)
            return "done"

        flow = flow_of(here, body)
        async with here.worker():
            assert await (await here.client.start(flow)).result(40) == "done"
        assert frozen == [True], "the server took the row from it"
        assert await here.notes() == [2]


def _free(dsn: str, namespace: str, within_seconds: float) -> bool:
    """Whether the only run's row can be had before the time is over. Blocks its thread, as a frozen worker's does."""
    until = time.monotonic() + within_seconds
    with psycopg.connect(dsn, autocommit=True) as watcher:
        while time.monotonic() < until:
            try:
                watcher.execute(f'SELECT FROM "{namespace}".runs FOR UPDATE NOWAIT'.encode())
            except psycopg.errors.LockNotAvailable:
                time.sleep(0.02)
            else:
                return True
    return False


async def test_h122_without_a_transaction_to_be_had_the_attempt_counts_for_nothing(
    postgres_url: str, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the body makes of that: no error of its own is recorded, and the step needs no retry for it (I12)."""
    begin = Joint.begin
    raised: list[type[BaseException]] = []

    async def away(*args: Any) -> Joint:
        if not raised:
            raise StoreTrouble("away")
        return await begin(*args)

    monkeypatch.setattr(Joint, "begin", away)
    async with place(postgres_url, valkey_url) as here:

        async def body() -> str:
            try:
                async with transaction() as connection:
                    await connection.execute(f"INSERT INTO {here.table} VALUES (1, '')")
            except Exception as error:
                raised.append(type(error))
                raise ValueError("as the body sees it") from error
            return "done"

        flow = flow_of(here, body, retries=0)
        async with here.worker():
            run = await here.client.start(flow)
            assert await run.result(30) == "done"
            assert raised == [errors.ServerUnavailable]
            assert await shape(run) == ["step_started 1", "step_started 2", "step_completed 2"]
            assert await here.notes() == [1]


async def test_a_bodys_error_stays_its_own_when_its_session_is_gone(postgres_url: str, valkey_url: str) -> None:
    """There is nothing to roll back any more."""
    async with place(postgres_url, valkey_url) as here:

        async def body() -> str:
            async with transaction() as connection:
                pid = await connection.fetchval("SELECT pg_backend_pid()")
                await here.admin.execute("SELECT pg_terminate_backend($1, 10000)", pid)
                raise ZeroDivisionError("the body's own")
            return "done"

        flow = flow_of(here, body, retries=0)
        async with here.worker():
            assert await (await here.client.start(flow)).result(30) == "ZeroDivisionError"


async def test_a_block_that_a_timeout_left_is_rolled_back_at_once(postgres_url: str, valkey_url: str) -> None:
    """Its locks are gone while the body goes on, and another block may follow."""
    async with place(postgres_url, valkey_url) as here:
        await here.admin.execute(f"INSERT INTO {here.table} VALUES (1, 'theirs')")
        row = f"SELECT FROM {here.table} FOR UPDATE"

        async def body() -> str:
            with pytest.raises(TimeoutError):  # noqa: PT012 - the whole block is what a timeout leaves
                async with asyncio.timeout(0.2), transaction() as connection:
                    await connection.execute(row)
                    await connection.execute(f"INSERT INTO {here.table} VALUES (2, '')")
                    await asyncio.Event().wait()
            await here.admin.execute(f"SET lock_timeout = '10s'; {row}")
            async with transaction() as connection:
                await connection.execute(f"INSERT INTO {here.table} VALUES (3, '')")
            return "done"

        flow = flow_of(here, body, retries=0)
        async with here.worker():
            assert await (await here.client.start(flow)).result(30) == "done"
        assert await here.notes() == [1, 3]


async def test_a_block_that_is_open_when_the_body_returns_is_misuse(postgres_url: str, valkey_url: str) -> None:
    """Never a result without its writes: a task that the body has left behind is in it."""
    async with place(postgres_url, valkey_url) as here:
        left: list[asyncio.Task[None]] = []

        async def body() -> str:
            inside = asyncio.Event()

            async def write() -> None:
                async with transaction() as connection:
                    await connection.execute(f"INSERT INTO {here.table} VALUES (1, '')")
                    inside.set()
                    await asyncio.Event().wait()

            left.append(asyncio.create_task(write()))
            await inside.wait()
            return "done"

        flow = flow_of(here, body)
        async with here.worker():
            run = await here.client.start(flow)
            assert await run.result(30) == "TransactionMisuse"
            assert await shape(run) == ["step_started 1", "step_failed 1"]
        left[0].cancel()
        await asyncio.gather(*left, return_exceptions=True)
        assert await here.notes() == []


async def test_a_session_serves_on_after_a_block_that_failed(postgres_url: str, valkey_url: str) -> None:
    """It was cleaned: no new connection, and nothing of the failed block's in it."""
    async with place(postgres_url, valkey_url, transaction_connections=1) as here:
        seen: list[tuple[int, str]] = []
        ask = "SELECT pg_backend_pid(), current_setting('work_mem')"

        async def body() -> str:
            with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the whole block is what fails
                async with transaction() as connection:
                    seen.append(tuple(await connection.fetchrow(ask)))
                    await connection.execute("SET work_mem = '123MB'")
                    raise ZeroDivisionError
            async with transaction() as connection:
                seen.append(tuple(await connection.fetchrow(ask)))
            return "done"

        flow = flow_of(here, body, retries=0)
        async with here.worker():
            assert await (await here.client.start(flow)).result(30) == "done"
        assert seen[0] == seen[1]


async def test_h62_who_has_lost_the_lease_commits_nothing(
    postgres_url: str, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the worker's own clock the lease is over when the body is through: it walks away, another attempt writes."""
    fresh = LeaseKeeper.fresh
    stale: list[str] = []
    async with place(postgres_url, valkey_url) as here:

        def fault(point: str) -> None:
            if point == "joint.sealed" and not stale:
                stale.append(point)

        here.fault = fault

        def once(keeper: LeaseKeeper, token: str) -> bool:
            if stale == ["joint.sealed"]:
                stale.append(token)
            return token not in stale and fresh(keeper, token)

        monkeypatch.setattr(LeaseKeeper, "fresh", once)

        async def body() -> str:
            async with transaction() as connection:
                await connection.execute(f"INSERT INTO {here.table} VALUES ($1, '')", current().attempt)
            return "done"

        flow = flow_of(here, body)
        async with here.worker():
            run = await here.client.start(flow)
            assert await run.result(30) == "done"
            assert await shape(run) == ["step_started 1", "step_started 2", "step_completed 2"]
            assert await here.notes() == [2]


async def begin_generation(here: Place) -> None:
    """A worker that finds the queue new ticks every run a little later; of one whose sweep is done nobody does."""
    queue = ValkeyQueue(here.config.redis_url, here.config.namespace)
    claimed = await queue.claim("default", 1, 1_000)
    assert claimed.sweep
    assert await queue.sweep("default", claimed.generation, 0)
    await queue.close()


async def test_h41_the_settle_of_a_transactional_step_carries_the_runs_tick(postgres_url: str, valkey_url: str) -> None:
    """No reconciler looks at the run, and its deadline is far: what follows from the result follows by that tick."""
    far = {"reconcile_period_seconds": 200.0, "grace_seconds": 500.0, "recovery_interval_seconds": 500.0}
    async with place(postgres_url, valkey_url, **far) as here:
        await begin_generation(here)

        async def body() -> str:
            async with transaction():
                return "done"

        flow = flow_of(here, body)
        async with here.worker():
            assert await (await here.client.start(flow)).result(20) == "done"


async def test_h106_an_end_that_another_attempt_refuses_releases_the_message(
    postgres_url: str, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step is open: its message is offered again, and looked up."""
    end = Joining.end
    refused: list[bool] = []

    async def once(joining: Joining, *args: Any) -> tuple[FactVerdict, int]:
        if refused:
            return await end(joining, *args)
        refused.append(True)
        assert joining._joint is not None
        await joining._joint.roll_back()
        return FactVerdict(FactOutcome.refused, reason=Reason.other_attempt), 0

    monkeypatch.setattr(Joining, "end", once)
    async with place(postgres_url, valkey_url, reconcile_period_seconds=200.0) as here:
        await begin_generation(here)

        async def body() -> str:
            async with transaction() as connection:
                await connection.execute(f"INSERT INTO {here.table} VALUES ($1, '')", current().attempt)
            return "done"

        flow = flow_of(here, body)
        async with here.worker():
            assert await (await here.client.start(flow)).result(20) == "done"
        assert await here.notes() == [2]
