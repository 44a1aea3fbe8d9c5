"""The blocking pop on a lane's bells, on a connection of its own.

A waiter that is cancelled does not take its pop down with it: the pop goes on and the next ``wait`` on the same bells
adopts it, so that a ring is never lost inside a live process and nothing reconnects. A pop that nobody will adopt is
called back, and a ring that it took meanwhile is rung again for others. Only a process that dies with a ring in hand
takes it along; then the bounded block of the other idle workers is what finds the work (H55)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from redis.exceptions import ResponseError

from fencepost_queue.connection import FAILURES, Connection, Dialer, Reply, exchange, is_of_role, trouble
from fencepost_queue.pipeline import Pipeline
from fencepost_queue.protocol import QueueTrouble

LATE_SECONDS = 0.001
"""By how much the server's time for the pop, which began later than ours and counts whole milliseconds, may be behind.
"""

ANSWER_SECONDS = 0.005
"""What a pop whose time is over may take to say so. If it does not, it is left to the next wait."""


class Bell:
    """One process's ear. One ``wait`` at a time."""

    def __init__(self, dialer: Dialer, pipeline: Pipeline, timeout_seconds: float) -> None:
        self._dialer = dialer
        self._pipeline = pipeline
        self._timeout_seconds = timeout_seconds
        self._connection: Connection | None = None
        self._client_id = 0
        self._sent = False
        self._in_use = False
        self._bells: tuple[str, ...] = ()
        self._pop: asyncio.Task[str | None] | None = None

    async def wait(self, bells: Sequence[str], timeout_ms: int) -> bool:
        """True if one rang within the time. Cancellation leaves the pop to the next call."""
        assert not self._in_use, "one wait at a time on the same queues: a second would take the first one's rings"
        self._in_use = True
        try:
            return await self._wait(tuple(bells), timeout_ms)
        finally:
            self._in_use = False

    async def recall(self) -> None:
        """End the pop, if there is one; ring again what it took and nobody heard."""
        pop = self._pop
        if pop is None:
            return
        # Where the server is gone or forbids it, cancelling drops the connection, and that ends the pop as well.
        with suppress(QueueTrouble, TimeoutError):
            async with asyncio.timeout(self._timeout_seconds):
                if self._sent and not pop.done():
                    await self._pipeline.call("CLIENT", "UNBLOCK", self._client_id)
                    await asyncio.wait({pop})
        self._pop = None
        pop.cancel()
        await asyncio.wait({pop})
        rung = None if pop.cancelled() or pop.exception() is not None else pop.result()
        if rung is not None:
            await self._pipeline.call("RPUSH", rung, 1)

    async def close(self) -> None:
        """Idempotent. Call before the pipeline is closed."""
        # A ring that cannot be given back is made good by the bounded block of the idle workers.
        with suppress(QueueTrouble):
            await self.recall()
        await self._drop()

    def _start(self, bells: tuple[str, ...], timeout_ms: int) -> None:
        self._bells = bells
        self._sent = False
        self._pop = asyncio.create_task(self._block(bells, timeout_ms))

    async def _wait(self, bells: tuple[str, ...], timeout_ms: int) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_ms / 1000
        if self._pop is not None and bells != self._bells:
            await self.recall()
        if self._pop is not None:
            heard = await self._outcome(timeout_ms / 1000)
            if heard is not None:
                return heard
        rest_ms = int((deadline - loop.time()) * 1000)
        if rest_ms <= 0:
            return False
        self._start(bells, rest_ms)
        heard = await self._outcome(rest_ms / 1000 + LATE_SECONDS)
        if heard is False:
            # A server without traffic looks at its timers some ten times a second, which would make every short sleep
            # late by up to that. A command, whichever, makes it look.
            await self._pipeline.call("PING")
            heard = await self._outcome(ANSWER_SECONDS)
        return bool(heard)

    async def _outcome(self, seconds: float | None) -> bool | None:
        """True: it rang. False: the pop still blocks after that time. None: the pop ran out, by the server's timer."""
        pop = self._pop
        assert pop is not None
        await asyncio.wait({pop}, timeout=seconds)
        if not pop.done():
            return False
        self._pop = None
        return True if pop.result() is not None else None

    async def _block(self, bells: tuple[str, ...], timeout_ms: int) -> str | None:
        try:
            if self._connection is None:
                self._connection = await self._dialer.dial()
                self._client_id = (await exchange(self._connection, [("CLIENT", "ID")]))[0]
            self._sent = True
            async with asyncio.timeout(timeout_ms / 1000 + self._timeout_seconds):
                reply: Reply = (await exchange(self._connection, [("BLPOP", *bells, f"{timeout_ms / 1000:.3f}")]))[0]
        except asyncio.CancelledError:
            await self._drop()
            raise
        except (QueueTrouble, *FAILURES) as error:
            await self._drop()
            raise trouble(error) from error
        if isinstance(reply, ResponseError):
            if is_of_role(reply):
                await self._drop()
            raise trouble(reply)
        return None if reply is None else reply[0].decode()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
