"""How long one attempt of a step may go on: its timeout, what is left of its step's time, and how long it may be
silent, behind one timer of the loop.

Time before the body begins is not the body's: what it waits for a thread or a process is no part of its timeout. The
timer looks at what has happened when it fires, so a beginning and a heartbeat only note the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fencepost import errors
from fencepost.records import Policy

ROUNDING_SECONDS = 1e-6
"""A timer that fires by a float's rounding too soon is on time."""


class Patience:
    """``left``: seconds until schedule_to_close is over (None: there is none). ``watch``, then ``begin``, then
    ``close``; ``begin`` and ``heard`` may be called from any thread. ``moved(seconds)``: the attempt's end is that far
    away now, because it has begun late.
    """

    def __init__(self, policy: Policy, left: float | None, moved: Callable[[float], None] | None = None) -> None:
        self._policy = policy
        self._loop = asyncio.get_running_loop()
        self._closes = None if left is None else self._loop.time() + left
        self._moved = moved
        self._ending = policy.timeout is not None or left is not None
        self._bounded = self._ending or policy.heartbeat_timeout is not None
        self._began: float | None = None
        self._used = 0.0  # by interceptors, before the body began
        self._heard: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._expire: Callable[[], None] = _nothing
        self.expired: str = ""

    def watch(self, expire: Callable[[], None]) -> None:
        """Call ``expire`` in the loop when one of the bounds is over, which is then ``expired``."""
        self._expire = expire
        if self._bounded:
            self._arm()

    def begin(self) -> None:
        """The body's first instruction is next, or that of an interceptor around it."""
        if self._began is None:
            self._began = self._loop.time() - self._used

    def pause(self) -> None:
        """Interceptors have begun, and the body waits for a thread or a process. Until ``begin`` no time goes by."""
        if self._began is not None:
            self._used, self._began = self._loop.time() - self._began, None

    def heard(self) -> None:
        """The body has said that it lives."""
        self._heard = self._loop.time()

    def close(self) -> None:
        """The body has ended; what is heard of it later changes nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._expire, self._moved = _nothing, None  # they hold the body, which holds this: no garbage for the collector

    def left(self) -> float | None:
        """Seconds until the attempt's time is over, however lively it is; None: it has no such bound."""
        if not self._ending:
            return None
        now = self._loop.time()
        ends = [end for name, end in self._ends(now).items() if name != "heartbeat_timeout"]
        return max(0.0, min(ends) - now)

    def leaves(self, delay: float) -> bool:
        """Whether an attempt ``delay`` seconds from now would begin within the step's time."""
        return self._closes is None or self._loop.time() + delay < self._closes

    def overdue(self, step: str, attempt: int) -> errors.StepTimeout:
        """For a body that keeps the timer from looking; called by a thread."""
        ends = self._ends(self._loop.time())
        self.expired = min(ends, key=lambda name: ends[name])
        return self.error(step, attempt, "; it blocks the event loop of its worker: make it a `def` step")

    def error(self, step: str, attempt: int, more: str = "") -> errors.StepTimeout:
        """What has expired, in words."""
        which = self.expired
        seconds = getattr(self._policy, which)
        told = {
            "timeout": f"did not end within its timeout of {seconds} s",
            "schedule_to_close": f"was under way when the step's schedule_to_close of {seconds} s was over",
            "heartbeat_timeout": f"was silent for longer than its heartbeat_timeout of {seconds} s",
        }[which]
        return errors.StepTimeout(f"attempt {attempt} of step {step!r} {told}{more}", which=which)

    def _ends(self, now: float) -> dict[str, float]:
        """When each bound is over, for a body that begins now if it has not begun."""
        began = now - self._used if self._began is None else self._began
        ends: dict[str, float] = {}
        if self._policy.timeout is not None:
            ends["timeout"] = began + self._policy.timeout
        if self._closes is not None:
            ends["schedule_to_close"] = self._closes
        if self._policy.heartbeat_timeout is not None:
            ends["heartbeat_timeout"] = max(began, self._heard or began) + self._policy.heartbeat_timeout
        return ends

    def _arm(self) -> None:
        self._timer = self._loop.call_at(min(self._ends(self._loop.time()).values()), self._look)

    def _look(self) -> None:
        now = self._loop.time()
        ends = self._ends(now)
        which = min(ends, key=lambda name: ends[name])
        if ends[which] <= now + ROUNDING_SECONDS:
            self.expired = which
            self._timer = None
            self._expire()
            return
        left = self.left()
        if left is not None and self._moved is not None:
            self._moved(left)
        self._arm()


def _nothing() -> None:
    raise AssertionError("watch first")
