# A loop is made of its handles' private parts, as asyncio's own loops are.
# pyright: reportPrivateUsage=false
"""A deterministic asyncio event loop: no selector, no threads, its clock is workflow time.

Its rules: callbacks run in the order they were scheduled; nothing but a delivered event starts one; whatever could
bring in something that the log does not hold is refused (``refusals.py``). It is entered once per turn, because
swapping the running loop and the hooks of async generators is dear and thread-wide.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVarTuple

from fencepost.replay.asyncgens import AsyncGenerators, CollectorPause
from fencepost.replay.budget import TurnGuard, seated
from fencepost.replay.handlers import Handler
from fencepost.replay.identity import PATH
from fencepost.replay.limits import ReplayBudgetExceeded, ReplayLimit, WorkflowRestriction
from fencepost.replay.refusals import Refusals
from fencepost.replay.tasks import (
    DEFAULT_NAME,
    HashSeries,
    WorkflowFuture,
    WorkflowTask,
    cancels_as_ours,
    context_of,
)
from fencepost.replay.timers import DUE_MAX, LoopTime, WorkflowTimer, due_after, due_at

if TYPE_CHECKING:
    from fencepost.replay.asking import AskingFace

PROGRESS_EVENTS = 64
"""How many events the replay budget is for: a long log is replayed by progress, not by the clock of a busy machine."""

PARK_CHECK_AFTER = 256
"""Callbacks in one drain before the loop looks for cancel scopes that re-arm themselves: ordinary drains never pay
for the look."""

REARMS_MAX = 50
"""How often one cancel scope may re-arm its delivery in one drain after that. anyio's level cancellation re-arms
until its tasks have left, which they may not do before a later event: the callback is parked until that event."""

_collector = CollectorPause()
Ts = TypeVarTuple("Ts")


class ReadyHandle(asyncio.Handle):
    """asyncio's Handle without the parts that only debug mode reads (one is made per callback)."""

    __slots__ = ()
    # asyncio's own slots, which the stubs do not know.
    _callback: Callable[..., Any]
    _args: Sequence[Any]
    _context: contextvars.Context

    def __init__(
        self,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context,
    ) -> None:
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = context
        self._cancelled = False
        self._repr = None
        self._source_traceback = None


class WorkflowLoop(Refusals):
    """The loop of one live run. ``fencepost_instance`` is how ``interface.current()`` finds the run."""

    def __init__(self, instance: AskingFace, drain_limit: int) -> None:
        self.fencepost_instance = instance
        self.hashes: HashSeries = HashSeries(instance.run_id)
        self.seconds: float = 0.0  # workflow time as loop.time() shows it, never below a timer that has fired
        self._deadlines: set[float] = set()  # that count from this drain's time
        self.entered: bool = False
        self._drain_limit = drain_limit
        self._ready: deque[ReadyHandle | WorkflowTimer] = deque()
        self._parked: list[ReadyHandle | WorkflowTimer] = []
        self.root_context: contextvars.Context = contextvars.Context()
        self._tasks: dict[int, asyncio.Task[Any]] = {}  # by address, in order of creation
        self._forgetting = contextvars.Context()
        self._handler: Handler | None = None
        self._asyncgens = AsyncGenerators(self)
        self._guard: TurnGuard | None = None
        self._drains = 0

    # What the instance drives.

    def within(self, action: Callable[..., None], *args: Any) -> None:
        """Call ``action`` with this as the running loop of the thread, under the replay budget of the turn that the
        thread is in, if any.

        Raises ReplayBudgetExceeded if the budget ran out, whatever the code did with the exception.
        """
        if self.entered:
            raise RuntimeError(f"run {self.fencepost_instance.run_id} is being driven already")
        outer = events._get_running_loop()
        hooks = sys.get_asyncgen_hooks()
        guard = self._guard = seated()
        interrupted = False
        _collector.begin()
        self.entered = True
        events._set_running_loop(self)
        sys.set_asyncgen_hooks(self._asyncgens.started, self._asyncgens.abandoned)
        try:
            if guard is not None:
                guard.open = True
            action(*args)
        finally:
            if guard is not None:
                # In this one frame, and with no call before this line: budget.py says why, and why three attempts.
                guard.open = False
                if guard.sent:
                    try:
                        try:
                            interrupted = guard.settle()
                        except ReplayBudgetExceeded:
                            interrupted = guard.settle()
                    except ReplayBudgetExceeded:
                        interrupted = guard.settle()
            # From here on nothing can strike, so the thread is surely given back.
            sys.set_asyncgen_hooks(*hooks)
            events._set_running_loop(outer)
            self.entered = False
            _collector.end()
            if interrupted:
                raise ReplayBudgetExceeded(
                    f"run {self.fencepost_instance.run_id}: the workflow's code ran longer than the replay budget "
                    f"allows without waiting: do blocking or heavy work in a step"
                )

    def drain(self) -> None:
        """Run callbacks until none is ready. Raises ReplayLimit; exceptions of plain callbacks go to the exception
        handler."""
        self._drains += 1
        if self._deadlines:
            self._deadlines.clear()
        if self._drains % PROGRESS_EVENTS == 0 and self._guard is not None:
            self._guard.progress()
        ready = self._ready
        if self._parked:
            ready.extend(self._parked)
            self._parked.clear()
        count = 0
        limit = self._drain_limit
        rearms: dict[object, int] = {}
        handle: ReadyHandle | WorkflowTimer | None = None
        while ready:
            handle = ready.popleft()
            if handle._cancelled:
                continue
            count += 1
            if count > PARK_CHECK_AFTER:
                if count > limit:
                    raise ReplayLimit(self.fencepost_instance.run_id, limit)
                if self._park(handle, rearms):
                    continue
            try:
                handle._context.run(handle._callback, *handle._args)
            except ReplayBudgetExceeded:
                raise
            except BaseException as error:  # noqa: BLE001  # whatever a user's callback raises
                self._callback_raised(handle, error)
        handle = None  # a traceback may hold this frame, and with it a task whose error is told when it goes

    def _callback_raised(self, handle: ReadyHandle | WorkflowTimer, error: BaseException) -> None:
        """A task keeps its own errors. What comes out of it is SystemExit and KeyboardInterrupt, which it has kept as
        well; everything else is a plain callback's.
        """
        if isinstance(error, (SystemExit, KeyboardInterrupt)) and any(
            getattr(task, "_exception", None) is error for task in self._tasks.values()
        ):
            return
        try:
            self.call_exception_handler({"message": "Exception in callback", "exception": error, "handle": handle})
        except ReplayBudgetExceeded:
            raise
        except BaseException as broken:  # noqa: BLE001  # the workflow's handler, or str() of its error: nobody's end
            # By name only: what raises when it is told would raise once more.
            name = f"{type(error).__qualname__} in a callback; telling of it raised {type(broken).__qualname__}"
            told = {"message": "Exception in the workflow's exception handler", "exception": RuntimeError(name)}
            self.fencepost_instance.unawaited(told, None)

    def limit_drains(self, callbacks: int) -> None:
        """From now on no drain runs more callbacks (eviction)."""
        self._drain_limit = min(self._drain_limit, callbacks)

    def live_tasks(self) -> list[asyncio.Task[Any]]:
        """Tasks that are not done, in order of creation."""
        return [task for task in self._tasks.values() if not task.done()]

    def start_root(self, coro: Coroutine[Any, Any, Any], context: contextvars.Context) -> WorkflowTask:
        """The task of the workflow function itself."""
        self.root_context = context
        task = WorkflowTask(coro, loop=self, name=self.fencepost_instance.workflow, context=context)
        self._tasks[id(task)] = task
        return task

    def close_generators(self) -> None:
        """Have suspended async generators run their finally blocks (eviction)."""
        self._asyncgens.close_all()

    def discard(self) -> None:
        """Drop everything (eviction)."""
        self._ready.clear()
        self._parked.clear()
        self._tasks.clear()

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """A task that its class has made (``asyncio.Task(coro)``): it gets a path and a name as ``create_task`` gives
        them, is kept, and is cancelled as the loop's own are. Called while it is being made."""
        context = context_of(task)
        shared = context is None or any(context_of(other) is context for other in self.live_tasks())
        if context is not None and not shared:
            path = context.get(PATH, self.fencepost_instance.path).child(_component(task.get_coro(), None))
            context.run(PATH.set, path)
            if DEFAULT_NAME.fullmatch(task.get_name()):
                task.set_name(path.prefix[:-1])
        cancels_as_ours(task)
        self._remember(task)

    def spawn(self, coro: Any, name: str) -> WorkflowTask:
        """A task that the loop itself needs, made even when nothing may be asked any more."""
        context = contextvars.copy_context()
        path = context.get(PATH)
        if path is not None:
            context.run(PATH.set, path.child(name))
        task = WorkflowTask(coro, loop=self, name=name, context=context)
        self._remember(task)
        return task

    # asyncio.AbstractEventLoop, as far as a workflow has it.

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        if not self.entered:
            raise self.touched_from_outside()
        handle = ReadyHandle(callback, args, self, contextvars.copy_context() if context is None else context)
        self._ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = WorkflowTimer(self.seconds + delay, callback, args, self, context)
        return self.arm(timer, due_after(self.fencepost_instance.turn_time(), delay), delay <= 0)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = WorkflowTimer(when, callback, args, self, context)
        due = due_at(when)
        if due is not None and when in self._deadlines:
            due = min(due + self.fencepost_instance.turn_time() - self.fencepost_instance.time(), DUE_MAX)
        return self.arm(timer, due, when <= self.seconds)

    def arm(self, timer: WorkflowTimer, due: int | None, at_once: bool) -> asyncio.TimerHandle:
        self.fencepost_instance.refuse_when_closed()
        if at_once:
            self._ready.append(timer)
        elif due is not None:  # an infinite delay is no wait: nothing will ever fire it
            self.fencepost_instance.wait(timer, due)
        return timer

    def fire(self, timer: WorkflowTimer) -> None:
        """The wait behind it is over."""
        self._ready.append(timer)

    def _timer_handle_cancelled(self, handle: WorkflowTimer) -> None:
        # TimerHandle.cancel calls this; the name is asyncio's.
        if handle.ask is not None:
            self.fencepost_instance.withdraw(handle.ask)

    def time(self) -> float:
        return LoopTime(self.seconds, self._deadlines)

    def create_future(self) -> asyncio.Future[Any]:
        return WorkflowFuture(loop=self)

    def create_task(
        self,
        coro: Any,
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> asyncio.Task[Any]:
        """A task with a path of its own. In a context given by the caller it keeps the path that is in it, for such a
        context may be shared."""
        try:
            self.fencepost_instance.refuse_when_closed()
            if options.get("eager_start"):
                raise WorkflowRestriction("an eager task")
        except BaseException:
            coro.close()  # or it would be reported as never awaited
            raise
        if context is None:
            context = contextvars.copy_context()
            path = context.get(PATH, self.fencepost_instance.path).child(_component(coro, name))
            context.run(PATH.set, path)
        elif PATH in context:
            path = context[PATH]
        else:
            path = PATH.get(self.fencepost_instance.path).child(_component(coro, name))
            context.run(PATH.set, path)
        # Without a name asyncio counts over the whole process, which differs from replay to replay.
        task = WorkflowTask(coro, loop=self, name=path.prefix[:-1] if name is None else name, context=context)
        self._remember(task)
        return task

    def _remember(self, task: asyncio.Task[Any]) -> None:
        # Held strongly until it is done: when a forgotten task is collected must not depend on the garbage collector's
        # mood. Then let go at once: an error that nobody has asked for is told when the task goes.
        self._tasks[id(task)] = task
        task.add_done_callback(self._forget, context=self._forgetting)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(id(task), None)

    def runs_here(self) -> bool:
        """True if this thread is inside the loop's turn. What is collected elsewhere comes at a moment of its own."""
        return self.entered and events._get_running_loop() is self

    def _park(self, handle: ReadyHandle | WorkflowTimer, rearms: dict[object, int]) -> bool:
        callback = handle._callback
        if getattr(callback, "__name__", "") != "_deliver_cancellation":
            return False
        scope: object = callback.__self__  # type: ignore[attr-defined]  # pyright: ignore
        rearms[id(scope)] = count = rearms.get(id(scope), 0) + 1
        if count <= REARMS_MAX:
            return False
        self._parked.append(handle)
        return True

    def is_running(self) -> bool:
        return self.entered

    def is_closed(self) -> bool:
        return False

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        if enabled:
            raise WorkflowRestriction("asyncio's debug mode")

    def get_task_factory(self) -> None:
        return None

    def set_task_factory(self, factory: Any) -> None:
        if factory is not None:
            raise WorkflowRestriction("a task factory (eager tasks)")

    def get_exception_handler(self) -> Handler | None:
        return self._handler

    def set_exception_handler(self, handler: Handler | None) -> None:
        if handler is not None and not callable(handler):
            raise TypeError(f"A callable object or None is expected, got {handler!r}")
        self._handler = handler

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """asyncio's channel for errors that nobody awaits: the workflow's handler, or its log."""
        self.fencepost_instance.unawaited(context, self._handler)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.fencepost_instance.unawaited(context, None)


def _component(coro: Any, name: str | None) -> str:
    """What a task is called in ids: its coroutine's function; for anyio's wrapper around it, the name that anyio
    gives."""
    component: str = getattr(coro, "__name__", None) or type(coro).__name__
    if name and component == "_run_coro":
        return name.rpartition(".")[2]
    return component
