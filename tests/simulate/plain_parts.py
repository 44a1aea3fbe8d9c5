"""What the uninterrupted execution (``plain.py``) is made of: its loop, its hooks, its calls of children."""

from __future__ import annotations

import asyncio
from asyncio import events
from collections import deque
from typing import Any

from tests.simulate.scheduler import SimHandle, SimLoop

from fencepost import errors
from fencepost_store.events import Event


class Illegal(Exception):
    """The log holds what this execution would not have asked for."""


class Loop(SimLoop):
    """Timers fire when the log says so."""

    def __init__(self) -> None:
        super().__init__(0, sticky=1.0)
        self.timers: list[SimHandle] = []
        self._left = False

    def _arm(self, timer: SimHandle) -> SimHandle:
        timer.armed_at = self.now
        if timer.at <= self.now:
            self._make_ready(self.server, timer)
        else:
            self.timers.append(timer)
        return timer

    def fire(self, timer: SimHandle) -> None:
        """Its time has come."""
        self.timers.remove(timer)
        self._make_ready(self.server, timer)

    def rest(self) -> None:
        """Run until nothing is ready. What the first task, the workflow, leaves over at its end is cancelled."""
        outer = events._get_running_loop()
        events._set_running_loop(self)
        try:
            self._run_ready()
            if self.tasks and self.tasks[0].done() and not self._left:
                self._left = True
                for task in self.tasks:
                    task.cancel()
                self._run_ready()
        finally:
            events._set_running_loop(outer)


class Hook:
    """A hook as the code holds it. ``conflict``: who has its token instead."""

    def __init__(self, loop: Loop, token: str) -> None:
        self.token = token
        self.closed = False
        self.landed = False
        self.conflict: str | None = None
        self._loop = loop
        self.disposed_at: int | None = None
        self._buffer: deque[tuple[int, Any]] = deque()
        self._waiters: deque[asyncio.Future[Any]] = deque()

    async def next(self) -> Any:
        if self.conflict is not None:
            raise errors.HookConflict(self.token, self.conflict)
        future: asyncio.Future[tuple[int, Any]] = self._loop.create_future()
        self._waiters.append(future)
        self.pump()
        try:
            return (await future)[1]
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._buffer.appendleft(future.result())
                self.pump()
            raise

    def close(self) -> None:
        self.closed = True

    def receive(self, seq: int, value: Any) -> None:
        self._buffer.append((seq, value))
        self.pump()

    @property
    def untaken(self) -> tuple[int, ...]:
        """The seqs of payloads that nobody has taken."""
        return tuple(seq for seq, _ in self._buffer)

    def leave(self, seq: int, value: Any) -> None:
        """A payload that comes too late for the code."""
        self._buffer.append((seq, value))

    def waited_for(self) -> bool:
        """Whether a payload would be taken at once."""
        return any(not waiter.done() for waiter in self._waiters)

    def refuse(self, owner: str) -> None:
        self.conflict = owner
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(errors.HookConflict(self.token, owner))

    def pump(self) -> None:
        """Payloads to those who wait."""
        while self._waiters and (self._waiters[0].done() or self._buffer):
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(self._buffer.popleft())


class Call(asyncio.Future[Event]):
    """A child that is awaited. Once it is in the log, who is cancelled waits for its end."""

    landed = False
    gave_up = False

    def cancel(self, msg: Any | None = None) -> bool:
        if not self.landed or self.done():
            return super().cancel(msg)
        self.gave_up = True
        return True
