"""Timers of the workflow loop: durable waits, named by what made them, with due times exact to the microsecond."""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fencepost import records

if TYPE_CHECKING:
    from fencepost.replay.asks import Ask
    from fencepost.replay.loop import WorkflowLoop

DUE_MAX = 253_402_300_799_000_000
"""The last second of the year 9999, microseconds: what lies beyond is due then, and still fits the log's 64 bits."""

PAYLOADS = {name: records.pack(records.WaitCreated(name)) for name in ("sleep", "timeout", "timer")}


class WorkflowTimer(asyncio.TimerHandle):
    """What call_at and call_later return. ``ask`` is the wait behind it (None: it never had one, has fired, or was
    withdrawn)."""

    __slots__ = ("ask",)
    ask: Ask | None
    # asyncio's own slots, which the stubs do not know.
    _callback: Callable[..., Any]
    _args: Sequence[Any]
    _context: contextvars.Context

    def __init__(
        self,
        when: float,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        loop: WorkflowLoop,
        context: contextvars.Context | None,
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        self.ask = None


class LoopTime(float):
    """What ``loop.time()`` answers. A sum with a delay is a deadline that counts from here, and the loop is told of it:
    so ``asyncio.timeout(10)`` and ``anyio.fail_after(10)``, which add and call ``call_at``, are told apart from a
    deadline that stands for an instant. The sum itself is a plain float.
    """

    __slots__ = ("_deadlines",)
    _deadlines: set[float]

    def __new__(cls, seconds: float, deadlines: set[float]) -> LoopTime:
        made = super().__new__(cls, seconds)
        made._deadlines = deadlines
        return made

    def __add__(self, delay: float, /) -> float:
        deadline = float.__add__(self, delay)
        if isinstance(deadline, float):  # or NotImplemented
            self._deadlines.add(deadline)
        return deadline

    __radd__ = __add__

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        return float, (float(self),)


def due_after(now: int, delay: float) -> int | None:
    """``delay`` seconds after ``now`` (microseconds), rounded up; None for an infinite delay. Digits below a
    nanosecond are float noise (2.3 s is not 2,300,001 us)."""
    if math.isnan(delay):
        raise ValueError("a delay must be a number of seconds, not NaN")
    if delay == math.inf:
        return None
    if delay * 1e6 >= DUE_MAX - now:
        return DUE_MAX
    return now + -(-round(delay * 1e9) // 1000)


def due_at(when: float) -> int | None:
    """An instant in float seconds as microseconds. A float of today's size holds a quarter of a microsecond, so the
    nearest one is the one that was meant."""
    if math.isnan(when):
        raise ValueError("a deadline must be a number of seconds, not NaN")
    if when == math.inf:
        return None
    return min(round(when * 1e6), DUE_MAX)


def name_of(callback: Callable[..., Any]) -> str:
    """sleep, timeout or timer: what made a timer, by the callback it gave."""
    module = getattr(callback, "__module__", None) or ""
    if module.startswith(("asyncio.", "anyio.")):
        name = getattr(callback, "__name__", "")
        if name == "_set_result_unless_cancelled":
            return "sleep"
        if name == "_release_waiter" or "timeout" in name:
            return "timeout"
    return "timer"
