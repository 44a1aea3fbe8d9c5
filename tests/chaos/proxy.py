"""A network that can be cut: ``python -m tests.chaos.proxy`` listens on loopback and passes on to unix sockets.

First line on standard input: ``{"route": "target socket", ...}``; it answers with ``{"route": port, ...}``. Then one
order per line, ``{"route": ..., "way": ...}``:

| way | what it does |
|---|---|
| pass | everything goes through; what was stalled goes on |
| stall | nothing moves in either direction, nobody is told; new connections are taken and wait |
| reset | every connection is torn down with RST; new ones pass |
| half | of every connection one direction is closed, the other one stays open; new ones pass |
| hole | every connection stays open for ever and drops what is sent; new ones pass |
| refuse | every connection is torn down, and new ones at once |

A process of its own, so that a busy test does not slow the network down.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import sys
from typing import Any, cast

import msgspec

from fencepost.engine.loops import run_loop

WAYS = ("pass", "stall", "reset", "half", "hole", "refuse")


class Order(msgspec.Struct, frozen=True):
    """One line of standard input."""

    route: str
    way: str


class Route:
    """One server behind one port."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.links: set[Link] = set()
        self.way = "pass"

    def order(self, way: str) -> None:
        """Change the network."""
        if way in ("pass", "stall", "refuse"):
            self.way = way
        for link in list(self.links):
            link.order(way)


class Side(asyncio.Protocol):
    """One of the two connections of a link."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.transport: asyncio.Transport | None = None
        self.other: Side | None = None
        self.waiting: list[bytes] = []
        self._held: list[bytes] = []
        self.ended = False  # nothing more can be written here

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        for data in self.waiting:
            self.transport.write(data)
        self.waiting.clear()
        if self._link.refused:
            self._link.order("reset")

    def data_received(self, data: bytes) -> None:
        """Pass on, unless there is a hole."""
        assert self.other is not None
        if self._link.way == "hole":
            return
        if self._link.way == "stall":
            self._held.append(data)
            assert self.transport is not None
            self.transport.pause_reading()
            return
        if self.other.transport is None:
            self.other.waiting.append(data)
        elif not self.other.transport.is_closing() and not self.other.ended:
            self.other.transport.write(data)

    def resume(self) -> None:
        """The stall is over."""
        held, self._held = self._held, []
        for data in held:
            self.data_received(data)
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def eof_received(self) -> bool:
        """Pass on; our own direction stays open."""
        if self._link.way != "hole" and self.other is not None:
            self.other.end()
        return True

    def end(self) -> None:
        """Close the direction towards here."""
        transport = self.transport
        if transport is not None and transport.can_write_eof() and not transport.is_closing() and not self.ended:
            self.ended = True
            transport.write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side goes too."""
        self._link.close()

    def pause_writing(self) -> None:
        """The reader behind us is slow."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        if self.other is not None and self.other.transport is not None and self._link.way != "stall":
            self.other.transport.resume_reading()


class Link:
    """A client's connection and ours to the server."""

    def __init__(self, route: Route) -> None:
        self.way = route.way
        self.refused = route.way == "refuse"
        self._route = route
        self.client, self.server = Side(self), Side(self)
        self.client.other, self.server.other = self.server, self.client
        route.links.add(self)

    def order(self, way: str) -> None:
        """As the route's."""
        if way in ("reset", "refuse"):
            self._reset()
        elif way == "half":
            random.choice((self.client, self.server)).end()
        elif self.way != "hole":
            self.way = way
            if way == "pass":
                self.client.resume()
                self.server.resume()

    def close(self) -> None:
        """Both ends."""
        self._route.links.discard(self)
        for side in (self.client, self.server):
            if side.transport is not None:
                side.transport.close()

    def _reset(self) -> None:
        transport = self.client.transport
        if transport is not None and not transport.is_closing():
            found: Any = transport.get_extra_info("socket")
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        if self.server.transport is not None:
            self.server.transport.abort()
        self._route.links.discard(self)


async def serve() -> None:
    """Until standard input ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    targets = msgspec.json.decode(await reader.readline(), type=dict[str, str])
    routes = {name: Route(target) for name, target in targets.items()}
    ports: dict[str, int] = {}
    for name, route in routes.items():
        server = await loop.create_server(lambda route=route: _accepted(loop, route), "127.0.0.1", 0)
        ports[name] = server.sockets[0].getsockname()[1]
    sys.stdout.write(msgspec.json.encode(ports).decode() + "\n")
    sys.stdout.flush()
    while line := await reader.readline():
        order = msgspec.json.decode(line, type=Order)
        assert order.way in WAYS, order
        routes[order.route].order(order.way)


def _accepted(loop: asyncio.AbstractEventLoop, route: Route) -> Side:
    link = Link(route)
    loop.create_task(_connect(loop, route, link))
    return link.client


async def _connect(loop: asyncio.AbstractEventLoop, route: Route, link: Link) -> None:
    if link.refused:
        return  # as soon as it is made
    try:
        await loop.create_unix_connection(lambda: link.server, route.target)
    except OSError:  # the server is away: the client sees its connection closed
        link.close()


if __name__ == "__main__":
    run_loop(serve())
