"""A client's connection to Redis that was dropped while it was idle: what it starts then waits for no deadline."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import unquote, urlsplit

import msgspec
import pytest
from tests.engine.engine_real import place
from tests.relay import Relay

from fencepost.client import Client
from fencepost_queue import pipeline, valkey
from fencepost_queue.protocol import Depth


@asynccontextmanager
async def way_to(valkey_url: str) -> AsyncGenerator[tuple[Relay, str]]:
    """A relay to the test's Valkey, and the URL that leads through it."""
    made = Relay(unquote(urlsplit(valkey_url).path))
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    try:
        yield made, f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()


def waiting(depths: list[Depth]) -> int:
    return sum(depth.ready for depth in depths)


async def test_h187_a_connection_that_was_dropped_in_silence_is_found_by_a_question(
    postgres_url: str, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before a call's time is over, and the tick is there when start() returns."""
    monkeypatch.setattr(pipeline, "SURE_SECONDS", 0.0)
    monkeypatch.setattr(pipeline, "ANSWER_SECONDS", 0.2)
    async with (
        place(postgres_url, valkey_url, connect_timeout_seconds=60.0) as here,
        way_to(valkey_url) as (way, url),
        Client(msgspec.structs.replace(here.config, redis_url=url)) as client,
    ):
        await client.start("flow", 1)
        way.hole()
        async with asyncio.timeout(20):
            await client.start("flow", 2)
        assert waiting(await client._open.queue.depth()) == 2


async def test_h187_a_tick_whose_connection_breaks_is_sent_once_more(postgres_url: str, valkey_url: str) -> None:
    """The server has ended it, as with a restart or its own time limit for idle clients."""
    async with place(postgres_url, valkey_url) as here, Client(here.config) as client:
        await client.start("flow", 1)
        other = await valkey.connect(here.config.redis_url, here.config.namespace)
        assert await other._pipeline.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") >= 1
        await client.start("flow", 2)
        assert waiting(await other.depth()) == 2
        await other.close()
