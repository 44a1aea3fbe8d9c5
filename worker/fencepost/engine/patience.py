"""How long one attempt of a step may go on: its timeout, what is left of its step's time, and how long it may be
silent, behind one timer of the loop.
"""

from __future__ import annotations

import asyncio

from fencepost import errors
from fencepost.records import Policy


class Patience:
    """``async with patience.limit`` around the body. ``left``: seconds until schedule_to_close is over (None: there is
    none). Use in the loop only.
    """

    def __init__(self, policy: Policy, left: float | None) -> None:
        self._policy = policy
        self._loop = asyncio.get_running_loop()
        began = self._loop.time()
        self._silence = policy.heartbeat_timeout
        self._ends: dict[str, float] = {}
        if policy.timeout is not None:
            self._ends["timeout"] = began + policy.timeout
        if left is not None:
            self._ends["schedule_to_close"] = began + left
        if self._silence is not None:
            self._ends["heartbeat_timeout"] = began + self._silence
        self.limit: asyncio.Timeout = asyncio.timeout_at(min(self._ends.values(), default=None))
        self._over = False

    def heard(self) -> None:
        """The body has said that it lives."""
        if self._silence is None or self._over or self.limit.expired():
            return
        self._ends["heartbeat_timeout"] = self._loop.time() + self._silence
        self.limit.reschedule(min(self._ends.values()))

    def close(self) -> None:
        """The body has ended; what is heard of it later changes nothing."""
        self._over = True

    def left(self) -> float | None:
        """Seconds until the attempt's time is over, however lively it is; None: it has no such bound."""
        ends = [end for name, end in self._ends.items() if name != "heartbeat_timeout"]
        return max(0.0, min(ends) - self._loop.time()) if ends else None

    def leaves(self, delay: float) -> bool:
        """Whether an attempt ``delay`` seconds from now would begin within the step's time."""
        closes = self._ends.get("schedule_to_close")
        return closes is None or self._loop.time() + delay < closes

    def error(self, step: str, attempt: int) -> errors.StepTimeout:
        """What has expired, in words."""
        which = min(self._ends, key=lambda name: self._ends[name])
        seconds = getattr(self._policy, which)
        told = {
            "timeout": f"did not end within its timeout of {seconds} s",
            "schedule_to_close": f"was under way when the step's schedule_to_close of {seconds} s was over",
            "heartbeat_timeout": f"was silent for longer than its heartbeat_timeout of {seconds} s",
        }[which]
        return errors.StepTimeout(f"attempt {attempt} of step {step!r} {told}", which=which)
