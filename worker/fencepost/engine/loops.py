"""The event loop of a worker's process: user code cannot end it, and cannot take the engine's threads.

asyncio raises SystemExit and KeyboardInterrupt of a task or callback out of the loop, and ``loop.stop()`` is anybody's.
None of them says that the worker is to end: that is known by its signal, which ends ``main``. So the loop goes on until
``main`` is done. What was ready when it was left is still ready, and nothing is lost.
"""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
import time
import traceback
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, TypeVar, cast

from fencepost.authoring.context import current_or_none
from fencepost.engine.forks import end_if_forked
from fencepost.engine.tasks import make_task, show_bodies_their_own
from fencepost.replay.everywhere import stock
from fencepost.telemetry import note

T = TypeVar("T")

ENGINE_THREADS = 16
"""Of the engine: name resolution and a few waits, none of them long. A name server that hangs takes one per connection
that is being made.
"""

CLOSE_SECONDS = 5.0
"""What tasks that are left over have to end by their cancellation."""


class EngineParts:
    """Part of a loop: its default executor and its task factory are for user code, and the engine has its own. asyncio
    resolves names of servers in the default executor, which bodies fill with ``asyncio.to_thread``.
    """

    _engine_threads: ThreadPoolExecutor | None = None
    fencepost_instance: None = None
    """No workflow's loop: found here, whoever asks whether one runs is not answered by an AttributeError."""

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> Any:
        """As in asyncio. Without an executor, whose call it is decides."""
        if executor is None and current_or_none() is None:
            if self._engine_threads is None:
                self._engine_threads = ThreadPoolExecutor(ENGINE_THREADS, thread_name_prefix="fencepost-engine")
            executor = self._engine_threads
        above: Any = super()
        return above.run_in_executor(executor, func, *args)

    def set_task_factory(self, factory: Any) -> None:
        """As in asyncio, for tasks that user code makes. The engine's are made by the worker's own factory, whatever
        a body sets: one that raises, or begins tasks eagerly, would end the worker.
        """
        above: Any = super()
        if factory is not None and factory is not make_task:
            factory = partial(_of_the_users, factory)
        above.set_task_factory(factory or make_task)

    def get_task_factory(self) -> Any:
        """What ``set_task_factory`` was given; the worker's own, for who wraps it."""
        above: Any = super()
        factory: Any = above.get_task_factory()
        return factory.args[0] if isinstance(factory, partial) else factory


def _of_the_users(
    factory: Callable[..., Any], loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
) -> Any:
    return (make_task if current_or_none() is None else factory)(loop, coroutine, **options)


def new_loop(base: Any = None) -> asyncio.AbstractEventLoop:
    """A worker's loop. ``base``: its class without what is ours; uvloop's where that is installed."""
    show_bodies_their_own()
    base = base or _base()
    # What asyncio asks through two functions, again and again; uvloop has a clock of its own.
    clock = {"time": staticmethod(stock(time.monotonic))} if base is asyncio.SelectorEventLoop else {}
    # Made by name, for the two bases have other signatures than each other and than their common one.
    kind: Any = type("WorkerLoop", (EngineParts, base), clock)
    loop: asyncio.AbstractEventLoop = kind()
    loop.set_task_factory(cast("Any", make_task))
    return loop


def run_loop(main: Coroutine[Any, Any, T], base: Any = None) -> T:
    """Run ``main`` to its end, as ``asyncio.run`` does, whatever other tasks and callbacks of the loop raise. Ctrl-C
    cancels it, as long as it has no handler of its own for that. ``base``: see new_loop.
    """
    loop = new_loop(base)
    asyncio.set_event_loop(loop)
    try:
        task = loop.create_task(main, context=contextvars.copy_context())
        with _interruptible(task) as interrupted:
            try:
                return _run_to_end(loop, task)
            except asyncio.CancelledError:
                if interrupted.is_set():
                    raise KeyboardInterrupt from None
                raise
    finally:
        try:
            _run_to_end(loop, loop.create_task(_close(loop), context=contextvars.copy_context()))
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def _run_to_end(loop: asyncio.AbstractEventLoop, task: asyncio.Task[T]) -> T:
    while True:
        end_if_forked()
        try:
            return loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt) as error:
            if task.done():
                raise
            _tell(error)
        except RuntimeError as error:
            if task.done() or loop.is_closed():
                raise
            _tell(error)  # "Event loop stopped before Future completed."


def _tell(error: BaseException) -> None:
    trace = "".join(traceback.format_exception(error))
    note("exit_contained", raised=error, error=type(error).__name__, trace=trace)


@contextmanager
def _interruptible(task: asyncio.Task[Any]) -> Generator[threading.Event]:
    """Ctrl-C cancels the task, once; the second one is Python's own. The event says that it came."""
    interrupted = threading.Event()
    ours = threading.current_thread() is threading.main_thread()
    ours = ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def interrupt(number: int, frame: FrameType | None) -> None:
        if interrupted.is_set():
            signal.default_int_handler(number, frame)
        interrupted.set()
        task.get_loop().call_soon_threadsafe(task.cancel)

    if ours:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupted
    finally:
        if ours and signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)


async def _close(loop: asyncio.AbstractEventLoop) -> None:
    """What ``asyncio.run`` does at its end; tasks that do not end by their cancellation are left."""
    tasks = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


def _base() -> Any:
    try:
        import uvloop
    except ImportError:
        return asyncio.SelectorEventLoop
    return uvloop.Loop
