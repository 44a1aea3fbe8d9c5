"""Servers that take no writes and sessions that went bad: nobody stays with them, and nobody takes them for ready."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from worlds import new_run_id, postgres_store

from fencepost.dev.guarded import Guarded
from fencepost.dev.postgres import start_postgres
from fencepost.dev.servers import erase
from fencepost_store import connections, inspection
from fencepost_store.connections import Connections
from fencepost_store.events import EventType, NewEvent
from fencepost_store.migrations import check, migrate
from fencepost_store.postgres import PostgresStore, connect
from fencepost_store.protocol import Batch, NewRun, Outcome, StoreTrouble
from fencepost_store.trouble import RolledBack, ServerUnable

GRACE = 10_000_000
NAMESPACE = "t_roles"


@pytest.fixture
async def store(postgres_url: str, namespace: str) -> AsyncIterator[PostgresStore]:
    store = await postgres_store(postgres_url, namespace)
    yield store
    await store.close()


async def _run(store: PostgresStore) -> str:
    run_id = new_run_id()
    await store.start(NewRun(run_id, "flow", "default", b"\x01in", GRACE))
    return run_id


async def _append(store: PostgresStore, run_id: str) -> Outcome:
    event = NewEvent(EventType.cancel_requested, dedupe=new_run_id())
    (verdict,) = await store.append([Batch(run_id, None, (event,), grace=GRACE)])
    return verdict.outcome


async def _append_on(store: PostgresStore, run_id: str) -> None:
    """Until it fails: a reload comes to each session in its own time."""
    while True:
        await _append(store, run_id)


def _pools(store: PostgresStore) -> list[Connections]:
    return [pool for pool in vars(store).values() if isinstance(pool, Connections)]


async def _spoil(store: PostgresStore, statement: str) -> int:
    """Do something to each session of the store's; how many there are."""
    spoilt = 0
    async with AsyncExitStack() as stack:
        for pool in _pools(store):
            for _ in list(pool._idle):  # pyright: ignore[reportPrivateUsage]
                held = await stack.enter_async_context(pool.use())
                await held.connection.execute(statement)
                spoilt += 1
    return spoilt


BAD = {
    "SET default_transaction_read_only = on": ServerUnable,
    "SET default_transaction_isolation = 'serializable'": RolledBack,
    "DEALLOCATE ALL": RolledBack,
}
"""What may become of a session, and what the call is told that meets it."""


@pytest.mark.parametrize("statement", BAD)
async def test_h222_a_session_that_went_bad_is_met_once(store: PostgresStore, statement: str) -> None:
    """All of them are given up with it: each would fail a call of its own, for such a server answers."""
    run_id = await _run(store)
    async with AsyncExitStack() as stack:
        for pool in _pools(store)[-2:]:
            for _ in range(2):
                await stack.enter_async_context(pool.use())
    assert await _append(store, run_id) is Outcome.ok
    assert await _spoil(store, statement) > 4
    with pytest.raises(BAD[statement]):
        await _append(store, run_id)
    for _ in range(4):
        assert await _append(store, run_id) is Outcome.ok
        await store.writable()
        await _run(store)


async def test_h222_a_probe_gives_up_a_server_that_takes_no_writes(store: PostgresStore) -> None:
    """It would ask the same one for ever."""
    await store.writable()
    await _spoil(store, "SET default_transaction_read_only = on")
    with pytest.raises(ServerUnable, match="is read-only: a standby, or default_transaction_read_only is on"):
        await store.writable()
    await store.writable()


async def test_h222_an_idle_session_is_asked_whether_it_may_write(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its next call, whichever: reads alone would go on there for ever."""
    monkeypatch.setattr(connections, "SURE_SECONDS", 0.0)
    for statement in list(BAD)[:2]:
        run_id = await _run(store)
        await _spoil(store, statement)
        assert await _append(store, run_id) is Outcome.ok


async def test_h222_a_transaction_of_a_step_begins_on_no_read_only_session(store: PostgresStore) -> None:
    """The body's writes would fail, for no fault of its own."""
    for joint in [await store.join() for _ in range(3)]:
        await joint.roll_back()
        await joint.clean()
        joint.close()
    assert await _spoil(store, "SET default_transaction_read_only = on") > 0
    with pytest.raises(ServerUnable, match="read-only"):
        await store.join()
    (await store.join()).close()


async def test_h222_a_role_that_may_not_write_is_no_connection(
    store: PostgresStore, postgres_url: str, namespace: str
) -> None:
    """Sessions keep what their role had when they began: while it is set nobody connects, and then at once."""
    admin: Any = await asyncpg.connect(postgres_url)
    run_id = await _run(store)
    assert await _append(store, run_id) is Outcome.ok
    await admin.execute("ALTER ROLE CURRENT_USER SET default_transaction_read_only = on")
    try:
        with pytest.raises(ServerUnable, match="read-only"):
            await connect(postgres_url, namespace)
        with pytest.raises(ServerUnable, match="takes no writes"):
            await check(postgres_url, namespace)
        assert await _append(store, run_id) is Outcome.ok, "the older sessions are as they were"
    finally:
        await admin.execute("SET default_transaction_read_only = off")
        await admin.execute("ALTER ROLE CURRENT_USER RESET default_transaction_read_only")
        await admin.close()
    await (await connect(postgres_url, namespace)).close()


async def test_h222_a_server_that_is_read_only_for_a_while_is_used_again_at_once(
    store: PostgresStore, postgres_url: str
) -> None:
    admin: Any = await asyncpg.connect(postgres_url)
    run_id = await _run(store)
    try:
        await admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await admin.execute("SELECT pg_reload_conf()")
        with pytest.raises(ServerUnable):
            await _append_on(store, run_id)
        with pytest.raises(ServerUnable):
            await store.writable()
    finally:
        await admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await admin.execute("SELECT pg_reload_conf()")
        while await admin.fetchval("SHOW default_transaction_read_only") == "on":  # noqa: ASYNC110 - the server's
            await asyncio.sleep(0)
        await admin.close()
    assert await _append(store, run_id) is Outcome.ok
    await store.writable()


@pytest.fixture
def standby() -> Iterator[tuple[Guarded, str]]:
    """A Postgres with a namespace, in recovery as a standby is whose primary is gone."""
    folder = Path(tempfile.mkdtemp(prefix="fencepost-standby-"))
    folder.chmod(0o711)
    state = folder / "state"
    state.mkdir(mode=0o711)
    server, url = start_postgres(state)
    try:
        asyncio.run(migrate(url, NAMESPACE))
        server.close()
        (signal,) = [path.parent / "standby.signal" for path in state.rglob("postgresql.auto.conf")]
        signal.touch(mode=0o644)
        server, url = start_postgres(state)
        yield server, url
    finally:
        server.close()
        erase(state)
        folder.rmdir()


def test_h222_a_standby_is_not_ready_until_it_is_promoted(standby: tuple[Guarded, str]) -> None:
    """Neither for who connects, nor for a check of the schema; its promotion is seen by the next call."""
    _, url = standby

    async def play() -> None:
        with pytest.raises(ServerUnable, match="a standby"):
            await connect(url, NAMESPACE)
        with pytest.raises(ServerUnable, match="a standby"):
            await check(url, NAMESPACE)
        with pytest.raises(StoreTrouble, match="a standby"):
            await migrate(url, NAMESPACE)
        with pytest.raises(ServerUnable, match="a standby"):
            await inspection.connect(url, NAMESPACE, prepared=True, command_timeout_seconds=30)
        admin: Any = await asyncpg.connect(url)
        assert await admin.fetchval("SELECT pg_promote()")
        await admin.close()
        store = await connect(url, NAMESPACE)
        try:
            assert await _append(store, await _run(store)) is Outcome.ok
        finally:
            await store.close()

    asyncio.run(play())
