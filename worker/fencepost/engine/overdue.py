"""Steps whose time is over before they have ended: found by the run's turns, whoever serves the step's queue, and by an
executor that looks its step up.

The fact names the newest start that its writer has seen, 0 for none. A start that lands in between has it refused, so
the writer looks again (H120).
"""

from __future__ import annotations

import msgspec

from fencepost import errors
from fencepost.engine.live import LiveRun
from fencepost.engine.owed import Owed
from fencepost.failure import failure_of
from fencepost.fitting import fitted
from fencepost.records import StepCreated, StepEnded, pack, unpack
from fencepost.replay.fold import StepState
from fencepost.replay.schedule import Overdue
from fencepost_store.events import EventType, NewEvent

_SAID = {
    "schedule_to_start": "was not started",
    "schedule_to_close": "did not end, with all its attempts,",
}


def timed_out(entity: str, state: StepState, overdue: Overdue, token: str) -> NewEvent:
    """The fact for a step whose time is over. Not retried: its time is that of all attempts."""
    created = unpack(state.created.payload, StepCreated)
    seconds = getattr(created.policy, overdue.which)
    error = errors.StepTimeout(
        f"step {created.name!r} {_SAID[overdue.which]} within its {overdue.which} of {seconds:g} s"
        f" ({state.started} started)",
        which=overdue.which,
    )
    failure = msgspec.structs.replace(failure_of(error, code=errors.STEP_TIMEOUT), retryable=False)
    return NewEvent(
        type=EventType.step_failed,
        entity=entity,
        attempt=state.started,
        dedupe=token,
        payload=pack(StepEnded(error=failure)),
        of=state.created.stamp,
    )


def time_out(live: LiveRun, owed: Owed, token: str, now: int, bytes_max: int) -> None:
    """In a turn, before its decision: whatever is due by ``now`` reaches the code in the order in which it came due,
    waits and steps alike, as if each had been noticed at its time.
    """
    instance = live.instance
    assert instance is not None
    first = instance.work.step_dues.first()
    if first is None or first > now:
        instance.fire_due(now)
        return
    steps = [(found, entity) for entity, step in instance.work.steps.items() if (found := step.overdue) is not None]
    for overdue, entity in sorted((pair for pair in steps if pair[0].due <= now), key=lambda pair: pair[0].due):
        instance.fire_due(overdue.due)
        if instance.ended:
            break
        owed.overdue.add(entity)
        fact = fitted(timed_out(entity, instance.work.steps[entity], overdue, token), bytes_max)
        instance.anticipate(msgspec.structs.replace(fact, at=now))
    instance.fire_due(now)
