"""The vocabulary of the log: which events exist, who may write them, and what each one does to the fence.

The table ``KINDS`` is the single statement of this. The SQL function ``append`` gets its copy from the generated
``event_kinds`` rows of the schema, the in-memory model reads it directly, and ``docs/protocol.md`` is checked
against it by a test.

Terms (docs/protocol.md section 1): a *fact* records what happened, whoever saw what; a *decision* was caused by the
workflow's code, so it depends on the log prefix it was derived from and is fenced; a *visible* event can be noticed
by the code and therefore moves the fence.
"""

from __future__ import annotations

import enum

import msgspec

TERMINAL_ORDINAL = 32767
"""The ordinal of an entity's one terminal event (the unique index on (run_id, entity, ordinal) makes it one)."""


class EventType(enum.IntEnum):
    """Every event of the protocol. The number is what the ``events.type`` column holds; it never changes."""

    run_created = 1
    run_started = 2
    run_completed = 3
    run_failed = 4
    run_cancelled = 5
    run_terminated = 6
    run_continued = 7
    step_created = 10
    step_started = 11
    step_retrying = 12
    step_completed = 13
    step_failed = 14
    step_cancelled = 15
    wait_created = 20
    wait_completed = 21
    wait_cancelled = 22
    hook_created = 30
    hook_conflict = 31
    hook_received = 32
    hook_disposed = 33
    hook_inherited = 34
    child_created = 40
    child_cancel_requested = 41
    child_completed = 42
    child_failed = 43
    child_abandoned = 44
    marker = 50
    attributes_set = 51
    cancel_requested = 52


class Role(enum.Enum):
    """What an event is to its entity; decides the ordinal that the unique index guards."""

    creation = "creation"  # ordinal 0
    start = "start"  # ordinal n, the n-th start of a step's body (run_started: 1)
    retry = "retry"  # ordinal -n: at most one step_retrying per attempt
    terminal = "terminal"  # ordinal TERMINAL_ORDINAL
    once = "once"  # ordinal 1: may happen once per entity (child_cancel_requested)
    many = "many"  # no ordinal


class Kind(msgspec.Struct, frozen=True):
    """One row of the event table of the protocol (section 3)."""

    decision: bool
    visible: bool
    role: Role
    ends_run: bool = False


def _fact(role: Role, *, visible: bool = True, ends_run: bool = False) -> Kind:
    return Kind(decision=False, visible=visible, role=role, ends_run=ends_run)


def _decision(role: Role, *, ends_run: bool = False) -> Kind:
    return Kind(decision=True, visible=True, role=role, ends_run=ends_run)


KINDS: dict[EventType, Kind] = {
    EventType.run_created: _fact(Role.creation),
    EventType.run_started: _fact(Role.start),
    EventType.run_completed: _decision(Role.terminal, ends_run=True),
    # run_failed is a decision when the workflow's code failed and a fact when an escape hatch ends the run
    # (MAX_DELIVERIES_EXCEEDED, REPLAY_TIMEOUT, LIMIT_EXCEEDED): the batch it comes in says which, by its fence.
    EventType.run_failed: _decision(Role.terminal, ends_run=True),
    EventType.run_cancelled: _decision(Role.terminal, ends_run=True),
    EventType.run_terminated: _fact(Role.terminal, ends_run=True),
    EventType.run_continued: _decision(Role.terminal, ends_run=True),
    EventType.step_created: _decision(Role.creation),
    EventType.step_started: _fact(Role.start, visible=False),
    EventType.step_retrying: _fact(Role.retry, visible=False),
    EventType.step_completed: _fact(Role.terminal),
    EventType.step_failed: _fact(Role.terminal),
    EventType.step_cancelled: _decision(Role.terminal),
    EventType.wait_created: _decision(Role.creation),
    EventType.wait_completed: _decision(Role.terminal),
    EventType.wait_cancelled: _decision(Role.terminal),
    EventType.hook_created: _decision(Role.creation),
    EventType.hook_conflict: _decision(Role.creation),  # written by append in hook_created's place
    EventType.hook_received: _fact(Role.many),
    EventType.hook_disposed: _decision(Role.terminal),
    EventType.hook_inherited: _fact(Role.creation),  # written by append, in the log of the run that goes on
    EventType.child_created: _decision(Role.creation),
    EventType.child_cancel_requested: _decision(Role.once),
    EventType.child_completed: _fact(Role.terminal),
    EventType.child_failed: _fact(Role.terminal),
    EventType.child_abandoned: _decision(Role.terminal),
    EventType.marker: _decision(Role.creation),
    EventType.attributes_set: _decision(Role.creation),
    EventType.cancel_requested: _fact(Role.many),
}

UNFENCED_ENDINGS = frozenset({EventType.run_failed, EventType.run_terminated})
"""Run endings that may come in a batch without a fence: the escape hatches."""


INHERITED = "inherited:"
"""What the entity of a hook_inherited begins with, before its number. Entities of the code's own begin with a name, and
end in ``#`` and a number."""


class Handover(msgspec.Struct, frozen=True):
    """A hook of a run that continues as new, for the run that goes on: its token, its entity in the log of the run that
    ends, and the seqs of its hook_received events that the code has not taken."""

    token: str
    entity: str
    seqs: tuple[int, ...] = ()


class NewEvent(msgspec.Struct, frozen=True):
    """An event that somebody wants in the log.

    ``attempt``: for step_started, step_retrying, step_completed and step_failed, the attempt it speaks of (1, 2, ...);
    step_failed may say 0, of a step that was never started; 0 for everything else. ``due``: for wait_created the
    instant (database clock, microseconds since the epoch); ``due_in``: for step_retrying the delay in microseconds,
    turned into an instant under the lock. ``token``: for hook_created; for child_completed and child_failed the id of
    the child's first run, compared with child_created's ``dedupe`` (None: not). ``dedupe``: for hook_received and
    cancel_requested the sender's delivery id (unique per run); for step facts the executor's delivery token, by which
    the same writer asking again is recognised; for child_completed and child_failed the id of the run that tells; else
    None. ``at``: the time that the writer has already delivered this
    event with (an extrapolated database clock, microseconds), stored as it is; None = now. ``payload``: bytes whose
    first byte names the codec; opaque to the store, but for attributes_set (attributes.py). ``of``: of a fact without
    a fence, the stamp of its entity's creation as its writer saw it; None: not compared.
    """

    type: EventType
    entity: str = ""
    attempt: int = 0
    due: int | None = None
    due_in: int | None = None
    token: str | None = None
    dedupe: str | None = None
    at: int | None = None
    payload: bytes = b""
    of: int | None = None


class Event(msgspec.Struct, frozen=True):
    """An event of the log. ``at`` and ``due`` are microseconds since the epoch by the database clock. run_created has a
    ``due`` if the run may start no sooner.

    hook_created, hook_conflict and hook_inherited keep their ``token``. hook_conflict's ``payload`` is the one of the
    hook_created that was asked; its ``dedupe`` names the owner run. hook_inherited's ``payload`` is that of the hook
    which the run before had. ``stamp``: that of the append which brought it, see ``stamps.py``.
    """

    seq: int
    type: EventType
    entity: str
    attempt: int
    at: int
    due: int | None
    token: str | None
    dedupe: str | None
    payload: bytes
    stamp: int = 0


def ordinal(event_type: EventType, attempt: int) -> int | None:
    """The ordinal under which the event stands in the unique index; None where an entity may have many."""
    role = KINDS[event_type].role
    if role is Role.creation:
        return 0
    if role is Role.start:
        return attempt or 1
    if role is Role.retry:
        return -attempt
    if role is Role.terminal:
        return TERMINAL_ORDINAL
    if role is Role.once:
        return 1
    return None
