"""How long after a fault a run moved again, by the times of its events.

A run has something to do at a moment if the code asks for what is not in the log (a turn is owed), if a step is open
and not in the pause before a retry, or else from when its next sleep or retry is due. It has moved when its log has.
"""

from __future__ import annotations

from collections.abc import Sequence

from fencepost.records import StepStarted, unpack
from fencepost.replay.fold import OpenWork
from fencepost_store.events import Event, EventType

STORY_SECONDS = 60
"""What is told of a run that was slow to move reaches back so far."""


def recovery(log: Sequence[Event], owes: Sequence[bool], moment: int, horizon: int) -> tuple[float, float] | None:
    """Seconds from ``moment`` until there was something to do (within ``horizon`` microseconds), and from then to the
    next event. None: nothing was to be done. Infinite: it never moved. ``owes``: after each event, whether the code
    asked for what was not in the log.
    """
    count = sum(event.at <= moment for event in log)
    if count == 0:
        return None
    work = OpenWork()
    for event in log[:count]:
        work.apply(event)
    if work.ended is not None:
        return None
    ready = _ready(work, owes[count - 1], moment)
    if ready is None or ready > moment + horizon:
        return None
    idle = (ready - moment) / 1e6
    after = [event for event in log[count:] if moves(event)]
    if not after:
        return idle, float("inf")
    return idle, max(0.0, (after[0].at - ready) / 1e6)


def story(log: Sequence[Event], moment: int) -> list[str]:
    """What the log has of the time around a moment, seconds from it, up to the first sign of a worker after it."""
    since = moment - STORY_SECONDS * 1_000_000
    after = next((at for at, event in enumerate(log) if event.at > moment and moves(event)), len(log) - 1)
    lines: list[str] = []
    for event in log[: after + 1]:
        if event.at >= since:
            who = unpack(event.payload, StepStarted).worker if event.type is EventType.step_started else ""
            words = (event.type.name, event.entity, str(event.attempt or ""), who)
            lines.append(f"{(event.at - moment) / 1e6:+.3f} " + " ".join(word for word in words if word))
    return lines


def moves(event: Event) -> bool:
    """Whether an event shows that a worker is at work, and not only a client."""
    return event.type not in (EventType.hook_received, EventType.cancel_requested)


def _ready(work: OpenWork, owes: bool, moment: int) -> int | None:
    if owes or any(step.retry_due is None for step in work.steps.values()):
        return moment
    dues = [*work.waits.values(), *(step.retry_due for step in work.steps.values() if step.retry_due is not None)]
    return max(moment, min(dues)) if dues else None
