"""The thread beside the loop: renews leases and watches for code that blocks it. User code cannot hold it up but by
holding the GIL.

It has an event loop and a queue connection of its own. The logic it hosts is ``leases.LeaseKeeper``; a simulator hosts
that itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable

from fencepost.authoring.context import StepContext
from fencepost.engine.leases import Held, LeaseKeeper
from fencepost.engine.ports import Ports
from fencepost.engine.turn_watch import WATCH_SECONDS, Fail, TurnWatch, Write, end_with_process
from fencepost.replay.budget import TurnGuard
from fencepost.service import report_alive
from fencepost.telemetry import note
from fencepost_queue.protocol import Queue, QueueTrouble, step_key


class KeeperThread:
    """``start`` in the worker's loop, ``stop`` from it. ``connect``: makes the thread's own client (same owner).
    ``fail``: see TurnWatch. ``write``: brings a fact into the log.
    """

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
        fail: Fail,
        write: Write,
        health_file: str = "",
    ) -> None:
        self._ports = ports
        self._keeper = keeper
        self._connect = connect
        self._renewal = renewal_seconds
        self._turns = TurnWatch(ports.monotonic, guard, replay_budget_seconds, fail)
        self._write = write
        self._blocked = blocked_seconds
        self._told_after = told_seconds
        self._health_file = health_file
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._main: asyncio.AbstractEventLoop | None = None
        self._main_thread = 0
        self._pong = 0.0
        self._told = False
        self._untouched = ""
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
                    self._keeper.renewal_failed(trouble)
                if self._healthy:
                    self._touch()
                await self._pause(self._renewal)
        finally:
            watch.cancel()
            if queue is not None:
                with contextlib.suppress(QueueTrouble):
                    await queue.close()

    def _touch(self) -> None:
        """The health file. Why it cannot be touched is logged once."""
        why = report_alive(self._health_file, self._ports.lost.lines())
        if why and why != self._untouched:
            note("health_file_failed", path=self._health_file, error=why)
        self._untouched = why

    async def _pause(self, seconds: float) -> None:
        until = self._ports.monotonic() + seconds
        # The flag is a threading.Event, set from the worker's loop; an asyncio.Event cannot be.
        while not self._stop.is_set() and self._ports.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(min(WATCH_SECONDS, seconds))

    async def _watch(self) -> None:
        while True:
            self._ping()
            await asyncio.sleep(WATCH_SECONDS)
            await self._turns.look()
            now = self._ports.monotonic()
            blocked = now - self._pong
            self._healthy = blocked < self._blocked
            if not self._healthy and (held := self._body_beyond()) is not None:
                await end_with_process(held, self._write, self._stack())
            if blocked < self._told_after:
                self._told = False
            elif not self._told:
                self._told = True
                note("loop_blocked", seconds=round(blocked, 1), stack=self._stack())

    def _body_beyond(self) -> Held | None:
        """The lease of the body that blocks the loop, if its time is over."""
        owner = getattr(asyncio.current_task(self._main), "owner", None)
        if not isinstance(owner, StepContext):  # the engine's own task, or one of startup code
            return None
        return self._keeper.beyond(step_key(owner.run_id, owner.step_id))

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
