"""The standard library's clocks, as workflow code sees them: they show workflow time.

Retry and rate libraries ask ``time.monotonic`` and ``datetime.now`` how long they have been at it. What they do then
must be the same in a replay. So while workflow code runs in its loop, in this thread, these functions answer with the
time of the last event, as ``loop.time()`` and ``now()`` do. Everywhere else (steps, other threads, the engine) they are
what they were; so they are for modules that wait for real time or date log lines (``REAL_FOR``), and while a module is
imported.
"""

from __future__ import annotations

import datetime
import sys
import time
from asyncio import events
from collections.abc import Callable
from typing import Any

from fencepost import payload_codecs
from fencepost.replay.builtin_types import put_attribute
from fencepost.replay.everywhere import OWN, StockFunction, replace_everywhere
from fencepost.replay.imports import importing
from fencepost.replay.loop import WorkflowLoop

REAL_FOR = OWN | {
    *("asyncio", "concurrent", "logging", "multiprocessing", "queue", "selectors", "sched", "socket", "structlog"),
    *("subprocess", "threading", "traceback", "warnings"),
}
"""Top-level modules that are told the real time: they wait for it with a deadline, or date what they write."""


def _seconds(loop: WorkflowLoop) -> float:
    return loop.seconds


def _seconds_ns(loop: WorkflowLoop) -> int:
    return round(loop.seconds * 1e6) * 1000


def _now(loop: WorkflowLoop) -> float:
    return loop.fencepost_instance.time() / 1e6


def _now_ns(loop: WorkflowLoop) -> int:
    return loop.fencepost_instance.time() * 1000


CLOCKS: dict[str, Callable[[WorkflowLoop], float | int]] = {
    "time": _now,
    "time_ns": _now_ns,
    **dict.fromkeys(("monotonic", "perf_counter", "process_time", "thread_time"), _seconds),
    **dict.fromkeys(("monotonic_ns", "perf_counter_ns", "process_time_ns", "thread_time_ns"), _seconds_ns),
    "clock_gettime": _seconds,
    "clock_gettime_ns": _seconds_ns,
}
"""Functions of ``time`` that tell an instant, and what a workflow is told."""

CALENDAR = {"localtime": 0, "gmtime": 0, "ctime": 0, "asctime": 0, "strftime": 1}
"""Functions of ``time`` that take now if they are given no instant, and which argument that is."""


def tell_workflow_time() -> None:
    """Put these functions in the places of the stock ones, once."""
    replacements: dict[Callable[..., Any], Callable[..., Any]] = {}
    for name, told in CLOCKS.items():
        real = getattr(time, name, None)  # not every platform has every clock
        if real is not None:
            replacements[real] = _Clock(real, told)
    for name, position in CALENDAR.items():
        real = getattr(time, name)
        replacements[real] = _Calendar(real, position)
    for original, new in replacements.items():
        setattr(time, original.__name__, new)
    replace_everywhere(replacements, OWN | sys.stdlib_module_names)
    for name, function in (("now", _datetime_now), ("utcnow", _datetime_utcnow)):
        put_attribute(datetime.datetime, name, classmethod(function))


_running = events._get_running_loop


def asking_loop(depth: int) -> WorkflowLoop | None:
    """The workflow loop that runs in this thread, if the caller at ``depth`` is to be told the workflow's."""
    loop = _running()
    if type(loop) is not WorkflowLoop or payload_codecs.coding.get():
        return None
    caller: str = sys._getframe(depth).f_globals.get("__name__", "")  # pyright: ignore[reportPrivateUsage]
    return None if caller.partition(".")[0] in REAL_FOR or importing() else loop


class _Clock(StockFunction):
    """A function that tells an instant."""

    def __init__(self, real: Callable[..., Any], told: Callable[[WorkflowLoop], float | int]) -> None:
        super().__init__(real)
        self._told = told

    def __call__(self, *args: Any) -> Any:
        if type(_running()) is not WorkflowLoop:  # nearly always, and often
            return self.stock(*args)
        loop = asking_loop(2)
        return self.stock(*args) if loop is None else self._told(loop)


class _Calendar(StockFunction):
    """A function that takes now if it is given no instant."""

    _local = staticmethod(time.localtime)

    def __init__(self, real: Callable[..., Any], position: int) -> None:
        super().__init__(real)
        self._position = position
        self._takes_tuple = real.__name__ in ("asctime", "strftime")

    def __call__(self, *args: Any) -> Any:
        position = self._position
        loop = asking_loop(2) if len(args) <= position or args[position] is None else None
        if loop is None:
            return self.stock(*args)
        instant = _now(loop)
        return self.stock(*args[:position], self._local(instant) if self._takes_tuple else instant)


_real_now: Any = vars(datetime.datetime)["now"]
_real_utcnow: Any = vars(datetime.datetime)["utcnow"]


def _datetime_now(cls: type[datetime.datetime], tz: datetime.tzinfo | None = None) -> datetime.datetime:
    loop = asking_loop(2)
    if loop is None:
        found: datetime.datetime = _real_now.__get__(None, cls)(tz)
        return found
    seconds, micros = divmod(loop.fencepost_instance.time(), 1_000_000)
    return cls.fromtimestamp(seconds, tz).replace(microsecond=micros)


def _datetime_utcnow(cls: type[datetime.datetime]) -> datetime.datetime:
    loop = asking_loop(2)
    if loop is None:
        found: datetime.datetime = _real_utcnow.__get__(None, cls)()
        return found
    seconds, micros = divmod(loop.fencepost_instance.time(), 1_000_000)
    return cls.fromtimestamp(seconds, datetime.UTC).replace(tzinfo=None, microsecond=micros)
