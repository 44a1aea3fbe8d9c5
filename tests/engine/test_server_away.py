"""H188: while a server is away a worker claims nothing and logs its state, not each message; then all runs end."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from engine_real import Place, place
from msgspec.structs import replace
from redis.asyncio import Redis
from tests.log_lines import captured
from tests.relay import redis_relay, relay

from fencepost import step, workflow
from fencepost.engine.worker import Worker
from fencepost_store.statements import Statements

RUNS = 150
PROBES = 4
"""Failed ones, after which the server comes back: some seconds."""
LINES_MAX = 8
"""Warnings of an outage that finds a worker with a full set of messages in hand: each loop's first, and the state's."""
WARNED = ("warning", "error")


class Outage:
    """How the worker reaches its servers (``settings`` of its own), and how one of them goes away and comes back."""

    def __init__(
        self, settings: dict[str, str], leave: Callable[[], Awaitable[None]], back: Callable[[], Awaitable[None]]
    ) -> None:
        self.settings = settings
        self.leave = leave
        self.back = back


@asynccontextmanager
async def refusing_postgres(at: Place) -> AsyncGenerator[Outage]:
    """It has ended: connections are refused."""
    async with relay(at.config.database_url) as (wire, url):

        async def leave() -> None:
            wire.refuse()

        yield Outage({"database_url": url}, leave, wire.listen)


@asynccontextmanager
async def refusing_redis(at: Place) -> AsyncGenerator[Outage]:
    """The same."""
    async with redis_relay(at.config.redis_url) as (wire, url):

        async def leave() -> None:
            wire.refuse()

        yield Outage({"redis_url": url}, leave, wire.listen)


def altered_role(leave: str, back: str) -> Callable[[Place], Any]:
    """Postgres is there, and does nothing for the worker's role."""

    @asynccontextmanager
    async def outage(at: Place) -> AsyncGenerator[Outage]:
        role, schema = f"away_{uuid.uuid4().hex[:8]}", Statements(at.config.namespace).schema
        await at.admin.execute(f"CREATE ROLE {role} LOGIN")
        rights = f"GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {role}"
        await at.admin.execute(rights)

        async def alter(how: str) -> None:
            await at.admin.execute(f"ALTER ROLE {role} {how}")
            await at.admin.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", role)

        async with relay(at.config.database_url) as (_, url):
            user = url.partition("://")[2].partition("@")[0]
            try:
                yield Outage(
                    {"database_url": url.replace(f"//{user}@", f"//{role}@")}, lambda: alter(leave), lambda: alter(back)
                )
            finally:
                await alter("NOLOGIN")
                await at.admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

    return outage


def altered_redis(leave: tuple[str, ...], back: tuple[str, ...]) -> Callable[[Place], Any]:
    """Redis answers, and takes no writes: the replica that a fail-over has left behind, a full memory."""

    @asynccontextmanager
    async def outage(at: Place) -> AsyncGenerator[Outage]:
        redis = Redis.from_url(at.config.redis_url)

        async def leaves() -> None:
            await redis.execute_command(*leave)

        async def comes_back() -> None:
            await redis.execute_command(*back)

        try:
            yield Outage({}, leaves, comes_back)
        finally:
            await comes_back()
            await redis.aclose()

    return outage


OUTAGES: dict[str, tuple[str, Callable[[Place], Any]]] = {
    "refused": ("Postgres", refusing_postgres),
    "read-only": (
        "Postgres",
        altered_role("SET default_transaction_read_only = on", "SET default_transaction_read_only = off"),
    ),
    "no connections left": ("Postgres", altered_role("CONNECTION LIMIT 0", "CONNECTION LIMIT -1")),
    "no login": ("Postgres", altered_role("NOLOGIN", "LOGIN")),
    "redis refused": ("Redis", refusing_redis),
    "redis a replica": ("Redis", altered_redis(("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"))),
    "redis full": (
        "Redis",
        altered_redis(("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
    ),
}


def counted(worker: Worker, server: str) -> tuple[list[int], asyncio.Event]:
    """How many claims the worker makes, and when enough probes of the server have failed."""
    claims, enough, failed = [0], asyncio.Event(), [0]
    queue: Any = worker.shell.queue
    gate: Any = worker.shell.gates.store if server == "Postgres" else worker.shell.gates.queue
    claim, probe = queue.claim, gate._probe

    async def counted_claim(*args: Any, **kwargs: Any) -> Any:
        claims[0] += 1
        return await claim(*args, **kwargs)

    async def counted_probe() -> None:
        try:
            await probe()
        except BaseException:
            failed[0] += 1
            if failed[0] == PROBES:
                enough.set()
            raise

    queue.claim, gate._probe = counted_claim, counted_probe
    return claims, enough


async def line(lines: list[dict[str, Any]], event: str) -> dict[str, Any]:
    """The first of that name, as soon as there is one."""
    while True:
        if found := [each for each in lines if each["event"] == event]:
            return found[0]
        await asyncio.sleep(0.01)  # lines come from no source that could be waited on


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", OUTAGES)
async def test_h188_nothing_is_claimed_while_a_server_is_away(postgres_url: str, valkey_url: str, kind: str) -> None:
    """150 runs wait, the worker has some of them in hand when its server goes, and more are started meanwhile."""
    server, outage = OUTAGES[kind]
    async with place(postgres_url, valkey_url) as at, outage(at) as away:

        @step(registry=at.registry)
        async def one(n: int) -> int:
            return n

        @workflow(registry=at.registry, name="counts")
        async def counts(n: int) -> int:
            return await one(n) + await one(1)

        with captured() as lines:
            async with Worker(replace(at.config, **away.settings), at.registry) as worker:
                claims, enough = counted(worker, server)
                await (await at.client.start(counts, 0)).result(60)
                runs = [await at.client.start(counts, n) for n in range(RUNS // 10)]
                await away.leave()
                runs += [await at.client.start(counts, n) for n in range(RUNS // 10, RUNS)]
                assert (await asyncio.wait_for(line(lines, "server_away"), 30))["server"] == server
                at_first = claims[0]
                await asyncio.wait_for(enough.wait(), 60)
                assert claims[0] - at_first <= 1, "claimed although the server was away"
                await away.back()
                results = await asyncio.gather(*(run.result(60) for run in runs))
                back = await asyncio.wait_for(line(lines, "server_back"), 30)
            warned = [each for each in lines if each["log_level"] in WARNED]
        assert results == [n + 1 for n in range(RUNS)]
        assert back["server"] == server
        assert back["seconds"] > 0.3
        assert [each["event"] for each in warned].count("server_away") == 1
        assert len(warned) <= LINES_MAX, warned
