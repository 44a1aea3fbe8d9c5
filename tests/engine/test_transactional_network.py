"""``transaction()`` over a network that loses what is sent and tells nobody. On real servers."""

from __future__ import annotations

from msgspec.structs import replace
from tests.engine.engine_real import place
from tests.engine.test_transactional_steps import flow_of, shape
from tests.relay import relay

from fencepost import current, transaction


async def test_h129_a_statement_without_an_answer_ends_with_a_calls_time(postgres_url: str, valkey_url: str) -> None:
    """The body waits for an answer that never comes, and its lease is renewed meanwhile: nobody else would take it."""
    async with relay(postgres_url) as (network, url), place(postgres_url, valkey_url, call_timeout_seconds=1.0) as here:
        here.config = replace(here.config, database_url=url)
        told: list[str] = []

        async def body() -> str:
            try:
                async with transaction() as connection:
                    await connection.execute(f"INSERT INTO {here.table} VALUES ($1, '')", current().attempt)
                    if current().attempt == 1:
                        network.hole()
                        await connection.execute("SELECT 1")
            except TimeoutError as error:
                told.append(str(error))
                raise
            return "done"

        flow = flow_of(here, body, retries=1)
        async with here.worker():
            run = await here.client.start(flow)
            assert await run.result(20) == "done"
        assert await here.notes() == [2]
        assert "call_timeout_seconds (1 s)" in told[0]
        # What tells of the first attempt's end has another connection. If that is in the hole as well, it is trouble.
        assert [line for line in await shape(run) if line != "step_retrying 1"][1:] == [
            "step_started 2",
            "step_completed 2",
        ]


async def test_a_timeout_of_the_bodys_own_keeps_its_words(postgres_url: str, valkey_url: str) -> None:
    """It cuts the connection all the same, as it may have been a statement's; another block is another connection."""
    async with place(postgres_url, valkey_url) as here:
        sessions: list[int] = []

        async def body() -> str:
            try:
                async with transaction() as connection:
                    sessions.append(connection.get_server_pid())
                    await connection.execute(f"INSERT INTO {here.table} VALUES (1, '')")
                    raise TimeoutError("the bank is closed")
            except TimeoutError as error:
                said = str(error)
            async with transaction() as connection:
                sessions.append(connection.get_server_pid())
                await connection.execute(f"INSERT INTO {here.table} VALUES (2, '')")
            return said

        flow = flow_of(here, body)
        async with here.worker():
            assert await (await here.client.start(flow)).result(20) == "the bank is closed"
        assert await here.notes() == [2]
        assert len(set(sessions)) == 2
