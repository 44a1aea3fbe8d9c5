"""What a run_created says of the run's beginning: when, and with which attributes. Pure.

A start may be put off: run_created then has a ``due``. For the code the run begins at that instant, whatever the clock
said when the run was made, so its timeouts count from there. A run that was asked to cancel before it never begins: its
code is not called, and its end is the cancellation.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from fencepost import records
from fencepost.replay.cancelling import request_of
from fencepost_store.events import Event, EventType


def beginning(created: Event) -> int:
    """The workflow's time at its first line, microseconds."""
    return max(created.at, created.due or 0)


def cancelled_before(created: Event, events: Iterable[Event]) -> str | None:
    """The reason of a cancellation that came before the start; None: there is none. ``events``: of the log, as far as
    they are known.
    """
    if created.due is None:
        return None
    for event in events:
        if event.type is EventType.run_started:
            return None
        if event.type is EventType.cancel_requested and event.at < created.due:
            return request_of(event).reason
    return None


def put_off(events: Iterable[Event], now: int) -> int | None:
    """The instant of a start that is still to come; None: the run may have its turn, if only to end."""
    known = tuple(events)
    if not known or known[0].type is not EventType.run_created:
        return None
    due = known[0].due
    return due if due is not None and due > now and cancelled_before(known[0], known) is None else None


def attributes_in(created: bytes) -> dict[str, str]:
    """The attributes in a run_created payload."""
    try:
        return records.unpack(created, _Attributes).attributes
    except msgspec.MsgspecError:
        return {}


class _Attributes(msgspec.Struct, frozen=True):
    """The one field of records.RunCreated that is of interest here."""

    attributes: dict[str, str] = {}
