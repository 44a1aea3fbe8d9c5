"""The engine over the reference models of store and queue: several workers in one event loop, no server, no thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from fencepost.authoring.registry import Registry
from fencepost.authoring.workflow import Workflow
from fencepost.client.client import Client, Connected
from fencepost.client.run import Run
from fencepost.config import Config
from fencepost.engine.claims import Claims
from fencepost.engine.ports import no_fault, real_ports
from fencepost.engine.reconciler import Reconciler
from fencepost.engine.worker import build_shell, limits_of
from fencepost.log import RunLog
from fencepost_queue.memory import MemoryServer
from fencepost_queue.protocol import Delivery
from fencepost_store.memory import MemoryStore
from fencepost_store.protocol import Batch, Store, Verdict


async def no_suspects(delivery: Delivery) -> None:
    """These tests crash nothing."""
    raise AssertionError(f"{delivery.key} became a suspect")


class World:
    """One store, one queue server, and the workers over them. ``store`` may be wrapped before workers start."""

    def __init__(self, **settings: Any) -> None:
        self.config = Config(**settings)
        self.registry = Registry()
        self.memory = MemoryStore()
        self.store: Store = self.memory
        self.server = MemoryServer(lambda: int(asyncio.get_running_loop().time() * 1000))
        self.clients = 0

    @asynccontextmanager
    async def worker(self, name: str, fault: Callable[[str], None] = no_fault) -> AsyncGenerator[Claims]:
        """A worker that claims until the block is left; what it still holds then is left to its lease, as in a crash."""
        shell, coalescer = build_shell(
            self.config, self.registry, self.store, self.server.client(name), real_ports(fault)
        )
        shell.clock.read(await self.store.now())
        reconciler = Reconciler(shell)
        claims = Claims(shell, no_suspects, reconciler.full)
        shell.start_granted = claims.start_granted
        loops: list[Coroutine[Any, Any, None]] = [claims.loop(queue) for queue in self.config.queues]
        tasks = [asyncio.create_task(loop) for loop in [*loops, reconciler.loop()]]
        try:
            yield claims
        finally:
            for task in [*tasks, *claims.handlers]:
                task.cancel()
            await asyncio.gather(*tasks, *claims.handlers, return_exceptions=True)
            shell.runs.drop_all()
            await coalescer.close()

    def client(self) -> Client:
        """An open client."""
        self.clients += 1

        async def append(batch: Batch) -> Verdict:
            return (await self.store.append([batch]))[0]

        client = Client(self.config)
        log = RunLog(self.store, append, limits_of(self.config))
        queue = self.server.client(f"client{self.clients}")
        connected = Connected(self.store, queue, log, self.config)
        client._connected = connected  # pyright: ignore[reportPrivateUsage] - instead of __aenter__, which dials servers
        return client

    async def run(self, workflow: Workflow[..., Any], *args: Any) -> Run[Any]:
        """Start a run."""
        return await self.client().start(workflow, *args)
