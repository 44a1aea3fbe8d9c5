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
from fencepost.replay.interface import Program
from fencepost_store.events import Event, EventType

DEFAULT_QUEUE = "default"
"""Where the turns of a run are done if nobody has said anything else."""

OPEN = b"\xa4open"
"""How the name of what is left open stands in a run_created payload: one without these bytes leaves nothing open."""


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


def input_of(program: Program, created: Event, events: Iterable[Event], builds: frozenset[str]) -> tuple[bytes, bool]:
    """What the code is called with: the payload of run_created, in which nothing is left open any more. True with it:
    the first turn has still to write down what it has settled. ``events``: of the log, as far as they are known.
    ``builds``: which starters by name have meant this very code.

    The code that has the first turn settles what the starter has left open. Whatever code replays the run later takes
    that from run_started.
    """
    if OPEN not in created.payload:
        return created.payload, False
    record = records.unpack(created.payload, records.RunCreated)
    known = tuple(events)
    begun = next((event for event in known if event.type is EventType.run_started), None)
    if not record.open:
        return created.payload, False
    # A log that says how the code failed has been judged: a replay must come to the same.
    judged = any(event.type is EventType.run_failed for event in known)
    own = bool(record.build) and (judged or record.build in builds)
    settled = None if begun is None else records.unpack(begun.payload, records.RunStarted)
    timeout = record.timeout
    if records.TIMEOUT in record.open:
        timeout = program.timeout if settled is None else settled.timeout
    data = program.completed(record.input) if settled is None else settled.input or record.input
    return records.pack(msgspec.structs.replace(record, input=data, open=(), timeout=timeout, own=own)), begun is None


def completed_in(program: Program, created: bytes) -> bytes:
    """The input of a run_created payload with the code's defaults; empty if it has them all (H165)."""
    given = records.unpack(created, records.RunCreated).input
    found = program.completed(given)
    return b"" if found == given else found


def wanted_queue(program: Program, created: Event, queue: str) -> str | None:
    """Where a run that has had no turn is to be moved to: its code has a queue, and nobody has said another. None: it
    stays. ``queue``: where it is. Once it has been moved it is not moved again, whatever other code wants.
    """
    if program.queue in (None, queue) or queue != DEFAULT_QUEUE or OPEN not in created.payload:
        return None
    return program.queue if records.QUEUE in records.unpack(created.payload, records.RunCreated).open else None


def attributes_in(created: bytes) -> dict[str, str]:
    """The attributes in a run_created payload."""
    try:
        return records.unpack(created, _Attributes).attributes
    except msgspec.MsgspecError:
        return {}


class _Attributes(msgspec.Struct, frozen=True):
    """The one field of records.RunCreated that is of interest here."""

    attributes: dict[str, str] = {}
