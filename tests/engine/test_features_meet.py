"""Two features at once, on real servers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from typing import Any

import pytest
from tests.engine.engine_real import Place, place

from fencepost import (
    RunCancelled,
    RunFailed,
    continue_as_new,
    current,
    hook,
    set_attributes,
    sleep,
    step,
    stream,
    transaction,
    workflow,
)
from fencepost.payload_codecs import NONE, install
from fencepost.payload_keys import codecs_of

MARKER = "tr0ub4dor-and-3"


async def rows_with(here: Place, marker: str) -> list[str]:
    """The tables that have the marker anywhere, in text or in bytes."""
    namespace = here.config.namespace
    tables = await here.admin.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", namespace)
    found: list[str] = []
    for (table,) in tables:
        for needle in (marker, marker.encode().hex()):
            query = f'SELECT count(*) FROM "{namespace}"."{table}" t WHERE position($1 IN t::text) > 0'
            if await here.admin.fetchval(query, needle):
                found.append(table)
    return found


async def eventually(look: Any, seconds: float = 30) -> None:
    """Until it is so."""
    async with asyncio.timeout(seconds):
        while not await look():  # noqa: ASYNC110 - Postgres tells nobody
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("encrypted", [True, False])
async def test_nothing_of_a_users_values_is_in_clear_text_in_any_table(
    postgres_url: str, valkey_url: str, encrypted: bool
) -> None:
    """Inputs of runs, children and successors, stream chunks, heartbeat details, signals, errors, results. Without a
    codec the same search finds them, or it would prove nothing."""
    keys = {"payload_keys": f"k1:{base64.b64encode(b'k' * 32).decode()}", "payload_codecs": ("aes-gcm",)}
    async with place(postgres_url, valkey_url, **(keys if encrypted else {})) as here:
        install(codecs_of(here.config))
        beating, beaten = asyncio.Event(), asyncio.Event()

        @step(registry=here.registry, retries=0)
        async def work(word: str) -> str:
            async with stream("words", str) as out:
                await out.write(word)
            current().heartbeat({"at": word})
            beating.set()
            await beaten.wait()
            raise ValueError(f"no {word}")

        @workflow(registry=here.registry)
        async def kid(word: str, again: bool = True) -> str:
            set_attributes(stage="public")
            with contextlib.suppress(ValueError):
                if again:
                    await work(word)
            if again:
                continue_as_new(word, again=False)
            return word

        @workflow(registry=here.registry)
        async def top(word: str) -> str:
            async with hook(str, token="t") as words:
                assert await words == word
            assert await kid(word) == word
            raise ValueError(f"the end of {word}")

        try:
            async with here.worker():
                run = await here.client.start(top, MARKER)
                await eventually(lambda: _listens(here, "t"))
                await here.client.resume("t", MARKER)
                await asyncio.wait_for(beating.wait(), 30)
                count = f'SELECT count(*) FROM "{here.config.namespace}".heartbeats'
                await eventually(lambda: here.admin.fetchval(count))
                found = set(await rows_with(here, MARKER))
                beaten.set()
                with pytest.raises(RunFailed):
                    await run.result(30)
                found |= set(await rows_with(here, MARKER))
        finally:
            install(NONE)
        assert found == (set() if encrypted else {"events", "heartbeats", "stream_chunks"})
        assert await rows_with(here, "public"), "attributes are looked up by Postgres, and are in clear text"


async def _listens(here: Place, token: str) -> bool:
    return bool(
        await here.admin.fetchval(f'SELECT count(*) FROM "{here.config.namespace}".hooks WHERE token = $1', token)
    )


@pytest.mark.parametrize("on_retry", ["append", "continue"])
async def test_chunks_of_a_transactional_step_do_not_wait_for_its_commit(
    postgres_url: str, valkey_url: str, on_retry: Any
) -> None:
    """The first attempt's commit is refused by a deferred constraint: its rows are gone, its chunks are there, with
    their attempt beside them. What the second writes comes behind, or only what is missing."""
    async with place(postgres_url, valkey_url) as here:
        await here.admin.execute(
            f"ALTER TABLE {here.table} ADD CONSTRAINT once_{here.table} UNIQUE (n) DEFERRABLE INITIALLY DEFERRED"
        )

        @step(registry=here.registry, first_delay=0.0)
        async def work() -> None:
            async with transaction() as connection:
                await connection.execute(f"INSERT INTO {here.table} VALUES (1, 'a')")
                if current().attempt == 1:
                    await connection.execute(f"INSERT INTO {here.table} VALUES (1, 'b')")
                async with stream("out", int, shared=True, on_retry=on_retry) as out:
                    await out.write(1)
                    await out.write(2)

        @workflow(registry=here.registry)
        async def flow() -> None:
            await work()

        async with here.worker():
            run = await here.client.start(flow)
            await run.result(30)
            seen = [(chunk.attempt, chunk.value) async for chunk in run.stream("out", int).chunks()]
            first, second = [(1, 1), (1, 2)], [(2, 1), (2, 2)]
            assert seen == (first if on_retry == "continue" else first + second)
            assert await here.notes() == [1]


async def test_a_cancelled_parent_takes_back_what_its_childs_step_has_not_committed(
    postgres_url: str, valkey_url: str
) -> None:
    """A transactional, heartbeating step of a child is stopped: its rows never were, its details go."""
    async with place(postgres_url, valkey_url) as here:
        inside = asyncio.Event()

        @step(registry=here.registry, heartbeat_timeout=20)
        async def work() -> None:
            async with transaction() as connection:
                await connection.execute(f"INSERT INTO {here.table} VALUES (1, 'a')")
                current().heartbeat("half")
                inside.set()
                await asyncio.sleep(100)

        @workflow(registry=here.registry)
        async def kid() -> None:
            await work()

        @workflow(registry=here.registry)
        async def top() -> None:
            await kid()

        async with here.worker():
            run = await here.client.start(top)
            await asyncio.wait_for(inside.wait(), 30)
            await run.cancel("enough")
            with pytest.raises(RunCancelled, match="enough"):
                await run.result(30)
            (child,) = await here.client.list(parent=run.id)
            assert child.status == "cancelled"
            assert await here.notes() == []
            sessions = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE $1 AND state LIKE 'idle in trans%'"
            await eventually(lambda: _none(here, sessions, f"%{here.table}%"))
            await eventually(lambda: _none(here, f'SELECT count(*) FROM "{here.config.namespace}".heartbeats'))


async def _none(here: Place, query: str, *args: object) -> bool:
    return await here.admin.fetchval(query, *args) == 0


async def test_a_reader_of_a_childs_stream_reads_one_run_of_its_chain(postgres_url: str, valkey_url: str) -> None:
    """The parent is told by the last run; a stream is of the run that wrote it, and its reader ends with that one."""
    async with place(postgres_url, valkey_url) as here:

        @step(registry=here.registry)
        async def talk(n: int) -> None:
            async with stream("out", int, shared=True) as out:
                await out.write(n)

        @workflow(registry=here.registry)
        async def kid(n: int) -> int:
            set_attributes(n=n)
            await talk(n)
            if n < 3:
                continue_as_new(n + 1)
            return n

        @workflow(registry=here.registry)
        async def top() -> int:
            set_attributes(stage="begun")
            return await kid(1)

        async with here.worker():
            run = await here.client.start(top)
            assert await run.result(30) == 3
            rows = sorted(await here.client.list(parent=run.id), key=lambda row: row.id)
            assert [row.status for row in rows] == ["continued", "continued", "completed"]
            assert [row.attributes for row in rows] == [{"n": 1}, {"n": 2}, {"n": 3}]
            read = [[n async for n in here.client.run(row.id).stream("out", int)] for row in rows]
            assert read == [[1], [2], [3]]
            assert (await run.status()).attributes == {"stage": "begun"}


async def test_a_start_in_the_callers_transaction_takes_all_that_a_start_takes(
    postgres_url: str, valkey_url: str
) -> None:
    """Attributes, a delay and a key: none of them before the commit, all of them after."""
    async with place(postgres_url, valkey_url) as here:

        @workflow(registry=here.registry)
        async def flow() -> int:
            return 1

        async def begin() -> Any:
            return await here.client.start(flow, connection=here.admin, key="k", delay=1.0, attributes={"stage": "new"})

        async with here.worker():
            gone: Any = None
            with contextlib.suppress(ZeroDivisionError):
                async with here.admin.transaction():
                    gone = await begin()
                    raise ZeroDivisionError
            assert await here.client.list(attributes={"stage": "new"}) == []
            async with here.admin.transaction():
                run = await begin()
                assert run.id != gone.id
                assert await here.client.list(attributes={"stage": "new"}) == []
            (row,) = await here.client.list(attributes={"stage": "new"})
            assert (row.id, row.key, row.status) == (run.id, "k", "pending")
            assert row.starts_at is not None
            await run.committed()
            async with here.admin.transaction():
                assert (await begin()).id == run.id
            assert await run.result(30) == 1
            begun = (await here.client.get(run.id)).updated_at
            assert begun >= row.starts_at


async def test_a_childs_step_that_nobody_serves_ends_with_its_parent(postgres_url: str, valkey_url: str) -> None:
    """schedule_to_close is the child's business for as long as it lives, and parent_close ends that."""
    async with place(postgres_url, valkey_url) as here:

        @step(registry=here.registry, queue="nobody", schedule_to_close=60)
        async def never() -> None: ...

        @workflow(registry=here.registry)
        async def kid() -> None:
            await never()

        @workflow(registry=here.registry)
        async def top() -> None:
            kid.with_options(parent_close="terminate").start()
            await sleep(0.5)

        async with here.worker():
            run = await here.client.start(top)
            await run.result(30)

            async def over() -> bool:
                rows = await here.client.list()
                return all(row.ended and row.wake_at is None for row in rows)

            await eventually(over)
            (child,) = await here.client.list(parent=run.id)
            assert child.status == "terminated"
            kinds = [event.type.name async for event in here.client.run(child.id).events()]
            assert "step_created" in kinds
            assert "step_failed" not in kinds


async def test_a_full_backlog_is_left_behind_by_continue_as_new(postgres_url: str, valkey_url: str) -> None:
    """Payloads that a run never took are held for its successor, and do not count as what its own hooks have."""
    async with place(postgres_url, valkey_url, hook_backlog_max=4) as here:

        @workflow(registry=here.registry)
        async def flow(round: int) -> str:
            async with hook(str, token=f"t{round}") as words, hook(str, token=f"go{round}") as go:
                await go
                if round == 1:
                    continue_as_new(2)
                return await words

        async with here.worker():
            run = await here.client.start(flow, 1)
            for round in (1, 2):
                await eventually(lambda round=round: _listens(here, f"go{round}"))
                for n in range(3):
                    await here.client.resume(f"t{round}", f"{round}.{n}")
                await here.client.resume(f"go{round}", "")
            assert await run.result(30) == "2.0"
