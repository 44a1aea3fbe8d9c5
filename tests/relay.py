"""A way to a server that can lose what is sent over it and tell nobody, or be refused for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

from fencepost.dev.postgres import DATABASE, SOCKET_NAME, USER


class Relay:
    """Passes on to a server's socket. ``hole``: what is sent over the connections that there are now is dropped from
    now on, and they stay open; new ones pass. ``refuse``: those are cut, and new ones refused until ``listen``.
    ``lead_to``: new ones go to another server. ``target``: a socket's path, or a port of this machine. ``delay``:
    seconds that what is sent is under way, each way.
    """

    delay = 0.0

    def __init__(self, target: str | int) -> None:
        self._target = target
        self._links: list[asyncio.Event] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    def hole(self) -> None:
        for link in self._links:
            link.set()

    def lead_to(self, target: str | int) -> None:
        """As an address that follows the primary."""
        self._target = target

    async def listen(self) -> None:
        """Take connections, on the same port each time."""
        self._server = await asyncio.start_server(self.serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """As a server that has ended."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        if isinstance(self._target, int):
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target)
        else:
            server_reader, server_writer = await asyncio.open_unix_connection(self._target)
        dropped = asyncio.Event()
        self._links.append(dropped)
        self._writers |= {writer, server_writer}
        ways = ((reader, server_writer), (server_reader, writer))
        try:
            await asyncio.gather(*(self._pass(source, sink, dropped) for source, sink in ways))
        finally:
            server_writer.close()
            writer.close()
            self._writers -= {writer, server_writer}

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, dropped: asyncio.Event) -> None:
        try:
            while data := await source.read(65536):
                if self.delay:
                    await asyncio.sleep(self.delay)
                if not dropped.is_set():
                    sink.write(data)
        except ConnectionError:
            return  # the other way is told by its end
        finally:
            sink.close()


@asynccontextmanager
async def relay(postgres_url: str) -> AsyncGenerator[tuple[Relay, str]]:
    """A relay, and the URL that leads through it."""
    made = Relay(f"{parse_qs(urlsplit(postgres_url).query)['host'][0]}/{SOCKET_NAME}")
    await made.listen()
    try:
        yield made, f"postgresql://{USER}@127.0.0.1:{made.port}/{DATABASE}?sslmode=disable"
    finally:
        made.refuse()


@asynccontextmanager
async def redis_relay(valkey_url: str) -> AsyncGenerator[tuple[Relay, str]]:
    """The same before Valkey."""
    made = Relay(urlsplit(valkey_url).path)
    await made.listen()
    try:
        yield made, f"redis://127.0.0.1:{made.port}/0"
    finally:
        made.refuse()
