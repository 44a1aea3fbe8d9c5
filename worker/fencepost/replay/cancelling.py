"""What a cancel_requested says: why, and until when the run's code may take its time. Pure.

The grace is recorded as a length of time, and ends at the event's own ``at`` plus that. So its end is an instant by the
database clock that every reader of the log computes alike, and a fact that stands in the log needs no second one to be
kept beside it.
"""

from __future__ import annotations

import msgspec

from fencepost.records import CancelRequested, RunStopped, pack, unpack
from fencepost_store.events import Event


def request_of(event: Event) -> CancelRequested:
    """The record of a cancel_requested; one without reason and grace if there is none that can be read."""
    try:
        return unpack(event.payload, CancelRequested)
    except msgspec.MsgspecError:
        return CancelRequested()


def sooner(known: int | None, event: Event) -> int | None:
    """When the run is to be terminated, given another cancel_requested: a later request may shorten the grace, never
    lengthen it.
    """
    grace = request_of(event).grace
    if grace is None:
        return known
    over = event.at + grace
    return over if known is None else min(known, over)


def stopped(reason: str) -> bytes:
    """The payload of run_cancelled and run_terminated."""
    return pack(RunStopped(reason)) if reason else b""
