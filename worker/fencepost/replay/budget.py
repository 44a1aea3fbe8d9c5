"""The replay budget: how a watching thread stops workflow code that does not come to rest.

``TurnGuard`` is the seat of one thread that runs turns. The engine sits down with ``with guard.turn(run_id):`` and a
watcher asks ``overdue`` now and then. ``interrupt`` raises ReplayBudgetExceeded in the seated thread
(PyThreadState_SetAsyncExc).

Such an exception comes at any instruction, so it must never be possible outside the code that is meant. The gate is
therefore not the ``with`` block, whose exit is a function that could be struck on its first instruction, but the one
frame that runs the loop (``WorkflowLoop.within``):

    watcher, under the lock:  sent += 1; if not open: give up; raise in the thread
    thread, in one frame:     open = False; if sent: settle(), which takes the lock and clears what is pending

Either the watcher sees ``open`` false and raises nothing, or the thread sees ``sent`` and clears. After ``open =
False`` at most two exceptions can still strike (one that was pending, one of a watcher that was past its look), which
is why the frame tries ``settle`` three times.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from fencepost.replay.limits import ReplayBudgetExceeded

_seats: dict[int, TurnGuard] = {}


@dataclass(frozen=True, slots=True)
class Overdue:
    """A turn past its budget. ``stack``: where the thread is just now, as text; ``at``: its innermost line."""

    run_id: str
    seconds: float
    interrupts: int
    stack: str
    at: str = ""


class TurnGuard:
    """One per thread that runs turns; may be watched from any other. ``clock``: monotonic seconds."""

    __slots__ = ("_clock", "_hits", "_lock", "_run_id", "_started", "_thread", "open", "sent")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._thread = 0
        self._run_id = ""
        self._started = 0.0
        self._hits = 0
        self.open: bool = False  # workflow code may be struck
        self.sent: int = 0  # somebody is about to strike, or has

    def turn(self, run_id: str) -> Turn:
        """The context in which this thread drives ``run_id``. Turns do not nest within a thread."""
        return Turn(self, run_id)

    def overdue(self, now: float, budget: float) -> Overdue | None:
        """The turn in the seat, if it has taken more than ``budget`` seconds at ``now`` (the guard's clock)."""
        with self._lock:
            if not self._thread or now - self._started <= budget:
                return None
            frame = sys._current_frames().get(self._thread)  # pyright: ignore[reportPrivateUsage]  # there is no public name
            stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
            at = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""
            return Overdue(self._run_id, now - self._started, self._hits, stack, at)

    def interrupt(self) -> bool:
        """Raise ReplayBudgetExceeded in the workflow code that runs in the seat. False if none runs at this moment.
        May be repeated: code can swallow it."""
        with self._lock:
            self.sent += 1
            if not self.open:
                self.sent -= 1
                return False
            self._hits += 1
            _raise_in(self._thread, ReplayBudgetExceeded)
            return True

    def strike(self, now: float, budget: float) -> None:
        """The same by the seated thread itself, in the middle of its code: from the handler of a signal, so it takes no
        lock. Raises ReplayBudgetExceeded if the turn has taken more than ``budget`` seconds.
        """
        if self.open and self._thread == threading.get_ident() and now - self._started > budget:
            self.sent += 1
            self._hits += 1
            raise ReplayBudgetExceeded

    def settle(self) -> bool:
        """Called by the seated thread after ``open = False``: nothing is pending afterwards. True if the turn was
        interrupted."""
        with self._lock:
            _take_back(self._thread)
            self.sent = 0
            return self._hits > 0

    def sit(self, run_id: str) -> None:
        """Start the turn's clock."""
        thread = threading.get_ident()
        if thread in _seats:
            raise RuntimeError(f"a turn of {run_id} inside another turn of the same thread")
        with self._lock:
            self._thread, self._run_id, self._started, self._hits = thread, run_id, self._clock(), 0
        _seats[thread] = self

    def progress(self) -> None:
        """The code has come to rest: start the turn's clock anew. Called by the seated thread. Not after an interrupt,
        which stays the turn's outcome."""
        if not self._hits:
            self._started = self._clock()

    def excuse(self, seconds: float) -> None:
        """The turn's clock stood still for so long: the process did. Called by the watcher."""
        with self._lock:
            self._started += seconds

    def stand(self) -> None:
        """Stop the turn's clock."""
        with self._lock:
            _seats.pop(self._thread, None)
            self._thread = 0


class Turn:
    """``with guard.turn(run_id):``"""

    __slots__ = ("_guard", "_run_id")

    def __init__(self, guard: TurnGuard, run_id: str) -> None:
        self._guard = guard
        self._run_id = run_id

    def __enter__(self) -> TurnGuard:
        self._guard.sit(self._run_id)
        return self._guard

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._guard.stand()


def seated() -> TurnGuard | None:
    """The guard in whose turn this thread is."""
    return _seats.get(threading.get_ident())


class _Nothing(BaseException):
    """Takes the place of an interrupt that is no longer meant."""


def _take_back(thread: int) -> None:
    """Leave nothing pending in this, the calling thread. Up to 3.12 the interpreter believes that something is pending
    until it has been raised, and once told of NULL believes it for ever: then every call is slow, and a function that
    is profiled or traced never begins. So something harmless is raised in the place of what was pending.
    """
    try:
        _raise_in(thread, _Nothing)
        while True:  # it comes at the next call or jump
            pass
    except _Nothing:
        pass


def _raise_in(thread: int, error: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


def mutex() -> threading.Lock:
    """A lock for those modules of replay that need one: this one is their only door to threads."""
    return threading.Lock()
