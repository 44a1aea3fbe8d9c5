"""A body that ends its own transaction, or spoils it: named, and not retried. On real servers."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from tests.engine.engine_real import Place, place
from tests.engine.test_transactional_steps import flow_of, shape

from fencepost import transaction

BY_HAND = {
    "commit, begin": ["COMMIT", "BEGIN"],
    "in one call": ["COMMIT; BEGIN"],
    "end": ["END"],
    "commit and chain": ["COMMIT AND CHAIN"],
    "rollback, begin": ["ROLLBACK; BEGIN"],
    "rollback and chain": ["ROLLBACK AND CHAIN"],
    "abort": ["ABORT"],
    "a savepoint before": ["SAVEPOINT a; COMMIT; BEGIN; SAVEPOINT a"],
    "with the same settings": ["COMMIT; BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"],
    "behind a failure": ["SAVEPOINT a", "SELECT 1 / 0", "ROLLBACK; BEGIN"],
    "prepared": ["PREPARE TRANSACTION 'mine'; BEGIN"],
    "read only": ["SET TRANSACTION READ ONLY"],
    "read only by a setting": ["SET transaction_read_only = on"],
    "isolation": ["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
    "isolation by a setting": ["SET LOCAL transaction_isolation = 'repeatable read'"],
    "reset all": ["RESET ALL"],
    "commit in a block": ["DO $$ BEGIN COMMIT; END $$"],
}


@pytest.mark.parametrize("raises", [False, True], ids=["returns", "raises"])
@pytest.mark.parametrize("name", BY_HAND)
async def test_h184_a_transaction_that_is_not_ours_any_more_is_named_and_not_retried(
    postgres_url: str, valkey_url: str, name: str, raises: bool
) -> None:
    """Whatever becomes of the body, and also where it swallows the error: one attempt, and never its result."""
    async with place(postgres_url, valkey_url, transaction_connections=1) as here:

        async def body() -> str:
            async with transaction() as connection:
                await connection.execute(f"INSERT INTO {here.table} VALUES (1, '')")
                for sql in BY_HAND[name]:
                    try:
                        await connection.execute(sql)
                    except (asyncpg.DivisionByZeroError, asyncpg.ObjectNotInPrerequisiteStateError):
                        if name == "prepared":  # this server prepares none, which ends the transaction all the same
                            await connection.execute("ROLLBACK; BEGIN")
                await connection.execute(f"INSERT INTO {here.table} VALUES (2, '')") if "read" not in name else None
                if raises:
                    raise ValueError("the body's own")
            return "done"

        flow = flow_of(here, body)
        async with here.worker():
            run = await here.client.start(flow)
            raised = await run.result(30)
            events = await shape(run)
            assert events == ["step_started 1", "step_failed 1"] or (raises and "read only" in name), (raised, events)
            assert raised == "TransactionMisuse" or (raises and "read only" in name), raised
            again = flow_of(here, plain(here), name="again")
            assert await (await here.client.start(again)).result(30) == 3


def plain(here: Place) -> Any:
    async def body() -> int:
        async with transaction() as connection:
            await connection.execute(f"INSERT INTO {here.table} VALUES (3, '')")
            return await connection.fetchval("SELECT 3")

    return body


@pytest.mark.parametrize("where", ["in one call", "swallowed"])
async def test_h184_a_commit_that_an_error_followed_in_one_call_is_seen(
    postgres_url: str, valkey_url: str, where: str
) -> None:
    """No call that went well has shown it, and the transaction that has failed answers no question."""
    async with place(postgres_url, valkey_url) as here:

        async def body() -> str:
            async with transaction() as connection:
                await connection.execute(f"INSERT INTO {here.table} VALUES (1, '')")
                if where == "swallowed":
                    with pytest.raises(asyncpg.DivisionByZeroError):
                        await connection.execute("COMMIT; BEGIN; SELECT 1 / 0")
                    raise ValueError("the body's own")
                await connection.execute("COMMIT; BEGIN; SELECT 1 / 0")
            return "done"

        flow = flow_of(here, body)
        async with here.worker():
            run = await here.client.start(flow)
            assert await run.result(30) == "TransactionMisuse"
            assert await here.notes() == [1]


@pytest.mark.parametrize(
    "sql", ["SET ROLE {role}", "SET LOCAL ROLE {role}", "SET SESSION AUTHORIZATION {role}", "SET statement_timeout = 1"]
)
async def test_h184_what_the_body_has_set_does_not_stand_in_the_way_of_its_end(
    postgres_url: str, valkey_url: str, sql: str
) -> None:
    """A role that may not see our tables is the body's to take: the end is written as the session's own."""
    async with place(postgres_url, valkey_url) as here:
        role = f"role_{here.config.namespace}"
        await here.admin.execute(f"CREATE ROLE {role}; GRANT ALL ON {here.table} TO {role}")

        async def body() -> str:
            async with transaction() as connection:
                await connection.execute(f"INSERT INTO {here.table} VALUES (1, '')")
                await connection.execute(sql.format(role=role))
            return "done"

        flow = flow_of(here, body, retries=0)
        async with here.worker():
            run = await here.client.start(flow)
            assert await run.result(30) == "done"
            assert await shape(run) == ["step_started 1", "step_completed 1"]
        await here.admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
