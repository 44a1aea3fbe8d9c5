"""Threads for ``def`` bodies. Each body has one at once, so no body waits for one that another holds: a body whose time
is over keeps its thread, which is then lost and replaced, up to a bound.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from fencepost.authoring.context import current_or_none
from fencepost.engine.body_task import Raised, Value, contained
from fencepost.engine.lost_bodies import LostBodies
from fencepost.engine.shortage import NotBegun, is_shortage, told

LOST_MAX = 128
"""Threads that bodies may keep beyond their time before no further ``def`` body is begun here. Each is a stack and
whatever the body holds; so many are a fault of the code or of what it waits for, which more threads do not mend.
"""

NAMED_MAX = 3
"""How many of those that hold a thread a log line names: the oldest."""


class _Job:
    """A call for a thread. ``state``: waiting, begun, dropped or over; moved under the pool's lock."""

    __slots__ = ("call", "future", "loop", "lost", "state")

    def __init__(self, call: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.call = call
        self.loop = loop
        self.future: asyncio.Future[Value | Raised] = loop.create_future()
        self.state = "waiting"
        self.lost = False


class BodyThreads:
    """``idle_max``: threads kept for later. The threads are daemons: a body that never returns does not keep the
    process from its end.
    """

    def __init__(self, lost: LostBodies, *, idle_max: int = 64, lost_max: int = LOST_MAX) -> None:
        self._lost = lost
        self._idle_max = idle_max
        self.lost_max = lost_max
        self._lock = threading.Lock()
        self._idle: list[SimpleQueue[_Job | None]] = []
        self._count = 0

    def shortage(self) -> str:
        """Why no ``def`` body can begin here now; empty if it can."""
        if self._lost.threads < self.lost_max:
            return ""
        held = "; ".join(self._lost.lines()[:NAMED_MAX])
        return f"lost_threads_max = {self.lost_max} threads are held by bodies whose time is over: {held}"

    async def run(self, call: Callable[[], Any]) -> Any:
        """The call's result, or its error; from a thread. Raises NotBegun. Cancelling it leaves the call to itself."""
        if shortage := self.shortage():
            raise NotBegun(shortage)
        job = _Job(call, asyncio.get_running_loop())
        seat = self._idle.pop() if self._idle else self._started()
        seat.put(job)
        try:
            ended = await job.future
        except asyncio.CancelledError:
            self._abandon(job)
            raise
        if isinstance(ended, Raised):
            raise ended.error
        return ended.value

    def close(self) -> None:
        """Let idle threads end."""
        while self._idle:
            self._idle.pop().put(None)

    def _started(self) -> SimpleQueue[_Job | None]:
        seat: SimpleQueue[_Job | None] = SimpleQueue()
        self._count += 1
        thread = threading.Thread(target=self._serve, args=(seat,), name=f"fencepost-step-{self._count}", daemon=True)
        try:
            thread.start()
        except BaseException as error:
            if is_shortage(error):
                raise NotBegun(told(error)) from error
            raise
        return seat

    def _abandon(self, job: _Job) -> None:
        context = current_or_none()
        with self._lock:
            if job.state == "waiting":
                job.state = "dropped"
            if job.state != "begun" or context is None:
                return
            job.lost = True
        self._lost.leave(job, context, "thread")

    def _serve(self, seat: SimpleQueue[_Job | None]) -> None:
        while (job := seat.get()) is not None:
            with self._lock:
                dropped = job.state == "dropped"
                if not dropped:
                    job.state = "begun"
            ended = Value(None) if dropped else contained(job.call)
            with self._lock:
                job.state = "over"
            try:
                job.loop.call_soon_threadsafe(self._over, seat, job, ended)
            except RuntimeError:  # the loop is closed: nobody is left to hear of it
                return
            del job, ended  # or an idle thread would keep the last body's values alive

    def _over(self, seat: SimpleQueue[_Job | None], job: _Job, ended: Value | Raised) -> None:
        """In the loop."""
        if job.lost:
            self._lost.found(job)
        if not job.future.done():
            job.future.set_result(ended)
        if len(self._idle) < self._idle_max:
            self._idle.append(seat)
        else:
            seat.put(None)
