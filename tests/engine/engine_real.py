"""One worker in the test's own process, on real servers: for what the reference models cannot show, which is SQL."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from fencepost.authoring.registry import Registry
from fencepost.client.client import Client
from fencepost.config import Config
from fencepost.engine.ports import no_fault, real_ports
from fencepost.engine.worker import Worker
from fencepost_store import migrations


class Place:
    """A namespace with a table of the user's: ``notes (n, who)``, and what a test asks of both."""

    def __init__(self, config: Config, client: Client, admin: Any) -> None:
        self.config = config
        self.client = client
        self.admin = admin
        self.registry = Registry()
        self.table = f"notes_{config.namespace}"
        self.fault: Callable[[str], None] = no_fault

    @asynccontextmanager
    async def worker(self) -> AsyncGenerator[Worker]:
        """A worker until the block is left."""
        async with Worker(self.config, self.registry, ports=real_ports(self._fault)) as worker:
            yield worker

    def _fault(self, point: str) -> None:
        self.fault(point)

    async def notes(self) -> list[int]:
        """The numbers in the user's table."""
        return [row["n"] for row in await self.admin.fetch(f"SELECT n FROM {self.table} ORDER BY n")]


@asynccontextmanager
async def place(postgres_url: str, valkey_url: str, **settings: Any) -> AsyncGenerator[Place]:
    """A fresh one."""
    namespace = f"r_{uuid.uuid4().hex[:16]}"
    await migrations.migrate(postgres_url, namespace)
    settings = {"lease_seconds": 3.0, "renewal_seconds": 0.5, "drain_seconds": 0.0} | settings
    config = Config(database_url=postgres_url, redis_url=valkey_url, namespace=namespace, env="test", **settings)
    admin: Any = await asyncpg.connect(postgres_url)
    try:
        await admin.execute(f"CREATE TABLE notes_{namespace} (n integer, who text)")
        async with Client(config) as client:
            yield Place(config, client, admin)
    finally:
        await admin.close()
