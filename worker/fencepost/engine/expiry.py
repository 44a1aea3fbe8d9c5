"""A supervisor's word to the queue: this worker is dead, end its leases, so that recovery takes no lease time."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from fencepost.config import Config
from fencepost.telemetry import note

if TYPE_CHECKING:
    from fencepost_queue.protocol import Queue

TRY_AGAIN_SECONDS = 0.2
"""First pause after a failure; it doubles, jittered."""


class Expiry:
    """A queue client of the supervisor's own, connected ahead so that a death costs one call."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._queue: Queue | None = None
        self._lock = asyncio.Lock()
        self._preparing: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Prepare, beside whatever else is going on; ``close`` waits for it."""
        self._preparing = asyncio.create_task(self.prepare())

    async def prepare(self) -> None:
        """Connect now. A failure is left to the time of need."""
        from fencepost_queue.protocol import QueueTrouble

        try:
            await self._connected()
        except QueueTrouble as trouble:
            note("expire_failed", owner="", error=str(trouble))

    async def expire(self, owner: str) -> None:
        """End the leases of a process that has died. Tries until they would have run out by themselves."""
        from fencepost_queue.protocol import QueueTrouble

        clock = asyncio.get_running_loop().time
        until, pause = clock() + self._config.lease_seconds, TRY_AGAIN_SECONDS
        while True:
            try:
                ended = await (await self._connected()).expire(owner)
            except QueueTrouble as trouble:
                note("expire_failed", owner=owner, error=str(trouble))
            else:
                note("leases_expired", owner=owner, count=ended)
                return
            if clock() + pause > until:
                return
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause *= 2

    async def close(self) -> None:
        """Give back the connection. Idempotent."""
        if self._preparing is not None:
            await self._preparing
        queue, self._queue = self._queue, None
        if queue is not None:
            await queue.close()

    async def _connected(self) -> Queue:
        async with self._lock:
            if self._queue is None:
                from fencepost.connections import open_queue

                self._queue = await open_queue(self._config)
            return self._queue
