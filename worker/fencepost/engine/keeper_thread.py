"""The thread beside the loop: renews leases and watches for code that blocks it. User code cannot hold it up but by
holding the GIL.

It has an event loop and a queue connection of its own. The logic it hosts is ``leases.LeaseKeeper``; a simulator hosts
that itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable

from fencepost.engine.leases import LeaseKeeper
from fencepost.engine.ports import Ports
from fencepost.replay.budget import TurnGuard
from fencepost.service import report_alive
from fencepost.telemetry import note
from fencepost_queue.protocol import Queue, QueueTrouble

INTERRUPTS_MAX = 8
"""How often a spinning turn is interrupted before the process ends itself; WATCH_SECONDS apart."""

EXIT_SPINNING = 70
"""Exit code of a process that ended itself because workflow code could not be stopped (EX_SOFTWARE)."""

WATCH_SECONDS = 0.25
"""How often turns and the loop are looked at; a fraction of any sensible replay budget."""


class KeeperThread:
    """``start`` in the worker's loop, ``stop`` from it. ``connect``: makes the thread's own client (same owner)."""

    def __init__(
        self,
        ports: Ports,
        keeper: LeaseKeeper,
        guard: TurnGuard,
        connect: Callable[[], Awaitable[Queue]],
        *,
        renewal_seconds: float,
        replay_budget_seconds: float,
        blocked_seconds: float,
        told_seconds: float,
        health_file: str = "",
    ) -> None:
        self._ports = ports
        self._keeper = keeper
        self._guard = guard
        self._connect = connect
        self._renewal = renewal_seconds
        self._budget = replay_budget_seconds
        self._blocked = blocked_seconds
        self._told_after = told_seconds
        self._health_file = health_file
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._main: asyncio.AbstractEventLoop | None = None
        self._main_thread = 0
        self._pong = 0.0
        self._told = False
        self._healthy = True

    def start(self) -> None:
        """Begin to renew and to watch the calling thread's loop."""
        self._main = asyncio.get_running_loop()
        self._main_thread = threading.get_ident()
        self._pong = self._ports.monotonic()
        self._thread = threading.Thread(target=self._run, name="fencepost-keeper", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End the thread; leases that are still held are no longer renewed."""
        self._stop.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        watch = asyncio.create_task(self._watch())
        queue: Queue | None = None
        try:
            while not self._stop.is_set():
                try:
                    queue = queue or await self._connect()
                    await self._keeper.renew(queue)
                except QueueTrouble as trouble:
                    note("lease_renewal_failed", error=str(trouble), held=len(self._keeper))
                if self._healthy and not report_alive(self._health_file, self._ports.lost.lines()):
                    note("health_file_failed", path=self._health_file)
                await self._pause(self._renewal)
        finally:
            watch.cancel()
            if queue is not None:
                with contextlib.suppress(QueueTrouble):
                    await queue.close()

    async def _pause(self, seconds: float) -> None:
        until = self._ports.monotonic() + seconds
        # The flag is a threading.Event, set from the worker's loop; an asyncio.Event cannot be.
        while not self._stop.is_set() and self._ports.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(min(WATCH_SECONDS, seconds))

    async def _watch(self) -> None:
        while True:
            self._ping()
            await asyncio.sleep(WATCH_SECONDS)
            now = self._ports.monotonic()
            overdue = self._guard.overdue(now, self._budget)
            if overdue is not None:
                note("replay_budget", run=overdue.run_id, seconds=round(overdue.seconds, 1), stack=overdue.stack)
                if overdue.interrupts >= INTERRUPTS_MAX:
                    # The code swallows what is raised in it: this process cannot be saved. Its leases run out, and
                    # the message that did it becomes a suspect.
                    os._exit(EXIT_SPINNING)
                self._guard.interrupt()
            blocked = now - self._pong
            self._healthy = blocked < self._blocked
            if blocked < self._told_after:
                self._told = False
            elif not self._told:
                self._told = True
                note("loop_blocked", seconds=round(blocked, 1), stack=self._stack())

    def _ping(self) -> None:
        assert self._main is not None
        if not self._main.is_closed():
            self._main.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._pong = self._ports.monotonic()

    def _stack(self) -> str:
        frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage] - there is no public name
        frame = frames.get(self._main_thread)
        return "".join(traceback.format_stack(frame)[-8:]) if frame is not None else ""
