"""Whether a server is there, as this worker sees it (docs/protocol.md section 6, H188). While one is away the worker
claims nothing: each message would be handed back, claimed again, and logged each time.

A failed call closes the server's gate, and a probe decides: it opens the gate again at once, so that the trouble of one
call stops nobody, or finds the server away and asks again after pauses that grow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fencepost.engine.ports import Ports
from fencepost.telemetry import note
from fencepost_queue.protocol import Queue, QueueTrouble
from fencepost_store.protocol import Store, StoreTrouble
from fencepost_store.trouble import ServerUnable, StoreRefused

PAUSE_SECONDS = 0.1
"""The first pause between two probes; each is twice the one before."""

PAUSE_SECONDS_MAX = 3.0
"""The longest: what a run waits at most after a server has come back, and what its server is asked while it cannot."""

PROBE_SECONDS = 5.0
"""What a probe may take: it stands behind all calls that wait for the same server, each with a time of its own."""

FLAP_SECONDS = 10.0
"""A gate that is closed again within so long after it was opened waits before the first probe: the server answers the
probe and refuses the work (no more connections, a full disk, missing rights, a replica)."""


FLAPS = 3
"""So many in a row are more than connections that an outage has left behind: the server is away, whatever it says."""


class Gate:
    """The gate of one server. ``trouble`` closes it, a task opens it, ``opened`` waits for that."""

    def __init__(self, server: str, ports: Ports, probe: Callable[[], Awaitable[object]]) -> None:
        self.server = server
        self._ports = ports
        self._probe = probe
        self._open = asyncio.Event()
        self._open.set()
        self._task: asyncio.Task[Any] | None = None
        self._handed_back = 0
        self._opened_at = float("-inf")
        self._pause = 0.0
        self._flaps = 0
        self._since = 0.0
        self._said_away = False
        self._refuses = False

    @property
    def is_open(self) -> bool:
        """False from the first failed call on until a probe has succeeded."""
        return self._open.is_set()

    async def opened(self) -> None:
        """Return when the server is there."""
        await self._open.wait()

    def trouble(self, error: BaseException, *, handed_back: int = 0) -> bool:
        """A call has failed, and so many messages are handed back for it. True: the caller logs it; False: the gate is
        closed already, or was opened by a probe whose server goes on refusing the work, so it is known.
        """
        self._handed_back += handed_back
        if not self.is_open:
            return False
        if not self._said_away:
            self._since = self._ports.monotonic()
        of_the_server = not isinstance(error, StoreTrouble) or isinstance(error, (ServerUnable, StoreRefused))
        flaps = of_the_server and self._ports.monotonic() - self._opened_at < FLAP_SECONDS
        self._flaps = self._flaps + 1 if flaps else 0
        if self._flaps >= FLAPS:
            self._refuses = True
            self._say_away(str(error))
        self._pause = _longer(self._pause) if flaps else 0.0
        self._open.clear()
        self.close()  # a task that is about to say that the server is back
        self._task = self._ports.spawn(self._until_it_answers(), f"probe of {self.server}")
        return not self._said_away

    def close(self) -> None:
        """Probe no more. The gate stays as it is."""
        if self._task is not None:
            self._task.cancel()

    async def _until_it_answers(self) -> None:
        while True:
            await self._ports.sleep(self._pause * (1 + self._ports.uniform()) / 2)
            try:
                async with asyncio.timeout(PROBE_SECONDS):
                    await self._probe()
            except (StoreTrouble, QueueTrouble, TimeoutError) as error:
                self._flaps, self._refuses = 0, False
                self._say_away(str(error) or f"{self.server} did not answer within {PROBE_SECONDS:g} s")
                self._pause = _longer(self._pause)
                continue
            break
        self._opened_at = self._ports.monotonic()
        self._open.set()
        if self._refuses:  # its answer to a probe says little: it is back when its answers to work are good for a while
            await self._ports.sleep(FLAP_SECONDS)
        if self._said_away or self._handed_back > 1:  # of one the line of its own has said all
            seconds = round(self._ports.monotonic() - self._since, 1)
            note("server_back", server=self.server, seconds=seconds, handed_back=self._handed_back)
        self._handed_back = 0
        self._said_away = self._refuses = False

    def _say_away(self, error: str) -> None:
        if not self._said_away:
            self._said_away = True
            note("server_away", server=self.server, error=error, handed_back=self._handed_back)


class Gates:
    """Both servers' gates."""

    def __init__(self, ports: Ports, store: Store, queue: Queue) -> None:
        self.store: Gate = Gate("Postgres", ports, store.writable)
        self.queue: Gate = Gate("Redis", ports, queue.writable)

    async def opened(self) -> None:
        """Return when both servers are there."""
        while not (self.store.is_open and self.queue.is_open):
            await self.store.opened()
            await self.queue.opened()

    def close(self) -> None:
        """Probe no more."""
        self.store.close()
        self.queue.close()

    def trouble(self, error: StoreTrouble | QueueTrouble, *, handed_back: int = 0) -> bool:
        """``Gate.trouble`` of the server whose error it is."""
        gate = self.store if isinstance(error, StoreTrouble) else self.queue
        return gate.trouble(error, handed_back=handed_back)


def _longer(pause: float) -> float:
    return min(PAUSE_SECONDS_MAX, max(PAUSE_SECONDS, 2 * pause))
