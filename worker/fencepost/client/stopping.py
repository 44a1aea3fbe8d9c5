"""Ending a run from outside: asking its code to, or not asking.

Both are facts: they land whatever the run is doing, and when a call returns, its fact is in the log. A call whose reply
was lost is repeated under the same id, so that it counts once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import uuid_utils

from fencepost import errors
from fencepost.client.chain import successor
from fencepost.client.ticks import send_tick
from fencepost.client.trouble import public_errors
from fencepost.durations import Duration, seconds_of
from fencepost.log import Landed, NotWritten
from fencepost.records import CancelRequested, RunStopped, pack
from fencepost.telemetry import note
from fencepost_queue.protocol import Entry, QueueTrouble, tick_key
from fencepost_store.events import EventType, NewEvent
from fencepost_store.protocol import Batch, FactOutcome, StoreTrouble
from fencepost_store.protocol import Run as Row

if TYPE_CHECKING:
    from fencepost.client.client import Connected

TRIES = 3
"""How often a fact is sent whose reply was lost."""

REASON_MAX = 1_000
"""Characters of a reason: it stands in the log twice and in error messages."""

GRACE_SECONDS_MAX = 366 * 24 * 3600
"""A grace beyond a year is a mistake in the unit."""


async def cancel(connected: Connected, run_id: str, reason: str, grace: Duration | None, delivery: str | None) -> None:
    """Land cancel_requested, and tick the run. Raises as ``Run.cancel`` does."""
    record = CancelRequested(_checked(reason), _microseconds(grace))
    given = f"cancel:{delivery or uuid_utils.uuid7()}"  # apart from the ids of signals: both are unique in one run
    event = NewEvent(type=EventType.cancel_requested, dedupe=given, payload=pack(record))
    with public_errors():
        row = await _row(connected, run_id)
        while not await _landed(connected, row.run_id, event):
            row = await _going_on(connected, row.run_id)
        await _tell(connected, row)


async def terminate(connected: Connected, run_id: str, reason: str) -> None:
    """Land run_terminated, tell who waits, and tick the run: the turn takes back what its steps have under way. Raises
    as ``Run.terminate`` does.
    """
    given = str(uuid_utils.uuid7())
    event = NewEvent(type=EventType.run_terminated, dedupe=given, payload=pack(RunStopped(_checked(reason))))
    with public_errors():
        row = await _row(connected, run_id)
        while not await _landed(connected, row.run_id, event) and not await _ended_by(connected, row.run_id, given):
            row = await _going_on(connected, row.run_id)
        await _tell(connected, row, ended=True)


def _checked(reason: str) -> str:
    if not isinstance(cast(object, reason), str):
        raise errors.ArgumentError(f"reason = {reason!r}: must be a text, not {type(reason).__name__}")
    if len(reason) > REASON_MAX:
        raise errors.ArgumentError(f"reason has {len(reason)} characters, at most {REASON_MAX} are kept: shorten it")
    return reason


def _microseconds(grace: Duration | None) -> int | None:
    if grace is None:
        return None
    try:
        seconds = seconds_of(grace, "grace", most=GRACE_SECONDS_MAX, above=True)
    except (TypeError, ValueError) as error:
        raise errors.ArgumentError(f"{error}; to end the run at once use terminate") from None
    return max(1, int(seconds * 1_000_000))


async def _row(connected: Connected, run_id: str) -> Row:
    row = await connected.store.get(run_id)
    if row is None:
        raise errors.RunNotFound(run_id)
    return row


async def _going_on(connected: Connected, run_id: str) -> Row:
    """The run that goes on for one that has ended. Raises RunEnded if none does."""
    found = await successor(connected, await _row(connected, run_id))
    if found is None:
        raise errors.RunEnded(run_id)
    return await _row(connected, found)


async def _landed(connected: Connected, run_id: str, event: NewEvent) -> bool:
    """Send the fact until there is a verdict. False: the run has ended."""
    grace = int(connected.config.grace_seconds * 1_000_000)
    batch = Batch(run_id=run_id, fence=None, events=(event,), grace=grace)
    for left in reversed(range(TRIES)):
        try:
            written = await connected.log.append(batch)
        except StoreTrouble:
            if left == 0:
                raise
            continue
        if isinstance(written, NotWritten):
            return False
        return isinstance(written, Landed) or written.facts[0].outcome is FactOutcome.already
    raise AssertionError("unreachable: the last try returns or raises")


async def _ended_by(connected: Connected, run_id: str, given: str) -> bool:
    """True if the run's end is ours: it had landed, and its reply was lost."""
    row = await _row(connected, run_id)
    loaded = await connected.store.load(run_id, row.last_seq - 1)
    return loaded is not None and bool(loaded.events) and loaded.events[-1].dedupe == given


async def _tell(connected: Connected, row: Row, *, ended: bool = False) -> None:
    """Hints. If Redis cannot be told, the reconciler comes by the deadline that the fact has lowered."""
    channel = tick_key(row.run_id)
    try:
        await send_tick(connected.queue, Entry(queue=row.queue, key=channel))
        if ended:
            channel = f"ended:{row.run_id}"
            await connected.queue.publish(channel, b"")
    except QueueTrouble as trouble:
        note("hint_failed", channel=channel, error=str(trouble))
