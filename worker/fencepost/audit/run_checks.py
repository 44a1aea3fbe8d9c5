"""What is wrong with one run, judged by one snapshot of its row, its log and its tokens. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import msgspec

from fencepost.audit.findings import Finding
from fencepost.audit.legality import illegal
from fencepost.audit.reading import Reading, read
from fencepost_queue.inspection import Held
from fencepost_store.inspection import Inspected
from fencepost_store.protocol import RunStatus

ILLEGAL_MAX = 5
"""Illegal events told per run: the first is the news, what follows is often its echo."""

SECOND = 1_000_000


class Thresholds(msgspec.Struct, frozen=True):
    """How long something may last before it is a finding. Seconds.

    ``overdue``: past a run's deadline, or of a message that is ready. A reconciler looks every 5 s, so a minute means
    that none does. ``lease``: past a lease's end; workers claim at least every 2 s. ``clocks``: between two hosts.
    """

    overdue: float = 60
    lease: float = 30
    clocks: float = 5


def check_run(run: Inspected, thresholds: Thresholds) -> list[Finding]:
    """All findings of a run but those that ask the queue: a run that is overdue is told as
    ``overdue_without_message``; see ``with_tick``."""
    if run.unknown:
        seq, kind = run.unknown[0]
        return [_finding(run, "log_unknown", f"event type {kind} at seq {seq}")]
    problems = list(islice(illegal(run.events), ILLEGAL_MAX))
    if problems or not run.events:
        texts = [str(problem) for problem in problems] or ["no event at all"]
        return [_finding(run, "log_illegal", "; ".join(texts))]
    reading = read(run.events)
    found = [_finding(run, "row_disagrees", text) for text in _row(run, reading)]
    return [*found, *_tokens(run, reading), *_duties(run, reading, thresholds)]


def with_tick(finding: Finding, tick: Held | None) -> Finding:
    """A finding of ``check_run``, knowing what the queue has for the run."""
    if finding.code != "overdue_without_message" or tick is None:
        return finding
    return msgspec.structs.replace(finding, code="overdue", found=f"{finding.found}; its tick is {tick.state}")


def _row(run: Inspected, reading: Reading) -> Iterator[str]:
    """Where the row says another thing than its log."""
    if run.last_seq != reading.last_seq:
        yield f"last_seq is {run.last_seq}, the log ends at {reading.last_seq}"
    if run.fence != reading.fence:
        yield f"fence is {run.fence}, the last visible event is {reading.fence}"
    if reading.queue is not None and run.queue != reading.queue:
        yield f"queue is {run.queue!r}, run_started has settled {reading.queue!r}"
    status = {int(s): s for s in RunStatus}.get(run.status)
    told = f"status is {run.status if status is None else status.name}"
    if status is None:
        yield f"{told}, which this version does not know"
    elif reading.ended is not None and status is not reading.ended:
        yield f"{told}, the log's last event makes it {reading.ended.name}"
    elif reading.ended is None and status.ended:
        yield f"{told}, the log has no end"
    elif status is RunStatus.pending and reading.started:
        yield f"{told}, the log has run_started"
    if (status is RunStatus.parked) != (run.parked is not None):
        yield f"{told}, and the reason of its parking is {'missing' if run.parked is None else 'there'}"


def _tokens(run: Inspected, reading: Reading) -> Iterator[Finding]:
    """The hooks table against the log, both ways."""
    held = dict(run.held)
    for entity, token in held.items():
        if reading.tokens.get(entity) != token:
            why = "the run has ended" if reading.ended else "its log has no such open hook"
            yield _finding(run, "token_without_hook", f"token {token!r} is held for {entity}, but {why}", token)
    for entity, token in reading.tokens.items():
        if held.get(entity) != token:
            yield _finding(run, "hook_without_token", f"{entity} is open, but nobody holds its token {token!r}", entity)


def _duties(run: Inspected, reading: Reading, thresholds: Thresholds) -> Iterator[Finding]:
    """Deadlines: I7, and whether somebody keeps to them."""
    past = None if run.wake_at is None else (run.now - run.wake_at) / SECOND
    overdue = past is not None and past > thresholds.overdue
    told = "" if past is None else f"its deadline passed {past:.0f} s ago"
    if reading.ended is not None:
        if overdue:
            yield _finding(run, "end_not_done", told)
        return
    if run.parked is not None:
        return
    owed = reading.owes()
    if owed is not None and run.wake_at is None:
        yield _finding(run, "no_deadline", f"it waits for {owed}")
    elif overdue:
        yield _finding(run, "overdue_without_message", f"{told}; it waits for {owed or 'signals'}")
    elif reading.waits_for_nothing() and run.wake_at is None:
        yield _finding(run, "waits_for_nothing", f"nothing is open after seq {reading.last_seq}")


def _finding(run: Inspected, code: str, found: str, subject: str = "") -> Finding:
    return Finding(code, found, run.run_id, subject)
