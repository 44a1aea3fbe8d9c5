"""A seeded scheduler: several processes on one event loop with a virtual clock.

Within a process callbacks run in the order in which they became ready, as asyncio promises; which process goes next is
drawn from the seed, so every await is a point at which any other process may come between. A process can be killed
(nothing of it runs again) or frozen (what becomes ready waits) between any two of its callbacks: no code of it notices,
as with SIGKILL and SIGSTOP.

A callback belongs to the process whose context it runs in. Time moves only when nothing is ready, to the next timer.
"""

# A loop is made of its handles' private parts, as asyncio's own loops are.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import contextvars
import heapq
import random
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

START = 1_000.0
"""What a virtual clock begins with, seconds."""

IDLE_CALLBACKS = 100
"""What the workers of a world that has nothing to do may come to in a virtual second."""

LOOK_SECONDS = 0.1
"""Virtual seconds between two looks at whether all is over."""


class Proc:
    """A process. ``on_count`` is called when ``countdown`` callbacks of it have run (0: never)."""

    def __init__(self, name: str, epoch: float = 0.0, rate: float = 1.0) -> None:
        self.name = name
        self.epoch = epoch
        self.rate = rate
        self.ready: deque[SimHandle] = deque()
        self.alive = True
        self.frozen = False
        self.countdown = 0
        self.on_count: Callable[[], None] | None = None
        self.listed = False

    def __repr__(self) -> str:
        return f"<process {self.name}>"


PROC: contextvars.ContextVar[Proc] = contextvars.ContextVar("simulated_process")


class SimHandle(msgspec.Struct, eq=False):
    """What asyncio asks of a handle, and of a timer's, which is due at ``at`` and was set at
    ``armed_at``. A struct: one is made per callback."""

    callback: Callable[..., Any]
    args: tuple[Any, ...]
    context: contextvars.Context
    at: float = 0.0
    dropped: bool = False
    armed_at: float = 0.0

    def cancel(self) -> None:
        """As asyncio.Handle."""
        self.dropped = True

    def cancelled(self) -> bool:
        """As asyncio.Handle."""
        return self.dropped

    def when(self) -> float:
        """As asyncio.TimerHandle."""
        return self.at


class SimTask(asyncio.Task[Any]):
    """A task whose place in a set does not depend on its address in memory."""

    _number = 0

    def __hash__(self) -> int:
        return self._number


class Overrun(Exception):
    """More callbacks than any schedule needs: something spins."""


class SimLoop(asyncio.AbstractEventLoop):
    """See the module. ``sticky``: how likely the process that went last goes on, if it can."""

    def __init__(self, seed: int, *, sticky: float = 0.5, callbacks_max: int = 400_000) -> None:
        self.random = random.Random(seed)
        self.server = Proc("servers")
        self.now = START
        self.callbacks = 0
        self.errors: list[dict[str, Any]] = []
        self.tasks: list[SimTask] = []
        self._sticky = sticky
        self._callbacks_max = callbacks_max
        self._active: list[Proc] = []
        self._timers: list[tuple[float, int, SimHandle, Proc]] = []
        self._counter = 0
        self._last: Proc | None = None

    # Driving.

    def run(self, until: Callable[[], bool], deadline: float) -> bool:
        """Run until the condition holds (looked at when time moves, a tenth of a second apart) or the clock passes
        ``deadline``. Returns the condition.
        """
        outer = events._get_running_loop()
        events._set_running_loop(self)
        look_at = self.now
        try:
            while True:
                self._run_ready()
                if self.now >= look_at:
                    look_at = self.now + LOOK_SECONDS
                    if until():
                        return True
                if not self._move_time(deadline):
                    return until()
        finally:
            events._set_running_loop(outer)

    def _run_ready(self) -> None:
        active, draw = self._active, self.random.random
        sticky, proc = self._sticky, self._last
        before = left = self._callbacks_max + int(IDLE_CALLBACKS * (self.now - START)) - self.callbacks
        try:
            while active:
                if proc is None or not proc.listed or draw() >= sticky:
                    proc = active[int(draw() * len(active))] if len(active) > 1 else active[0]
                handle = proc.ready.popleft()
                if not proc.ready:
                    active.remove(proc)
                    proc.listed = False
                if handle.dropped:
                    continue
                left -= 1
                if left < 0:
                    raise Overrun(f"{self.callbacks + before - left} callbacks by {self.now:.3f}")
                try:
                    handle.context.run(handle.callback, *handle.args)
                except KeyboardInterrupt as error:
                    if not error.args:  # Ctrl-C, and no generated body's
                        raise
                    self.call_exception_handler({"message": "user code would end the worker", "exception": error})
                except BaseException as error:  # noqa: BLE001 - as asyncio does with a callback's error
                    self.call_exception_handler({"message": "error in a callback", "exception": error})
                if proc.countdown:
                    proc.countdown -= 1
                    if proc.countdown == 0 and proc.on_count is not None:
                        fire, proc.on_count = proc.on_count, None
                        fire()
        finally:
            self._last = proc
            self.callbacks += before - left

    def _move_time(self, deadline: float) -> bool:
        timers, pop = self._timers, heapq.heappop
        while timers and timers[0][2].dropped:
            pop(timers)
        if not timers or timers[0][0] > deadline:
            return False
        now = self.now = max(self.now, timers[0][0])
        while timers and timers[0][0] <= now:
            _, _, handle, proc = pop(timers)
            if not handle.dropped:
                self._make_ready(proc, handle)
        return True

    def _make_ready(self, proc: Proc, handle: SimHandle) -> None:
        if not proc.alive:
            return
        proc.ready.append(handle)
        if not proc.listed and not proc.frozen:
            proc.listed = True
            self._active.append(proc)

    # Processes.

    def kill(self, proc: Proc) -> None:
        """Nothing of it runs from here on."""
        proc.alive = False
        proc.ready.clear()
        self._unlist(proc)

    def freeze(self, proc: Proc) -> None:
        """It stands still."""
        proc.frozen = True
        self._unlist(proc)

    def thaw(self, proc: Proc) -> None:
        """It goes on as if nothing had been."""
        proc.frozen = False
        if proc.alive and proc.ready and not proc.listed:
            proc.listed = True
            self._active.append(proc)

    def _unlist(self, proc: Proc) -> None:
        if proc.listed:
            proc.listed = False
            self._active.remove(proc)

    def start(self, proc: Proc, coroutine: Coroutine[Any, Any, Any], name: str = "") -> SimTask:
        """A task of a process, from outside of it."""
        context = contextvars.Context()
        context.run(PROC.set, proc)
        return self.create_task(coroutine, name=name, context=context)

    def close_all(self) -> None:
        """End what is left over, without a word and without effect."""
        outer = events._get_running_loop()
        self._active.clear()
        for task in self.tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                _close(task.get_coro())
        self.tasks.clear()
        self._timers.clear()
        events._set_running_loop(outer)

    # asyncio.AbstractEventLoop, as far as the engine has it.

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> SimHandle:
        if context is None:
            context = contextvars.copy_context()
        handle = SimHandle(callback, args, context)
        proc: Proc = context.get(PROC, self.server)  # type: ignore[arg-type]
        if proc.alive:  # as _make_ready, which is one call more
            proc.ready.append(handle)
            if not proc.listed and not proc.frozen:
                proc.listed = True
                self._active.append(proc)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> SimHandle:
        if context is None:
            context = contextvars.copy_context()
        return self._arm(SimHandle(callback, args, context, self.now + delay))

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> SimHandle:
        if context is None:
            context = contextvars.copy_context()
        return self._arm(SimHandle(callback, args, context, when))

    def _arm(self, timer: SimHandle) -> SimHandle:
        self._counter = counter = self._counter + 1
        proc: Proc = timer.context.get(PROC, self.server)  # type: ignore[arg-type]
        heapq.heappush(self._timers, (timer.at, counter, timer, proc))
        return timer

    def time(self) -> float:
        return self.now

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Any, *, name: str | None = None, context: contextvars.Context | None = None
    ) -> SimTask:
        SimTask._number += 1  # read through the class by the hash that Task.__init__ asks for
        task = SimTask.__new__(SimTask)
        task._number = SimTask._number
        task.__init__(coro, loop=self, name=name or "task", context=context)  # type: ignore[misc]
        self.tasks.append(task)
        if len(self.tasks) > 2_000:
            self.tasks = [one for one in self.tasks if not one.done()]
        return task

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    get_debug = bool  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    """False; futures and tasks ask for it one by one, and this answers without a frame."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context)

    async def shutdown_asyncgens(self) -> None:
        """There is nothing to do."""


def _close(coroutine: Any) -> None:
    for _ in range(20):
        try:
            coroutine.close()
        except (RuntimeError, ValueError):  # it awaited something while it was closed
            continue
        except BaseException:  # noqa: BLE001 - a process that is gone has nothing to say
            return
        return
