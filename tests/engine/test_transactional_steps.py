"""``transaction()``: what is written in it and the step's end land together, or neither does. On real servers."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from tests.engine.engine_real import Place, place

from fencepost import current, errors, step, transaction, workflow
from fencepost_store.events import EventType
from fencepost_store.protocol import StoreTrouble


def flow_of(here: Place, body: Any, **given: Any) -> Any:
    """A workflow of this one step; it answers the error's class where the step fails."""
    options: dict[str, Any] = {"name": "work", "first_delay": 0.0, **given}
    work: Any = step(registry=here.registry, **options)(body)

    @workflow(registry=here.registry, name=f"flow_{options['name']}")
    async def flow() -> Any:
        try:
            return await work()
        except Exception as error:  # noqa: BLE001 - whatever it is
            return type(error).__name__

    return flow


async def shape(run: Any) -> list[str]:
    """The step's events."""
    return [f"{e.type.name} {e.attempt}" async for e in run.events() if 11 <= e.type <= 15]


async def test_a_result_and_what_was_written_land_together(postgres_url: str, valkey_url: str) -> None:
    async with place(postgres_url, valkey_url) as here:
        seen: list[int] = []

        async def body() -> int:
            async with transaction() as connection:
                await connection.execute(f"INSERT INTO {here.table} VALUES (1, 'a')")
                seen.append(len(await here.notes()))
            seen.append(len(await here.notes()))
            return 7

        flow = flow_of(here, body)
        async with here.worker():
            run = await here.client.start(flow)
            assert await run.result(30) == 7
            assert seen == [0, 0], "nothing is committed inside the block, nor at its end"
            assert await here.notes() == [1]
            assert await shape(run) == ["step_started 1", "step_completed 1"]
            sessions = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
            assert await here.admin.fetchval(sessions) == 0


async def test_an_error_rolls_back_and_the_next_attempt_writes_once(postgres_url: str, valkey_url: str) -> None:
    """Raised inside the block, and behind it."""
    async with place(postgres_url, valkey_url) as here:

        async def body() -> str:
            attempt = current().attempt
            async with transaction() as connection:
                await connection.execute(f"INSERT INTO {here.table} VALUES ($1, '')", attempt)
                if attempt == 1:
                    raise ValueError("inside")
            if attempt == 2:
                raise ValueError("behind")
            return "done"

        flow = flow_of(here, body)
        async with here.worker():
            run = await here.client.start(flow)
            assert await run.result(30) == "done"
            assert await here.notes() == [3]


async def test_a_block_that_failed_may_be_tried_again_in_the_same_attempt(postgres_url: str, valkey_url: str) -> None:
    """It has been rolled back, with its locks; a savepoint inside the block works too."""
    async with place(postgres_url, valkey_url) as here:
        await here.admin.execute(f"CREATE UNIQUE INDEX ON {here.table} (n)")

        async def body() -> str:
            with pytest.raises(asyncpg.UniqueViolationError):
                async with transaction() as connection:
                    await connection.execute(f"INSERT INTO {here.table} VALUES (1, ''), (1, '')")
            async with transaction() as connection:
                with pytest.raises(asyncpg.UniqueViolationError):
                    async with connection.transaction():
                        await connection.execute(f"INSERT INTO {here.table} VALUES (2, ''), (2, '')")
                await connection.execute(f"INSERT INTO {here.table} VALUES (3, '')")
            return "done"

        flow = flow_of(here, body)
        async with here.worker():
            run = await here.client.start(flow)
            assert await run.result(30) == "done"
            assert await here.notes() == [3]


async def test_h122_writes_of_a_run_that_has_ended_are_rolled_back(postgres_url: str, valkey_url: str) -> None:
    """The run is terminated between the body's end and the append: refused, so nothing is committed."""
    async with place(postgres_url, valkey_url) as here:
        over = asyncio.Event()

        def fault(name: str) -> None:
            if name == "joint.committed":  # or rolled back
                over.set()

        here.fault = fault

        async def body() -> str:
            async with transaction() as connection:
                await connection.execute(f"INSERT INTO {here.table} VALUES (1, '')")
                # The engine's hint would cancel this body; the end of the run comes from elsewhere and says nothing.
                await here.admin.execute(f"UPDATE {here.config.namespace}.runs SET status = 13")
            return "done"

        flow = flow_of(here, body)
        async with here.worker():
            run = await here.client.start(flow)
            await asyncio.wait_for(over.wait(), 30)
            assert await here.notes() == []
            assert await shape(run) == ["step_started 1"]


@pytest.mark.parametrize("point", ["joint.begun", "joint.sealed", "joint.appended", "joint.committed"])
async def test_h122_h08_trouble_at_every_point_leaves_one_row(postgres_url: str, valkey_url: str, point: str) -> None:
    """The connection dies there: before the commit nothing has landed; behind it its reply was lost, and all has."""
    async with place(postgres_url, valkey_url) as here:

        async def body() -> str:
            async with transaction() as connection:
                await connection.execute(f"INSERT INTO {here.table} VALUES (1, '')")
            return "done"

        times: list[str] = []

        def fault(name: str) -> None:
            if name == point and not times:
                times.append(name)
                raise StoreTrouble("cut")

        here.fault = fault
        flow = flow_of(here, body)
        async with here.worker():
            run = await here.client.start(flow)
            assert await run.result(30) == "done"
        assert times == [point]
        assert await here.notes() == [1]


async def test_misuse_fails_the_step_and_says_so(postgres_url: str, valkey_url: str) -> None:
    """Two blocks, one inside the other, a commit by hand, an error that was swallowed: never a result without its
    writes.
    """
    async with place(postgres_url, valkey_url) as here:

        async def twice() -> None:
            async with transaction():
                pass
            async with transaction():
                pass

        async def nested() -> None:
            async with transaction(), transaction():
                pass

        async def by_hand() -> None:
            async with transaction() as connection:
                await connection.execute("ROLLBACK")

        async def swallowed() -> None:
            async with transaction() as connection:
                await connection.execute(f"INSERT INTO {here.table} VALUES (1, '')")
                with pytest.raises(asyncpg.PostgresError):
                    await connection.execute("SELECT 1 / 0")

        bodies = {twice: "TransactionMisuse", nested: "TransactionMisuse", by_hand: "TransactionMisuse"}
        bodies[swallowed] = "InFailedSQLTransactionError"
        steps: dict[str, Any] = {
            body.__name__: step(registry=here.registry, retries=1, first_delay=0.0)(body) for body in bodies
        }

        @workflow(registry=here.registry)
        async def flow(name: str) -> str:
            try:
                await steps[name]()
            except Exception as error:  # noqa: BLE001 - whatever it is
                return type(error).__name__
            return "ended"

        async with here.worker():
            for body, expected in bodies.items():
                run = await here.client.start(flow, body.__name__)
                assert await run.result(30) == expected, body
                starts = [line for line in await shape(run) if line.startswith("step_started")]
                assert len(starts) == (1 if expected == "TransactionMisuse" else 2), body
        assert await here.notes() == []


async def test_a_step_of_another_kind_has_no_transaction(postgres_url: str, valkey_url: str) -> None:
    async with place(postgres_url, valkey_url) as here:

        def body() -> None:
            async def use() -> None:
                async with transaction():
                    pass

            asyncio.run(use())

        flow = flow_of(here, body, retries=0)
        async with here.worker():
            assert await (await here.client.start(flow)).result(30) == "NotSupportedHere"
    with pytest.raises(errors.NotInWorkflow):
        async with transaction():
            pass


async def test_h123_a_deferred_constraint_is_checked_before_the_runs_row_is_locked(
    postgres_url: str, valkey_url: str
) -> None:
    """Broken, it is the step's own error. And while it waits for a lock of somebody else's, the run is free."""
    async with place(postgres_url, valkey_url) as here:
        await here.admin.execute(
            f"CREATE TABLE {here.table}_p (id integer PRIMARY KEY);"
            f" ALTER TABLE {here.table} ADD FOREIGN KEY (n) REFERENCES {here.table}_p DEFERRABLE INITIALLY DEFERRED;"
            f" INSERT INTO {here.table}_p VALUES (1)"
        )

        async def body() -> str:
            async with transaction() as connection:
                await connection.execute(f"INSERT INTO {here.table} VALUES ($1, '')", current().attempt + 1)
            return "done"

        flow = flow_of(here, body, retries=0)
        async with here.worker():
            assert await (await here.client.start(flow)).result(30) == "ForeignKeyViolationError"
            await here.admin.execute(f"INSERT INTO {here.table}_p VALUES (2)")
            holder = here.admin.transaction()
            await holder.start()
            await here.admin.execute(f"SELECT FROM {here.table}_p WHERE id = 2 FOR UPDATE")
            run = await here.client.start(flow)
            waiting = (
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%CONSTRAINTS%'"
            )
            watcher: Any = await asyncpg.connect(postgres_url)  # within a transaction the view stands still
            while not await watcher.fetchval(waiting):  # noqa: ASYNC110 - of another session
                await asyncio.sleep(0.01)
            await watcher.close()
            await here.admin.execute("SET LOCAL lock_timeout = '1s'")
            lock = f"SELECT FROM {here.config.namespace}.runs WHERE run_id = $1 FOR NO KEY UPDATE NOWAIT"
            await here.admin.execute(lock, run.id)
            await holder.commit()
            assert await run.result(30) == "done"


async def test_what_a_body_leaves_in_its_session_is_not_there_for_the_next(postgres_url: str, valkey_url: str) -> None:
    async with place(postgres_url, valkey_url, transaction_connections=1) as here:
        seen: list[str] = []

        async def body() -> str:
            async with transaction() as connection:
                seen.append(await connection.fetchval("SHOW work_mem"))
                await connection.execute("SET work_mem = '123MB'")
            return "done"

        flow = flow_of(here, body)
        async with here.worker():
            for _ in range(2):
                assert await (await here.client.start(flow)).result(30) == "done"
        assert seen[0] == seen[1] != "123MB"


async def test_many_transactions_of_one_run_at_once(postgres_url: str, valkey_url: str) -> None:
    """More of them than connections: they wait for each other, and each has written once."""
    async with place(postgres_url, valkey_url, transaction_connections=3) as here:

        @step(registry=here.registry)
        async def write(n: int) -> int:
            async with transaction() as connection:
                await connection.execute(f"INSERT INTO {here.table} VALUES ($1, '')", n)
                return n

        @workflow(registry=here.registry)
        async def flow() -> list[int]:
            return list(await asyncio.gather(*(write(n) for n in range(20))))

        async with here.worker():
            run = await here.client.start(flow)
            assert await run.result(60) == list(range(20))
        assert await here.notes() == list(range(20))
        completed = [e async for e in run.events() if e.type is EventType.step_completed]
        assert len(completed) == 20
