"""What becomes of a batch, and of each fact in it."""

from __future__ import annotations

import enum

import msgspec


class Reason(enum.Enum):
    """Why a fact was refused."""

    run_not_found = "run_not_found"
    run_ended = "run_ended"
    entity_ended = "entity_ended"  # the step has its terminal event
    no_entity = "no_entity"  # no such step, or child, in the log, or another one of this name
    # step_started n: n is taken or n-1 missing; step_failed, step_retrying: n is not the newest start (0: there is one)
    other_attempt = "other_attempt"
    no_live_hook = "no_live_hook"
    duplicate = "duplicate"  # of a thing that may be there once (a second child_completed, a second run_started)


class FactOutcome(enum.Enum):
    """What became of one event of a batch."""

    landed = "landed"
    already = "already"  # the same event by the same writer is in the log: as good as landed
    refused = "refused"
    early = "early"  # step_started before its retry's time; ``rest`` says how long


class FactVerdict(msgspec.Struct, frozen=True):
    """``seq``: where it stands (landed, already). ``rest``: microseconds (early)."""

    outcome: FactOutcome
    seq: int | None = None
    reason: Reason | None = None
    rest: int = 0


class Outcome(enum.Enum):
    """What became of a batch."""

    ok = "ok"
    conflict = "conflict"  # fenced: a visible event landed since; not written
    # fenced: one of its facts was refused, not written; unfenced: every fact was refused or early, see ``facts``
    refused = "refused"
    # somebody holds the row (in a call with one run: for longer than it waits); not written, append it again, singly
    busy = "busy"
