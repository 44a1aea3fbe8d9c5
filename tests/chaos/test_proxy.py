"""The proxy does to connections what chaos says that it does."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.chaos.network import Network

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]
SOON = 5.0
NOT_SOON = 0.3
"""How long is waited for what must not come."""


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    """One way, to a server that echoes."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "s")
        server = await asyncio.start_unix_server(echo, path)
        made = await Network.to({"p/postgres": path})
        try:
            yield made
        finally:
            await made.end()
            server.close()


async def _connected(network: Network) -> Pair:
    pair = await asyncio.open_connection("127.0.0.1", network.port("p/postgres"))
    await _echoed(pair, b"hello")
    return pair


async def _echoed(pair: Pair, data: bytes) -> None:
    pair[1].write(data)
    assert await asyncio.wait_for(pair[0].readexactly(len(data)), SOON) == data


async def _silent(pair: Pair) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pair[0].read(1), NOT_SOON)


async def test_a_stall_holds_up_and_loses_nothing(network: Network) -> None:
    """Old and new connections; what was sent meanwhile arrives when it is over."""
    old = await _connected(network)
    network.order("p", "postgres", "stall")
    await asyncio.sleep(NOT_SOON)  # until the proxy has heard; it does not answer
    new = await asyncio.open_connection("127.0.0.1", network.port("p/postgres"))
    for pair in (old, new):
        pair[1].write(b"later")
        await _silent(pair)
    network.order("p", "postgres", "pass")
    for pair in (old, new):
        assert await asyncio.wait_for(pair[0].readexactly(5), SOON) == b"later"


async def test_a_reset_is_one(network: Network) -> None:
    """The connection is gone with RST, and a new one passes."""
    old = await _connected(network)
    network.order("p", "postgres", "reset")
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(old[0].read(1), SOON)
    await _connected(network)


async def test_a_half_closed_connection_ends(network: Network) -> None:
    """Whichever direction was closed, the other side answers to it by its end; a new one passes."""
    old = await _connected(network)
    network.order("p", "postgres", "half")
    assert await asyncio.wait_for(old[0].read(1), SOON) == b""
    await _connected(network)


async def test_a_hole_swallows(network: Network) -> None:
    """The connection stays, and nothing comes any more; a new one passes."""
    old = await _connected(network)
    network.order("p", "postgres", "hole")
    await asyncio.sleep(NOT_SOON)
    old[1].write(b"gone")
    await _silent(old)
    await _connected(network)


async def test_a_refusal_lasts(network: Network) -> None:
    """Old and new connections are torn down until it is over."""
    old = await _connected(network)
    network.order("p", "postgres", "refuse")
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(old[0].read(1), SOON)

    async def anew() -> None:
        reader, _ = await asyncio.open_connection("127.0.0.1", network.port("p/postgres"))
        await asyncio.wait_for(reader.read(1), SOON)

    with pytest.raises(ConnectionResetError):  # on a slow machine the connect itself hears of it
        await anew()
    network.order("p", "postgres", "pass")
    await asyncio.sleep(NOT_SOON)
    await _connected(network)
