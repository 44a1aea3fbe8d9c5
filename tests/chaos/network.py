"""The harness's side of the proxy process."""

from __future__ import annotations

import asyncio
import signal
import sys
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
from tests.chaos.proxy import Order
from tests.ordeal.fleet import ROOT
from tests.ordeal.ground import Ground

from fencepost.dev.guard import death_signal
from fencepost.dev.postgres import DATABASE, SOCKET_NAME, USER

START_SECONDS = 60.0


class Network:
    """``places`` (workers, producers) each have a way of their own to Postgres and to Valkey."""

    def __init__(self, process: asyncio.subprocess.Process, ports: dict[str, int]) -> None:
        self._process = process
        self._ports = ports

    @classmethod
    async def start(cls, ground: Ground, places: list[str]) -> Network:
        """Start the proxy."""
        postgres = f"{parse_qs(urlsplit(ground.postgres_url).query)['host'][0]}/{SOCKET_NAME}"
        valkey = unquote(urlsplit(ground.redis_url).path)
        targets = {f"{place}/postgres": postgres for place in places} | {f"{place}/valkey": valkey for place in places}
        return await cls.to(targets)

    @classmethod
    async def to(cls, targets: dict[str, str]) -> Network:
        """Start the proxy: unix sockets by route."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.chaos.proxy",
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            preexec_fn=death_signal(signal.SIGKILL),
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(targets) + b"\n")
        line = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
        return cls(process, msgspec.json.decode(line, type=dict[str, int]))

    def port(self, route: str) -> int:
        """Where a route begins, on loopback."""
        return self._ports[route]

    def urls(self, place: str) -> tuple[str, str]:
        """Postgres and Valkey as this place reaches them."""
        postgres = f"postgresql://{USER}@127.0.0.1:{self._ports[f'{place}/postgres']}/{DATABASE}?sslmode=disable"
        return postgres, f"redis://127.0.0.1:{self._ports[f'{place}/valkey']}/0"

    def order(self, place: str, server: str, way: str) -> None:
        """Change the way from a place to a server."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(Order(f"{place}/{server}", way)) + b"\n")

    async def end(self) -> None:
        """End the proxy."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
