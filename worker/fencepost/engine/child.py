"""One worker process from its start to its end, under a supervisor or alone: load code, consume, drain on a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from types import FrameType
from typing import Any

from msgspec.structs import replace

from fencepost.authoring import registry
from fencepost.config import Config
from fencepost.engine.faults import VARIABLE, fault_of
from fencepost.engine.forks import guard_forks
from fencepost.engine.link import Draining, ParentLink, Ready
from fencepost.engine.loading import load_modules, project_files
from fencepost.engine.logs import enable_loggers
from fencepost.engine.loops import run_loop
from fencepost.engine.ports import no_fault, real_ports
from fencepost.engine.signals import Signals, handled
from fencepost.engine.turn_watch import watch_processor
from fencepost.engine.watchdog import feed
from fencepost.engine.worker import Worker
from fencepost.telemetry import note

HANG_SECONDS = 10.0
"""What a drain may take beyond drain_seconds: handing back is a few round trips, each bounded by its own time limit."""


EXIT_SECONDS = 5.0
"""What a process that has handed everything back may take to end: the rest of a ``def`` body counts no more."""


def serve(
    config: Config,
    modules: tuple[str, ...],
    ready: Callable[[Ready], None],
    *,
    parent: ParentLink | None = None,
    beside: Callable[[Config], AbstractAsyncContextManager[None]] = lambda _: nullcontext(),
) -> None:
    """Run one worker until SIGTERM, SIGINT or SIGHUP, or until the parent is gone; drain; return. Blocks. ``beside``:
    what is served in the same loop while the worker consumes; it begins before the worker is said to be ready, and ends
    before the worker drains.

    A second signal, a second later or more, ends the process at once: its leases run out, or a supervisor ends them.
    Raises LoadError, and what ``Worker`` raises for servers.
    """
    load_modules(modules, registry.default)
    enable_loggers()
    known = registry.default
    word = Ready("", tuple(sorted(known.workflows)), tuple(sorted(known.steps)), project_files())
    try:
        run_loop(_serve(config, modules, lambda owner: ready(replace(word, owner=owner)), parent, beside))
    finally:
        # Of ``watch_processor``: at its end Python puts the signals' defaults back, and this one's ends the process.
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


async def _serve(
    config: Config,
    modules: tuple[str, ...],
    ready: Callable[[str], None],
    parent: ParentLink | None,
    beside: Callable[[Config], AbstractAsyncContextManager[None]],
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    starting = Starting(stop)
    signals = Signals(lambda number: starting.stop(), _end_at_once)
    for number in handled():
        loop.add_signal_handler(number, signals, number)
        if parent is None:
            _bound_from(number, config.drain_seconds + HANG_SECONDS)
    guard_forks(loop)
    if parent is not None:
        parent.watch(lambda: _orphaned(loop, starting.stop, config.drain_seconds))
    spec = os.environ.get(VARIABLE, "")
    fault = fault_of(spec) if spec and config.env == "test" else no_fault
    made = Worker(config, registry.default, modules=modules, ports=real_ports(fault, config.lost_threads_max))
    async with starting, made as worker, beside(config):
        starting.done()
        watch_processor(worker.shell.guard, worker.shell.ports.monotonic, config.replay_budget_seconds)
        ready(worker.shell.queue.owner)
        if parent is not None:
            parent.pulse()
        fed = asyncio.create_task(feed())
        stopped = asyncio.create_task(stop.wait())
        broken = asyncio.create_task(worker.failed())
        await asyncio.wait({stopped, broken}, return_when=asyncio.FIRST_COMPLETED)
        for task in (stopped, broken, fed):
            task.cancel()
        if parent is not None:
            parent.tell(Draining())
        # A drain that was not asked for has a bound as well: what does not consume is of no use (H151).
        _bounds.append(_end_within(config.drain_seconds + HANG_SECONDS, 1))
        if broken.done() and not broken.cancelled():
            broken.result()
    # All is handed back. What is left are threads of bodies that were not done, and what the user's code left behind.
    for timer in _bounds:
        timer.cancel()
    _end_within(EXIT_SECONDS, 0)


class Starting(AbstractAsyncContextManager[None]):
    """From the block's beginning to ``done`` a wish to stop cancels the block and is its end, for startup code may wait
    for what never comes. Later it only sets ``stop``.
    """

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self._task: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> None:
        self._task = asyncio.current_task()
        if self._stop.is_set():
            self.stop()

    async def __aexit__(self, kind: type[BaseException] | None, *rest: object) -> bool:
        ends = self._task is not None and self._stop.is_set() and kind is asyncio.CancelledError
        if ends and self._task is not None:
            self._task.uncancel()
        return ends

    def stop(self) -> None:
        """In the loop's thread."""
        self._stop.set()
        if self._task is not None:
            self._task.cancel()

    def done(self) -> None:
        """The worker consumes."""
        self._task = None


def _bound_from(number: int, seconds: float) -> None:
    """From the first of these signals on this process has so long to end, whatever blocks its loop: nobody stands above
    it who would kill it.
    """
    before = signal.getsignal(number)

    def bound(number: int, frame: FrameType | None) -> None:
        if not _bounds:
            _bounds.append(_end_within(seconds, 1))
        if callable(before):
            before(number, frame)

    signal.signal(number, bound)


_bounds: list[threading.Timer] = []


def _end_at_once(number: int) -> None:
    sys.stderr.flush()
    os._exit(128 + number)


def _end_within(seconds: float, code: int) -> threading.Timer:
    """End this process with ``code`` if it has not ended by then."""

    def end() -> None:
        if code:
            note("child_killed", pid=os.getpid(), seconds=seconds)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    return timer


def _orphaned(loop: asyncio.AbstractEventLoop, stop: Callable[[], None], drain_seconds: float) -> None:
    """In the watching thread: drain as on a signal, and end this process for certain if that hangs."""
    _end_within(drain_seconds + HANG_SECONDS, 1)
    try:
        loop.call_soon_threadsafe(stop)
    except RuntimeError:  # the loop is closed: this process is on its way out already
        return
