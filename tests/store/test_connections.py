"""Connections that were idle, over a network that has dropped them meanwhile."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from tests.relay import relay

from fencepost_store import connections, sessions
from fencepost_store.connections import Connections

LONG = 600.0
"""A call's time that no test waits for."""


async def test_h130_a_connection_that_was_dropped_while_it_was_idle_is_found_by_a_question(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One question for all that have been idle for as long: the next call would wait for its whole time otherwise, and
    the one after it, on the next connection, again.
    """
    monkeypatch.setattr(connections, "SURE_SECONDS", 0.0)
    monkeypatch.setattr(sessions, "ANSWER_SECONDS", 0.2)
    asked: list[bool] = []
    answers = connections.is_fit

    async def counted(connection: connections.Connection) -> bool:
        asked.append(await answers(connection))
        return asked[-1]

    monkeypatch.setattr(connections, "is_fit", counted)
    async with relay(postgres_url) as (network, url):
        pool = Connections(url, 3, prepared=True, command_timeout_seconds=LONG)
        async with AsyncExitStack() as stack:
            old = {await stack.enter_async_context(pool.use()) for _ in range(3)}
        network.hole()
        async with asyncio.timeout(20), pool.use() as held:
            assert held not in old
            assert [row[0] for row in await held.fetch("SELECT 7")] == [7]
        assert asked == [False]
        assert all(one.connection.is_closed() for one in old)
        async with pool.use() as again:
            assert again is held, "it answers"
        assert asked == [False, True]
        await pool.close()


async def test_a_connection_that_was_just_used_is_taken_as_it_is(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question costs a round trip."""

    async def never(connection: connections.Connection) -> bool:
        raise AssertionError("asked")

    monkeypatch.setattr(connections, "is_fit", never)
    pool = Connections(postgres_url, 1, prepared=True, command_timeout_seconds=LONG)
    for n in range(3):
        assert [row[0] for row in await pool.fetch(f"SELECT {n}")] == [n]
    await pool.close()


async def test_a_good_bye_that_nobody_hears_is_said_to_all_at_once(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drain over a network that has lost its server waits for one of them, not for one after the other."""
    monkeypatch.setattr(connections, "CLOSE_SECONDS", 0.2)
    closing = most = 0
    closed = connections._closed

    async def counted(connection: connections.Connection) -> None:
        nonlocal closing, most
        closing += 1
        most = max(most, closing)
        await closed(connection)
        closing -= 1

    monkeypatch.setattr(connections, "_closed", counted)
    async with relay(postgres_url) as (network, url):
        pool = Connections(url, 3, prepared=True, command_timeout_seconds=LONG)
        async with AsyncExitStack() as stack:
            old = [await stack.enter_async_context(pool.use()) for _ in range(3)]
        network.hole()
        async with asyncio.timeout(20):
            await pool.close()
        assert most == 3
        assert all(one.connection.is_closed() for one in old)
