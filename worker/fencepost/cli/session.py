"""What the root's options say, and what every command needs of it: configuration, servers, logs, a client."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from fencepost.client import Client
    from fencepost.config import Config
    from fencepost_queue.valkey import ValkeyQueue
    from fencepost_store.protocol import Store

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class NoServers(Exception):
    """No servers are configured and none run in this folder."""


@dataclass(frozen=True, slots=True)
class Session:
    """The root's options. ``overrides``: settings by name, None where the option was not given."""

    config_file: Path | None
    overrides: dict[str, str | None]
    log_format: str
    log_level: str | None

    def config(self, **more: Any) -> Config:
        """The configuration with the command's own settings on top. Raises ConfigError."""
        from fencepost.config import load_config

        config = load_config(self.config_file, os.environ, **self.overrides, **more)
        _check_names(config)
        return config

    def servers(self, **more: Any) -> Config:
        """As ``config``, with both servers known. Raises ConfigError, NoServers."""
        return _with_servers(self.config(**more))

    def log(self, level: str = "warning") -> None:
        """Send logs to standard error, from the level that was asked for, else ``level``."""
        from fencepost.engine.logs import Format, configure_logs

        configure_logs(cast("Format", self.log_format), self.log_level or level)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a command's coroutine, with logs in place."""
        import asyncio

        from fencepost import payload_codecs
        from fencepost.payload_keys import codecs_of

        self.log()
        # For what the command shows as well; put back when it ends, for a test may run several in one process.
        try:
            codecs = codecs_of(self.config())
        except BaseException:
            coroutine.close()
            raise
        click.get_current_context().find_root().with_resource(payload_codecs.using(codecs))
        return asyncio.run(coroutine)

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[Client]:
        """A client on both servers."""
        from fencepost.client import Client

        async with Client(self.servers()) as client:
            yield client

    @asynccontextmanager
    async def store(self) -> AsyncGenerator[tuple[Store, Config]]:
        """Postgres alone, for commands that only read: they work while Redis is away."""
        from fencepost.connections import open_store

        config = self.config()
        if not config.database_url:
            config = _with_servers(config)
        store = await open_store(config)
        try:
            yield store, config
        finally:
            await store.close()

    @asynccontextmanager
    async def queue(self) -> AsyncGenerator[tuple[ValkeyQueue, Config]]:
        """Redis alone. The configuration may lack Postgres."""
        from fencepost.connections import open_queue

        config = self.config()
        if not config.redis_url:
            config = _with_servers(config)
        queue = await open_queue(config)
        try:
            yield queue, config
        finally:
            await queue.close()


def _check_names(config: Config) -> None:
    """What Postgres and the drivers demand beyond the configuration's own bounds, said before anything is opened."""
    from fencepost.config import ConfigError
    from fencepost.payload_keys import codecs_of
    from fencepost_store.statements import valid_namespace

    try:
        valid_namespace(config.namespace)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    codecs_of(config)


def _with_servers(config: Config) -> Config:
    from fencepost.config import ConfigError
    from fencepost.connections import with_servers

    try:
        return with_servers(config)
    except ConfigError as error:
        raise NoServers(str(error)) from error


def json_option(function: F) -> F:
    """``--json``: the command gets ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="JSON on standard output, as docs/cli.md describes.")(
        function
    )
