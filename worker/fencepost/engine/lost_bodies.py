"""Bodies that go on although their attempt is over: ``def`` bodies, whose threads nothing can stop, and ``async def``
bodies that swallow their cancellation. Named in the log and in what the worker shows of itself.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from fencepost.authoring.context import StepContext
from fencepost.telemetry import note

SHOWN_MAX = 20
"""How many are named one by one where the worker shows itself; the log has them all."""


@dataclass(frozen=True, slots=True)
class LostBody:
    """``kind``: thread or task. ``since``: when its attempt ended, seconds since the epoch by this machine's clock."""

    step: str
    run: str
    workflow: str
    kind: str
    since: float


class LostBodies:
    """Those of this process. Thread-safe. ``threads``: how many hold one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bodies: dict[int, LostBody] = {}
        self.threads: int = 0

    def leave(self, place: object, context: StepContext, kind: str) -> None:
        """``place``, which is kept alive by its own thread or task, goes on without its attempt."""
        body = LostBody(context.step_id, context.run_id, context.workflow, kind, time.time())
        with self._lock:
            self._bodies[id(place)] = body
            self.threads += kind == "thread"
            count = len(self._bodies)
        note("body_left_behind", step=body.step, run=body.run, kind=kind, count=count)

    def found(self, place: object) -> None:
        """It has ended after all."""
        with self._lock:
            body = self._bodies.pop(id(place), None)
            self.threads -= body is not None and body.kind == "thread"
        if body is not None:
            seconds = round(time.time() - body.since, 1)
            note("body_came_back", step=body.step, run=body.run, kind=body.kind, seconds=seconds)

    def lines(self) -> list[str]:
        """One line each, the oldest first."""
        with self._lock:
            bodies = sorted(self._bodies.values(), key=lambda body: body.since)
        shown = [f"step {one.step} of run {one.run} ({one.kind}) since {_instant(one.since)}" for one in bodies]
        more = len(shown) - SHOWN_MAX
        return [*shown[:SHOWN_MAX], f"and {more} more"] if more > 0 else shown


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
