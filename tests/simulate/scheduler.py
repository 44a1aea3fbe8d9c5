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
from collections.abc import Callable, Coroutine, Sequence
from typing import Any


class Proc:
    """A process. ``on_count`` is called when ``countdown`` callbacks of it have run (0: never)."""

    def __init__(self, name: str, epoch: float = 0.0, rate: float = 1.0) -> None:
        self.name = name
        self.epoch = epoch
        self.rate = rate
        self.ready: deque[SimHandle | SimTimer] = deque()
        self.alive = True
        self.frozen = False
        self.countdown = 0
        self.on_count: Callable[[], None] | None = None
        self.listed = False

    def __repr__(self) -> str:
        return f"<process {self.name}>"


PROC: contextvars.ContextVar[Proc] = contextvars.ContextVar("simulated_process")


class SimHandle(asyncio.Handle):
    """asyncio's Handle without what only debug mode reads."""

    __slots__ = ()
    _callback: Callable[..., Any]
    _args: Sequence[Any]
    _context: contextvars.Context
    _cancelled: bool

    def __init__(
        self, callback: Callable[..., Any], args: tuple[Any, ...], loop: Any, context: contextvars.Context
    ) -> None:
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = context
        self._cancelled = False
        self._repr = None
        self._source_traceback = None


class SimTimer(asyncio.TimerHandle):
    """asyncio's TimerHandle, likewise."""

    __slots__ = ()
    _callback: Callable[..., Any]
    _args: Sequence[Any]
    _context: contextvars.Context
    _cancelled: bool

    def __init__(
        self, when: float, callback: Callable[..., Any], args: tuple[Any, ...], loop: Any, context: contextvars.Context
    ) -> None:
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = context
        self._cancelled = False
        self._repr = None
        self._source_traceback = None
        self._when = when
        self._scheduled = False

    def cancel(self) -> None:
        self._cancelled = True


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
        self.now = 1_000.0
        self.callbacks = 0
        self.errors: list[dict[str, Any]] = []
        self.tasks: list[SimTask] = []
        self._sticky = sticky
        self._callbacks_max = callbacks_max
        self._active: list[Proc] = []
        self._timers: list[tuple[float, int, SimTimer, Proc]] = []
        self._counter = 0
        self._last: Proc | None = None

    # Driving.

    def run(self, until: Callable[[], bool], deadline: float) -> bool:
        """Run until the condition holds (looked at whenever time moves) or the clock passes ``deadline``. Returns the
        condition.
        """
        outer = events._get_running_loop()
        events._set_running_loop(self)
        try:
            while True:
                self._run_ready()
                if until():
                    return True
                if not self._move_time(deadline):
                    return until()
        finally:
            events._set_running_loop(outer)

    def _run_ready(self) -> None:
        active, draw = self._active, self.random.random
        sticky = self._sticky
        while active:
            proc = self._last
            if proc is None or not proc.listed or draw() >= sticky:
                proc = active[int(draw() * len(active))] if len(active) > 1 else active[0]
                self._last = proc
            handle = proc.ready.popleft()
            if not proc.ready:
                active.remove(proc)
                proc.listed = False
            if handle._cancelled:
                continue
            self.callbacks += 1
            if self.callbacks > self._callbacks_max:
                raise Overrun(f"{self.callbacks} callbacks by {self.now:.3f}")
            try:
                handle._context.run(handle._callback, *handle._args)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001 - as asyncio does with a callback's error
                self.call_exception_handler({"message": "error in a callback", "exception": error})
            if proc.countdown:
                proc.countdown -= 1
                if proc.countdown == 0 and proc.on_count is not None:
                    fire, proc.on_count = proc.on_count, None
                    fire()

    def _move_time(self, deadline: float) -> bool:
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not timers or timers[0][0] > deadline:
            return False
        self.now = max(self.now, timers[0][0])
        while timers and timers[0][0] <= self.now:
            _, _, handle, proc = heapq.heappop(timers)
            if not handle._cancelled:
                self._make_ready(proc, handle)
        return True

    def _make_ready(self, proc: Proc, handle: SimHandle | SimTimer) -> None:
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
    ) -> asyncio.Handle:
        if context is None:
            context = contextvars.copy_context()
        handle = SimHandle(callback, args, self, context)
        self._make_ready(context.get(PROC, self.server), handle)  # type: ignore[arg-type]
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        if context is None:
            context = contextvars.copy_context()
        timer = SimTimer(when, callback, args, self, context)
        self._counter += 1
        proc: Proc = context.get(PROC, self.server)  # type: ignore[arg-type]
        heapq.heappush(self._timers, (when, self._counter, timer, proc))
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

    def get_debug(self) -> bool:
        return False

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
