"""One run with 100,000 events on real servers, in one worker: it works, and a warm turn at its end costs what one at
its beginning did. Counted: function calls, events loaded, calls of the store, and the pages that Postgres touches.

In full (``make long``, some minutes) only where FENCEPOST_LONG is set; else in small, so that it is run at all.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from fencepost import Client, hook, step, workflow
from fencepost.authoring.registry import Registry
from fencepost.config import Config
from fencepost.engine.worker import Worker
from fencepost_store.migrations import migrate
from fencepost_store.postgres import PAGE_BYTES, PAGE_EVENTS
from fencepost_store.statements import Statements

FULL = bool(os.environ.get("FENCEPOST_LONG"))
EVENTS = 99_900 if FULL else 3_000
GROWTH_MAX = 1.2
BATCH = 900
SECONDS = 1_800 if FULL else 110


def flows(registry: Registry) -> Any:
    """As many steps as a signal says, one after the other and 100 at once in turn; 0 is answered; -1 ends it."""

    @step(registry=registry)
    async def nothing(n: int) -> int:
        return n

    @workflow(registry=registry)
    async def grows() -> int:
        done = 0
        async with hook(int, token="t", respond=30) as numbers:
            async for number in numbers:
                if number < 0:
                    break
                for at in range(0, number, 200):
                    for n in range(at, min(at + 100, number)):
                        await nothing(n)
                    await asyncio.gather(*(nothing(n) for n in range(at + 100, min(at + 200, number))))
                done += number
                if number == 0:
                    numbers.respond(done)
        return done

    return grows


class Watched:
    """What a worker does in this process while somebody looks."""

    def __init__(self, worker: Worker) -> None:
        self.calls = self.loaded = self.served = 0
        store = worker.shell.store
        for name in ("load", "append", "touch", "load_entity"):
            setattr(store, name, self._through(getattr(store, name)))

    def _through(self, call: Callable[..., Any]) -> Callable[..., Any]:
        async def through(*args: Any, **kwargs: Any) -> Any:
            self.served += 1
            answer = await call(*args, **kwargs)
            self.loaded += len(getattr(answer, "events", ()))
            return answer

        return through

    async def turn(self, client: Client) -> tuple[int, int, int]:
        """Function calls of the engine, events loaded, calls of the store, for one signal and its answer."""
        await asyncio.sleep(1)
        self.calls = self.loaded = self.served = 0
        sys.setprofile(self._count)
        await client.ask("t", 0)
        sys.setprofile(None)
        return self.calls, self.loaded, self.served

    def _count(self, frame: Any, what: str, argument: object) -> None:
        name: str = frame.f_code.co_filename
        if what == "call" and ("/fencepost/replay/" in name or "/fencepost/engine/" in name):
            self.calls += 1


async def pages(admin: asyncpg.Connection, namespace: str, run_id: str) -> int:
    """Pages that a load of the newest two events touches."""
    last: Any = await admin.fetchval(f"SELECT last_seq FROM {namespace}.runs WHERE run_id = $1", run_id)
    seen = last - 2
    stamp: Any = await admin.fetchval(
        f"SELECT stamp FROM {namespace}.events WHERE run_id = $1 AND seq = $2", run_id, seen
    )
    statement = Statements(namespace)["load"].partition("\n")[2]
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
    found: Any = await admin.fetchval(explain, run_id, seen, PAGE_EVENTS, PAGE_BYTES, stamp)
    plan = json.loads(found)[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


@pytest.mark.timeout(SECONDS)
async def test_a_turn_costs_the_same_at_the_end_of_a_long_log(
    postgres_url: str, valkey_url: str, namespace: str
) -> None:
    registry = Registry()
    grows = flows(registry)
    config = Config(database_url=postgres_url, redis_url=valkey_url, namespace=namespace, env="test")
    await migrate(postgres_url, namespace)
    admin = await asyncpg.connect(postgres_url)
    try:
        async with Worker(config, registry) as worker, Client(config) as client:
            run = await client.start(grows)
            while (await run.status()).events < 3:  # noqa: ASYNC110 - what is waited for is in Postgres
                await asyncio.sleep(0.05)
            await client.resume("t", 30)
            watched = Watched(worker)
            await watched.turn(client)
            costs = [(*await watched.turn(client), await pages(admin, namespace, run.id))]
            while (left := EVENTS - (await run.status()).events) > 20:
                await client.resume("t", min(BATCH, left // 3))
                while (await client.ask("t", 0)).status is None:  # the batch takes longer than an answer may
                    continue
            costs.append((*await watched.turn(client), await pages(admin, namespace, run.id)))
            events = (await run.status()).events
            await client.resume("t", -1)
            assert await run.result(60) >= events // 4
        print(f"{events} events: calls, events loaded, statements, pages: {costs[0]} at first, {costs[1]} at last")
        assert EVENTS - 30 < events < 100_000
        (calls, loaded, served, touched), (then, loaded_then, served_then, touched_then) = costs
        assert (loaded_then, served_then) == (loaded, served)
        assert 0 < then <= GROWTH_MAX * calls
        assert touched_then <= touched + 4, "the trees of the indexes are one or two levels higher"
    finally:
        await admin.close()
