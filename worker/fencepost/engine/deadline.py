"""The deadline of a run, I7: by when the reconciler looks at it, whatever happened to Redis (docs/protocol.md section
4, F10).

Pure. All times in microseconds by the database clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from fencepost.records import StepCreated
from fencepost.replay.fold import OpenWork
from fencepost.replay.schedule import first_bound
from fencepost_store.events import KINDS, EventType, NewEvent

SECOND = 1_000_000


class DeadlineRules(msgspec.Struct, frozen=True):
    """The settings behind a deadline, microseconds."""

    grace: int = 10 * SECOND
    recovery: int = 60 * SECOND
    recovery_max: int = 3600 * SECOND
    near: int = 600 * SECOND

    @property
    def slack(self) -> int:
        """How far a recovery deadline may be from its exact value, so that a busy run writes the indexed column
        rarely.
        """
        return self.recovery // 2


def timed_wake(due: int, now: int, rules: DeadlineRules) -> int:
    """For a wait, a retry, a step's time, a start that was put off or the end of a cancellation's time: when it comes
    near, if that is ahead; else a grace after it is due, for the queue has its delayed message.
    """
    wake = due - rules.near
    return wake if wake > now else max(due, now) + rules.grace


def deadline(
    work: OpenWork,
    events: Sequence[NewEvent],
    now: int,
    rules: DeadlineRules,
    current: int | None,
    *,
    parent: bool = False,
    steps: Mapping[str, StepCreated] | None = None,
) -> int | None:
    """The deadline after ``events`` have landed on ``work``; ``current`` is what the run has now, as far as the writer
    knows. ``parent``: the run is a child, and its end has to be told. ``steps``: the new steps as they are recorded,
    each that ``events`` creates.

    None: only signals are awaited and nothing is owed, or the run has ended and owes nothing to others.
    """
    steps = steps or {}
    opened = 0
    children = 0
    closed: set[str] = set()
    news: dict[str, int] = {}
    for event in events:
        if KINDS[event.type].ends_run:
            kin = parent or len(work.children) + children > 0 or bool(work.abandoned)
            owes = kin or event.type is EventType.run_continued
            return now + rules.grace if owes else None
        match event.type:
            case EventType.step_created:
                opened += 1
                if (first := first_bound(now, steps[event.entity].policy, 0)) is not None:
                    news[event.entity] = first.due
            case EventType.step_completed | EventType.step_failed | EventType.step_cancelled:
                closed.add(event.entity)
                news.pop(event.entity, None)
                opened -= 1
            case EventType.child_created:
                children += 1
            case EventType.child_abandoned:
                children -= 1
            case EventType.wait_created:
                news[event.entity] = event.due or 0
            case EventType.wait_completed | EventType.wait_cancelled:
                closed.add(event.entity)
                news.pop(event.entity, None)
            case _:
                pass
    if work.ended is not None:
        return None
    # Of what is open only the first due times are looked at, near and far: this is asked in every turn, however much is
    # open.
    horizon = now + rules.near
    open_dues = (work.wait_dues, work.retry_dues, work.step_dues)
    dues = [*news.values(), *(due for dues in open_dues for due in dues.firsts(horizon, closed))]
    timed = [timed_wake(due, now, rules) for due in dues]
    if work.terminate_at is not None:
        timed.append(timed_wake(work.terminate_at, now, rules))
    owing = len(work.steps) + opened > 0 or len(work.children) + children > 0
    recovery = _recovery(work, now, rules, current, timed) if owing else None
    return min([*timed, *([recovery] if recovery is not None else [])], default=None)


def _recovery(work: OpenWork, now: int, rules: DeadlineRules, current: int | None, timed: Sequence[int]) -> int:
    interval = min(max(now - work.last_at, rules.recovery), rules.recovery_max)
    exact = now + interval
    if current is not None and current not in timed and exact - rules.slack <= current <= exact + rules.slack:
        return current
    return exact + rules.slack // 2
