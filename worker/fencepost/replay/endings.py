"""How a run ends: what the root task's outcome means for the log."""

from __future__ import annotations

import asyncio
from typing import cast

import msgspec

from fencepost import records
from fencepost.records import RunContinued, pack
from fencepost.replay.cancelling import stopped
from fencepost.replay.interface import Asking, Program
from fencepost.replay.limits import ContinueAsNew, Evicted, ReplayBudgetExceeded
from fencepost.replay.tasks import WorkflowTask
from fencepost_store.events import Event, EventType, NewEvent

ESCAPES = frozenset({"MAX_DELIVERIES_EXCEEDED", "REPLAY_TIMEOUT", "LIMIT_EXCEEDED", "CORRUPTED_EVENT_LOG"})
"""Codes of run_failed as a fact: written by an escape hatch, whatever the code was doing."""


CONTINUING = "continue_as_new"
"""The entity that the successor's run id is derived from. Entities of the log have a counter, so none is called so."""


def ending_of(asking: Asking, root: WorkflowTask, program: Program, *, cancelled_for: str | None) -> NewEvent:
    """The run's terminal decision. ``cancelled_for``: the reason, if it was asked to cancel. Raises what must not
    become a user's error: ReplayBudgetExceeded.
    """
    try:
        error = root.exception()
    except asyncio.CancelledError as cancelled:
        if cancelled_for is not None:
            return NewEvent(EventType.run_cancelled, payload=stopped(cancelled_for))
        error = cancelled
    if error is None:
        return NewEvent(EventType.run_completed, payload=root.result())
    if _is(error, (ReplayBudgetExceeded, Evicted)):
        raise error
    again = _continuing(error)
    if again is not None:
        return NewEvent(
            EventType.run_continued,
            payload=pack(
                RunContinued(
                    asking.derived_run_id(CONTINUING), again.encoded, dict(asking.attributes), again.fingerprint
                )
            ),
        )
    return NewEvent(EventType.run_failed, payload=program.failure(error))


def _continuing(error: BaseException) -> ContinueAsNew | None:
    """The request to go on as another run; out of a task group it comes with a group around it."""
    while _is(error, BaseExceptionGroup):
        members = cast("BaseExceptionGroup[BaseException]", error).exceptions
        if len(members) != 1:
            return None
        error = members[0]
    return cast(ContinueAsNew, error) if _is(error, ContinueAsNew) else None


def _is(error: BaseException, classes: type | tuple[type, ...]) -> bool:
    """By its type: ``isinstance`` asks the instance too, whose ``__class__`` may raise what it likes."""
    return issubclass(type(error), classes)


def is_escape(event: Event) -> bool:
    """True if a run_failed is a fact that an escape hatch wrote."""
    try:
        return records.unpack(event.payload, records.RunFailed).error.code in ESCAPES
    except msgspec.MsgspecError:
        return False
