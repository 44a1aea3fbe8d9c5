"""By when a step must have started, and by when it must have ended: read from its creation, whatever became of it.

Pure. Instants are microseconds by the database clock, counted from the time of step_created.
"""

from __future__ import annotations

import msgspec

from fencepost.records import Policy, unpack


class Bounds(msgspec.Struct, frozen=True):
    """The part of a step's policy that its run enforces, seconds."""

    schedule_to_start: float | None = None
    schedule_to_close: float | None = None


class _Scheduled(msgspec.Struct, frozen=True):
    """What is read of a step_created: neither its arguments nor the rest of its policy."""

    policy: Bounds = Bounds()


UNBOUND = Bounds()


def bounds_in(payload: bytes) -> Bounds:
    """The bounds that a step_created payload carries; UNBOUND itself if it carries none."""
    try:
        found = unpack(payload, _Scheduled).policy
    except msgspec.MsgspecError:  # written by something else: whoever reads the whole of it says so
        return UNBOUND
    return UNBOUND if found == UNBOUND else found


class Overdue(msgspec.Struct, frozen=True):
    """A bound with its instant. ``which``: the name of the policy's field."""

    due: int
    which: str


def first_bound(at: int, bounds: Bounds | Policy, started: int) -> Overdue | None:
    """The bound that a step created ``at``, with so many starts, comes to first; None: it has none."""
    found: Overdue | None = None
    if bounds.schedule_to_close is not None:
        found = Overdue(at + int(bounds.schedule_to_close * 1_000_000), "schedule_to_close")
    if bounds.schedule_to_start is not None and started == 0:
        due = at + int(bounds.schedule_to_start * 1_000_000)
        if found is None or due <= found.due:
            found = Overdue(due, "schedule_to_start")
    return found
