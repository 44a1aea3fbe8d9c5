"""Heartbeats of one attempt on their way from its body, in whatever thread, to the store: the newest details, at most
one write per period, none of them in the log.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

from fencepost.engine.patience import Patience
from fencepost.engine.ports import Ports
from fencepost.telemetry import note
from fencepost_store.protocol import StoreTrouble

Write = Callable[[bytes], Awaitable[bool]]


class Pulse:
    """``__call__`` is the body's end and thread-safe; the rest is called in the loop. ``write`` answers False for an
    attempt that is not the step's any more (H125): then ``on_zombie`` is called, and nothing more is written.
    """

    def __init__(
        self, ports: Ports, patience: Patience, write: Write, on_zombie: Callable[[], None], period_seconds: float
    ) -> None:
        self.written: bool = False
        self._ports = ports
        self._patience = patience
        self._write = write
        self._on_zombie = on_zombie
        self._period = period_seconds
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._newest: bytes | None = None
        self._posted = False
        self._over = False
        self._failing = False
        self._one: asyncio.Lock | None = None  # made when something is to be written: most bodies send no heartbeat
        self._writer: asyncio.Task[None] | None = None

    def __call__(self, details: bytes | None) -> None:
        with self._lock:
            if details is not None:
                self._newest = details
            if self._posted or self._over or self._loop.is_closed():
                return
            self._posted = True
        self._loop.call_soon_threadsafe(self._heard)

    def _writing(self) -> asyncio.Lock:
        if self._one is None:
            self._one = asyncio.Lock()
        return self._one

    async def flush(self) -> None:
        """The attempt has ended without the step's end: the next one is to have the newest details. A write that is
        under way lands first: cut off, it might be carried out behind this one and put older details in the place of
        the newest.
        """
        async with self._writing():
            await self._stop()
            await self._write_newest()

    async def close(self) -> None:
        """Write nothing more. Idempotent."""
        self._over = True
        await self._stop()

    async def _stop(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    def _heard(self) -> None:
        with self._lock:
            self._posted = False
            waiting = self._newest is not None
        if self._over:
            return
        self._patience.heard()
        if waiting and self._writer is None:
            self._writer = self._ports.spawn(self._write_on(), "heartbeats")

    async def _write_on(self) -> None:
        """Until there is nothing new after a period."""
        while self._newest is not None:
            async with self._writing():
                await self._write_newest()
            await self._ports.sleep(self._period)
        self._writer = None

    async def _write_newest(self) -> None:
        with self._lock:
            details, self._newest = self._newest, None
        if details is None:
            return
        self.written = True
        try:
            kept = await self._write(details)
        except StoreTrouble as trouble:
            if not self._failing:
                note("heartbeat_failed", error=str(trouble))
            self._failing = True
            with self._lock:
                self._newest = self._newest or details
            return
        self._failing = False
        if not kept:
            self._on_zombie()
