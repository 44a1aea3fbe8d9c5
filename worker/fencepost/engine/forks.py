"""What a process that forks from a worker must not take with it.

A body may fork (``multiprocessing`` with "fork", ``os.fork``). The child has the worker's signal handlers and the
socket by which a signal wakes the worker's loop: to end the child by SIGTERM would be to drain the worker. It also has
the loop itself, with all connections of the worker: it must never go on in there.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_blocked = threading.local()
_worker: list[tuple[int, asyncio.AbstractEventLoop]] = []
"""This process and its loop, if it is a worker's."""
_registered: list[bool] = []


def guard_forks(loop: asyncio.AbstractEventLoop) -> None:
    """From now on what forks from this process has nothing of the worker's signals, and ends where it would go on in
    its loop. Call in the loop's thread, once its signal handlers are there.
    """
    _worker[:] = [(os.getpid(), loop)]
    if not _registered:
        _registered.append(True)
        os.register_at_fork(before=_hold_signals, after_in_parent=_let_signals, after_in_child=_in_child)


def end_if_forked(error: BaseException | None = None) -> None:
    """Called where user code comes back to the engine: ends this process if it is a fork of the worker's. What called
    ``os.fork`` has had its ``return`` or its ``sys.exit`` then.
    """
    if not _worker or _worker[0][0] == os.getpid():
        return
    code = 0
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _hold_signals() -> None:
    # Between the fork and the reset a signal to the child would still reach the worker's loop.
    _blocked.before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED) if _worker else None


def _let_signals() -> None:
    before = getattr(_blocked, "before", None)
    if before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _in_child() -> None:
    if _worker and _worker[0][0] != os.getpid():
        signal.set_wakeup_fd(-1)
        for number in HANDLED:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)
        # If its code awaits, it comes to the loop: that ends, and run_loop the process.
        _worker[0][1].stop()
    _let_signals()
