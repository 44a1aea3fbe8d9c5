"""What the demo plays on: a temporary folder, embedded servers in it, a client, and two worker processes. Leaving the
stage leaves nothing.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fencepost.client import Client
from fencepost.config import Config
from fencepost.connections import open_queue
from fencepost.dev.demo.owned import owned
from fencepost.dev.demo.screen import Screen
from fencepost.dev.demo.server import Server
from fencepost.dev.demo.team import Team
from fencepost.dev.servers import EmbeddedServers, erase, start
from fencepost_queue.protocol import Queue
from fencepost_store.migrations import migrate

BODIES_AT_ONCE = 8
"""Per worker. Parsing holds the interpreter's lock, so more would only wait for each other."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that the acts use."""

    screen: Screen
    config: Config
    client: Client
    queue: Queue
    server: Server
    team: Team


@asynccontextmanager
async def set_up(screen: Screen, *, keep: bool) -> AsyncGenerator[Stage]:
    """Servers, schema, client, and two workers that consume. ``keep``: the folder stays, for whoever wants to look."""
    with _folder(screen, keep=keep) as folder:
        try:
            async with _servers(screen, folder) as servers, _players(screen, _config(servers), folder) as stage:
                yield stage
        finally:
            if not keep:  # more than deleting the folder: as root, Postgres may have its data elsewhere
                await asyncio.to_thread(erase, folder / "servers")


def _servers(screen: Screen, folder: Path) -> AbstractAsyncContextManager[EmbeddedServers]:
    async def stop(servers: EmbeddedServers) -> None:
        screen.step("stopping the servers")
        await asyncio.to_thread(servers.stop)

    screen.step(f"starting an embedded Postgres and Valkey in {folder}")
    return owned(asyncio.to_thread(start, folder / "servers"), stop)


@asynccontextmanager
async def _players(screen: Screen, config: Config, folder: Path) -> AsyncGenerator[Stage]:
    await migrate(config.database_url, config.namespace)
    async with (
        Client(config) as client,
        owned(open_queue(config), lambda queue: queue.close()) as queue,
        owned(Server.connect(config.database_url), lambda server: server.close()) as server,
        Team(config, folder) as team,
    ):
        screen.step("starting two worker processes")
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(_hire(screen, team))
        try:
            yield Stage(screen, config, client, queue, server, team)
        except Exception:
            team.show_logs(screen)
            raise


async def _hire(screen: Screen, team: Team) -> None:
    member = await team.hire()
    screen.step(f"{member.label} is ready (process {member.pid})")


def _config(servers: EmbeddedServers) -> Config:
    """Nothing is read from files or the environment: the demo never touches servers that are configured for work."""
    return Config(
        database_url=servers.postgres_url,
        redis_url=servers.redis_url,
        namespace="demo",
        concurrency=BODIES_AT_ONCE,
        drain_seconds=10.0,
    )


@contextmanager
def _folder(screen: Screen, *, keep: bool) -> Generator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="fencepost-demo-"))
    folder.chmod(0o711)  # root's Postgres runs as nobody, who has to pass through
    try:
        yield folder
    finally:
        if keep:
            screen.say(f"kept: {folder}")
        else:
            shutil.rmtree(folder)
