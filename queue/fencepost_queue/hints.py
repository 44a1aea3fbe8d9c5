"""Pub/sub for people who wait: one connection per client, shared by all its subscriptions. A hint may be lost; whoever
waits looks for themselves after a bounded time, and at once when told (None) that the connection was lost.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque

from fencepost_queue.connection import FAILURES, Connection, Dialer, Reply, send, trouble
from fencepost_queue.protocol import QueueTrouble

BACKOFF_SECONDS_MAX = 2.0
"""Longest pause between attempts to listen again; hints are backed by a poll of about this order anyway."""

HEARD_MAX = 1024
"""Hints kept for a listener that does not ask; beyond it the oldest go, for each only says: look."""


class Listener:
    """One subscription to one channel; see ``Subscription``."""

    def __init__(self, hints: Hints, channel: str) -> None:
        self._hints = hints
        self._channel = channel
        self._heard: deque[bytes | None] = deque(maxlen=HEARD_MAX)
        self._waiting: asyncio.Future[None] | None = None

    def hear(self, message: bytes | None) -> None:
        """Called by the reader; None says that hints may have been lost."""
        self._heard.append(message)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def __aenter__(self) -> Listener:
        await self._hints.join(self._channel, self)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._hints.leave(self._channel, self)

    async def next(self, timeout_seconds: float) -> bytes | None:
        if not self._heard:
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await asyncio.wait({self._waiting}, timeout=timeout_seconds)
            finally:
                self._waiting = None
        return self._heard.popleft() if self._heard else None


class Hints:
    """The shared listening connection of one client."""

    def __init__(self, dialer: Dialer, timeout_seconds: float) -> None:
        self._dialer = dialer
        self._timeout_seconds = timeout_seconds
        self._listeners: dict[str, list[Listener]] = {}
        self._confirmed: dict[str, asyncio.Future[None]] = {}
        self._connection: Connection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._dialing = asyncio.Lock()

    async def join(self, channel: str, listener: Listener) -> None:
        """Returns once the server has confirmed: what is published from now on is heard. QueueTrouble otherwise."""
        self._listeners.setdefault(channel, []).append(listener)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._ensure()
                confirmed = self._confirmed.get(channel)
                if confirmed is None:
                    confirmed = self._confirmed[channel] = asyncio.get_running_loop().create_future()
                    await self._send("SUBSCRIBE", channel)
                # A wait, not an await: cancelling one joiner must not cancel what the others wait for.
                await asyncio.wait({confirmed})
                confirmed.result()
        except (QueueTrouble, *FAILURES) as error:
            self._forget(channel, listener)
            raise trouble(error) from error
        except asyncio.CancelledError:
            self._forget(channel, listener)
            raise

    async def leave(self, channel: str, listener: Listener) -> None:
        """Stop listening; never raises for the server's sake."""
        self._forget(channel, listener)
        if channel in self._listeners or channel not in self._confirmed:
            return
        del self._confirmed[channel]
        if self._connection is not None:
            try:
                await self._send("UNSUBSCRIBE", channel)
            except FAILURES:
                await self._drop()  # The reader notices, and subscribes anew to what is still wanted.

    async def renew(self) -> None:
        """The server has another role now, and hints are published elsewhere: the reader listens anew."""
        await self._drop()

    async def close(self) -> None:
        """Idempotent."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait({reader})
        await self._drop()

    def _forget(self, channel: str, listener: Listener) -> None:
        mine = self._listeners.get(channel, [])
        if listener in mine:
            mine.remove(listener)
        if not mine:
            self._listeners.pop(channel, None)

    async def _ensure(self) -> None:
        async with self._dialing:
            if self._connection is None:
                self._connection = await self._dialer.dial()
            if self._reader is None or self._reader.done():
                self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        failures = 0
        while True:
            connection = self._connection
            try:
                if connection is None:
                    connection = await self._resubscribe()
                self._take(await connection.read_response())
                failures = 0
            except (QueueTrouble, *FAILURES) as error:
                await self._drop()
                self._lost(trouble(error))
                if not self._listeners:
                    return
                failures += 1
                pause = min(BACKOFF_SECONDS_MAX, 0.05 * 2 ** min(failures, 10))
                await asyncio.sleep(pause * random.random())  # Full jitter: a restarted server meets no herd (H86).

    async def _resubscribe(self) -> Connection:
        async with self._dialing:
            if self._connection is None:
                self._connection = await self._dialer.dial()
            loop = asyncio.get_running_loop()
            for channel in self._listeners:
                self._confirmed.setdefault(channel, loop.create_future())
            if self._listeners:
                await self._send("SUBSCRIBE", *self._listeners)
            return self._connection

    def _take(self, reply: Reply) -> None:
        kind, channel = reply[0], reply[1].decode()
        if kind == b"message":
            for listener in list(self._listeners.get(channel, ())):
                listener.hear(reply[2])
        elif kind == b"subscribe":
            confirmed = self._confirmed.get(channel)
            if confirmed is not None and not confirmed.done():
                confirmed.set_result(None)

    def _lost(self, error: QueueTrouble) -> None:
        for confirmed in self._confirmed.values():
            if not confirmed.done():
                confirmed.set_exception(error)
                confirmed.exception()  # Retrieved here, for there may be no joiner left to do it.
        self._confirmed.clear()
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.hear(None)

    async def _send(self, *command: str) -> None:
        assert self._connection is not None
        await send(self._connection, [command])

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
