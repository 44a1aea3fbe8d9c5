"""HTTP inside a worker: ``fencepost worker --http HOST:PORT``. The worker's own loop serves it, and drains it first.

``POST /hooks/TOKEN`` is ``webhooks``. Needs ``pip install 'fencepost[web]'``.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fencepost.client import Client
from fencepost.config import Config, ConfigError
from fencepost.telemetry import note

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

PORT_MAX = 65_535
BACKLOG = 2048
HOOKS_PATH = "/hooks"


class AddressRefused(Exception):
    """The worker cannot listen where it is told to. Names the address, why, and the way out."""


def address_of(text: str) -> tuple[str, int]:
    """``HOST:PORT``, ``[::1]:PORT`` or ``:PORT`` (all addresses). Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port[:6]) > PORT_MAX:
        raise ConfigError(f"http = {text!r}: must be HOST:PORT with a port up to {PORT_MAX}, such as 127.0.0.1:8080")
    return host.strip("[]") or "0.0.0.0", int(port)


def check(config: Config) -> None:
    """Raise ConfigError for an address, a secret or an installation that cannot serve. Opens nothing."""
    if not config.http:
        return
    address_of(config.http)
    try:
        import starlette
        import uvicorn
    except ImportError as error:
        raise ConfigError(f"http = {config.http!r} needs {error.name}: pip install 'fencepost[web]'") from error
    del starlette, uvicorn
    from fencepost.web.signatures import key_of

    try:
        for secret in secrets_of(config):
            key_of(secret)
    except ValueError as error:
        raise ConfigError(f"webhook_secrets: {error}") from None


def secrets_of(config: Config) -> list[str]:
    """The configured secrets."""
    return [part.strip() for part in config.webhook_secrets.split(",") if part.strip()]


@asynccontextmanager
async def serving(config: Config) -> AsyncGenerator[None]:
    """Serve as configured, or nothing, until the block is left: then no connection is accepted any more, requests under
    way get ``drain_seconds``. Raises ConfigError, AddressRefused."""
    check(config)
    if not config.http:
        yield
        return
    bound = bind(config.http, shared=config.processes > 1)
    async with Client(config) as client:
        server = _server(_app(config, client), config.drain_seconds)
        task = asyncio.create_task(server.serve([bound]), name="http")
        try:
            await _begun(server, task)
            note("http_started", address="{}:{}".format(*bound.getsockname()[:2]))
            yield
        finally:
            server.should_exit = True
            await task
            note("http_stopped")


def bind(text: str, *, shared: bool) -> socket.socket:
    """The listening socket. ``shared``: the processes of one worker take turns at a port. Raises AddressRefused."""
    host, port = address_of(text)
    bound: socket.socket | None = None
    try:
        family, kind, number, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, number)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(place)
        bound.listen(BACKLOG)  # now, so that a port that another one listens on is refused here and not later
        bound.setblocking(False)
    except OSError as error:
        if bound is not None:
            bound.close()
        way_out = "name an address of this machine"
        if error.errno == errno.EADDRINUSE:
            way_out = "another process has the port: end it, or choose another port with --http"
        elif error.errno == errno.EACCES:
            way_out = "ports below 1024 need a privilege: choose a higher one"
        raise AddressRefused(f"cannot listen on http = {text!r}: {error.strerror}; {way_out}") from error
    return bound


def _app(config: Config, client: Client) -> Starlette:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    from fencepost.web.webhooks import webhooks

    return Starlette(routes=[Mount(HOOKS_PATH, webhooks(client, secrets=secrets_of(config)))])


def _server(app: Starlette, drain_seconds: float) -> uvicorn.Server:
    import uvicorn

    class Quiet(uvicorn.Server):
        """Leaves signals to the worker, whose end is this server's end."""

        @contextlib.contextmanager
        def capture_signals(self) -> Generator[None]:
            yield

    options = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=max(1, int(drain_seconds)),
    )
    return Quiet(options)


async def _begun(server: uvicorn.Server, task: asyncio.Task[None]) -> None:
    while not server.started:
        if task.done():
            task.result()
            raise AddressRefused("the HTTP server ended before it had begun")
        await asyncio.sleep(0.01)
