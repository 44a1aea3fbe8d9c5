"""What an audit can find: one catalogue, from which the documents' table is made."""

from __future__ import annotations

import enum

import msgspec


class Severity(enum.Enum):
    """error: the protocol does not allow it, or a run stands still. warning: somebody should look. info: as it may
    be."""

    error = "error"
    warning = "warning"
    info = "info"


class Rule(msgspec.Struct, frozen=True):
    """One kind of finding. ``means``: what it does to the application. ``way_out``: what to do."""

    severity: Severity
    means: str
    way_out: str
    repair: str = ""


class Finding(msgspec.Struct, frozen=True):
    """``code``: a name of ``CATALOGUE``. ``run``: its id, None if it is of a server or queue. ``subject``: the entity,
    token, message or server. ``found``: what was seen, in words."""

    code: str
    found: str
    run: str | None = None
    subject: str = ""

    @property
    def rule(self) -> Rule:
        """What its kind means."""
        return CATALOGUE[self.code]

    @property
    def identity(self) -> tuple[str, str | None, str]:
        """By which a second look recognises it."""
        return self.code, self.run, self.subject


_DAMAGE = (
    "the run can not be trusted: `fencepost runs show ID`, then end it with `fencepost runs terminate ID` and start"
    " another; find out who wrote to the database beside fencepost, or whether a backup was put back in part"
)
_MISLAID = "the next enqueue of the same message heals it; `--repair` does that now"


def _error(means: str, way_out: str, repair: str = "") -> Rule:
    return Rule(Severity.error, means, way_out, repair)


def _warning(means: str, way_out: str, repair: str = "") -> Rule:
    return Rule(Severity.warning, means, way_out, repair)


CATALOGUE: dict[str, Rule] = {
    "log_illegal": _error("an event stands where the event table does not allow it, or one is missing", _DAMAGE),
    "log_unknown": _error(
        "the log has an event that this version does not know",
        "use the version of fencepost that the workers use",
    ),
    "row_disagrees": _error("the run's row and its log say different things, so its fence can not be trusted", _DAMAGE),
    "hook_without_token": _error(
        "signals to an open hook are refused: senders are told that nobody listens",
        "end the run with `fencepost runs terminate ID` and start another",
    ),
    "token_without_hook": _error(
        "the token stays taken: other runs that ask for it get HookConflict, signals to it are refused",
        "delete the row from the namespace's table `hooks`",
    ),
    "token_without_run": _error(
        "the token stays taken by a run that does not exist",
        "delete the row from the namespace's table `hooks`",
    ),
    "no_deadline": _error(
        "something is owed to the run and nobody will look at it if its message is lost",
        "`fencepost doctor --repair`",
        "sets a deadline and places a recovering tick",
    ),
    "overdue_without_message": _error(
        "its deadline has passed, no reconciler took it, and the queue has nothing for it: it stands still",
        "start a worker of this namespace; each one reconciles. `--repair` places the tick now",
        "places a recovering tick",
    ),
    "overdue": _warning(
        "its deadline has passed and no reconciler took it; its message is in the queue",
        "start a worker of this namespace that serves its queue",
    ),
    "end_not_done": _warning(
        "the run has ended, and what follows from that (its parent, its children, its steps) may not be done",
        "start a worker of this namespace; `--repair` places the tick now",
        "places a recovering tick",
    ),
    "child_missing": _error(
        "the run waits for a child that does not exist",
        "`fencepost doctor --repair`; a child whose rows were deleted by hand starts from its beginning then",
        "places a recovering tick, which makes the child",
    ),
    "end_not_told": _error(
        "the run has ended, and its parent waits for its end",
        "`fencepost doctor --repair`",
        "places a recovering tick, which tells the parent",
    ),
    "child_unknown": _error("the run names a parent that never asked for it: nobody waits for its end", _DAMAGE),
    "successor_missing": _error(
        "the run has continued as new, and the run that goes on does not exist: the chain stands still",
        "`fencepost doctor --repair`; a run whose rows were deleted by hand starts from its beginning then",
        "places a recovering tick, which makes the successor",
    ),
    "attributes_disagree": _error(
        "the run is found by attributes that its log does not give it, or not found by those that it has",
        "set the row in the namespace's table `run_attributes` as the log says (`fencepost runs events ID`)",
    ),
    "rows_without_run": _warning(
        "rows are left of a run that does not exist: they cost room and are read by nobody",
        "delete them from the table that is named, where `run_id` is the run's",
    ),
    "waits_for_nothing": _warning(
        "nothing is open, no signal can reach it: it waits until it is cancelled",
        "look at its code; end it with `fencepost runs cancel ID`",
    ),
    "message_without_run": _warning(
        "a message asks for work on a run that is not in Postgres",
        "after a restore of Postgres this is to be expected; a worker drops it, or `--repair`",
        "withdraws it, unless a worker has it",
    ),
    "message_of_ended_run": _warning(
        "a message of a run that has ended waits for longer than it should: nobody serves its queue",
        "start a worker that serves the queue, or `--repair`",
        "withdraws it, unless a worker has it or the run's end is not done",
    ),
    "message_mislaid": _warning(
        "a message has lost its place in the queue's order: no worker finds it", _MISLAID, "places the message again"
    ),
    "suspect": _warning(
        "work on this message has ended its worker process again and again",
        "look at the workers' logs and the step's memory; it is run alone, and fails if it does it there too",
    ),
    "lease_over": _warning(
        "a lease has run out and nobody has taken the message over: no worker claims from this queue",
        "start a worker that serves the queue",
    ),
    "ready_too_long": _warning(
        "work waits: no worker serves this queue, or too few",
        "start workers for the queue: `fencepost worker MODULE --queues QUEUE`",
    ),
    "queue_refused": _error(
        "workers refuse this Redis: it may lose what it holds, or is not fit", "as the message says"
    ),
    "queue_unreachable": _error("the queue was not audited", "see that Redis runs and can be reached from here"),
    "commits_not_kept": _warning(
        "Postgres may lose what it has committed when it crashes or fails over: steps that have ended may run again,"
        " and signals that were accepted are gone",
        "turn `synchronous_commit`, `fsync` and `full_page_writes` on for fencepost's role, database or server, and"
        " name a synchronous standby, or accept it",
    ),
    "clocks_differ": _warning(
        "nothing in fencepost depends on it, but logs of hosts are hard to compare",
        "set the clocks by NTP",
    ),
}
"""Every code, in the order of the documents."""
