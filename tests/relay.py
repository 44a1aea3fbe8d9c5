"""A way to Postgres that can lose what is sent over it, and tell nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

from fencepost.dev.postgres import DATABASE, SOCKET_NAME, USER


class Relay:
    """Passes on to Postgres. ``hole``: what is sent over the connections that there are now is dropped from now on, and
    they stay open; new ones pass.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._links: list[asyncio.Event] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def hole(self) -> None:
        for link in self._links:
            link.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        server_reader, server_writer = await asyncio.open_unix_connection(self._target)
        dropped = asyncio.Event()
        self._links.append(dropped)
        ways = ((reader, server_writer), (server_reader, writer))
        try:
            await asyncio.gather(*(self._pass(source, sink, dropped) for source, sink in ways))
        finally:
            server_writer.close()
            writer.close()

    @staticmethod
    async def _pass(source: asyncio.StreamReader, sink: asyncio.StreamWriter, dropped: asyncio.Event) -> None:
        try:
            while data := await source.read(65536):
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
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        yield made, f"postgresql://{USER}@127.0.0.1:{port}/{DATABASE}?sslmode=disable"
    finally:
        server.close()
