"""The one catalogue of what fencepost says in its logs: every event's name, level and meaning. ``note`` refuses a name
that is not here.

The library logs through ``logging`` and configures nothing: it has loggers below ``fencepost``, and a handler on it
that drops every record, so that an application which configures no logging sees nothing on its streams. Only the
commands send the lines somewhere (``engine/logs.py``).
"""

from __future__ import annotations

import contextlib
import json
import logging
from typing import Any

from fencepost.errors import PayloadCodecMissing, PayloadKeyMissing, PayloadUnreadable

ROOT = "fencepost"
"""The logger above all of ours: what an application sets a level or a handler on."""
WORKER, RUNS, SUPERVISOR, CLIENT = (f"{ROOT}.{name}" for name in ("worker", "runs", "supervisor", "client"))
"""What a worker process does with messages and servers; what becomes of runs and steps; what the supervisor does with
its worker processes; what a client cannot do beside its calls."""

BLOCKS = ("trace", "stack")
"""Fields of several lines, printed below the line."""

CATALOGUE: dict[str, tuple[str, str]] = {
    "worker_started": ("info", "the worker is ready and consumes: owner, queues, build"),
    "commits_not_kept": (
        "warning",
        "Postgres may lose commits when it crashes or fails over: reason, with the way out",
    ),
    "worker_draining": ("info", "no new work is taken; bodies under way are given drain_seconds"),
    "worker_stopped": ("info", "everything is handed back: how many messages were released"),
    "shutdown_failed": ("warning", "shutdown code of the user's raised, or did not end in time: code, error"),
    "http_started": ("info", "the worker serves webhooks: address"),
    "http_stopped": ("info", "no connection is accepted any more, and requests under way have ended"),
    "lease_renewal_failed": ("warning", "the queue could not be reached for a renewal: held"),
    "redelivered": ("info", "a message whose owner's lease had run out is worked on again: key, crashes"),
    "tick_handled": ("debug", "a tick has been dealt with, in as many turns as it took: run"),
    "lease_lost": ("warning", "a lease ran out or was taken by another worker; the local work is cancelled: key"),
    "lease_withdrawn": ("info", "the work is not wanted any more; the body is told: key"),
    "body_left_behind": (
        "warning",
        "a body goes on although its attempt is over, in a thread or as a task that does not leave: step, run, kind,"
        " count (in this process)",
    ),
    "body_came_back": ("info", "such a body has ended after all: step, run, kind, seconds"),
    "body_not_stopped": ("warning", "a body could not be cancelled: what it waits for refused; error"),
    "body_not_begun": (
        "warning",
        "this worker lacks what a body, or a suspect's process, needs to begin (a thread, a process, a descriptor,"
        " memory); the message is handed back and no retry is used: key, missing, delay_ms",
    ),
    "exit_contained": (
        "error",
        "user code asked to end the process, or stopped its loop, from a task or callback of its own; the worker goes"
        " on: error, trace",
    ),
    "loop_blocked": (
        "warning",
        "user code blocks the event loop, and with it all runs and async steps of the process; told after a lease, in"
        " development after 1 s: seconds, stack",
    ),
    "fence_conflict": (
        "info",
        "a turn lost its fence, for something else landed first; a new turn sees it: run, fence",
    ),
    "log_replaced": (
        "warning",
        "the log does not hold what this worker has seen of it: the database has lost commits, by a fail-over or a"
        " restart; the run goes on from the log as it is: run, seen",
    ),
    "turn_walked_away": ("warning", "the lease may have run out before the append: run"),
    "url_option_ignored": ("warning", "an option of a server's URL changes nothing: setting, reason"),
    "server_trouble": (
        "warning",
        "a call to a server failed; the message is released: key, error, delay_ms (of the first one only, until the"
        " server answers again)",
    ),
    "handed_back": (
        "debug",
        "a message is handed back, or left to its lease, for trouble with a server that the log has named: key, error",
    ),
    "server_away": (
        "warning",
        "a server does not answer, or takes no writes; nothing is claimed until it is back: server, error, handed_back"
        " (messages so far)",
    ),
    "server_back": (
        "warning",
        "a server answers again, and work goes on: server, seconds, handed_back (messages meanwhile)",
    ),
    "release_failed": ("warning", "a message could not be handed back; its lease will run out: key, error"),
    "run_parked": (
        "warning",
        "log and code disagree; the run waits for a fitting build: run, seq, recorded, asked, source",
    ),
    "turn_traced": ("info", "trace: what a turn saw and decided: run, seq, log, decision (digests), events"),
    "attempt_failed": (
        "warning",
        "a step's attempt failed: run, workflow, step, attempt, error, at (the user's line), then (what happens next),"
        " trace (not repeated while the failure is the same)",
    ),
    "run_failed": ("warning", "a run ended in failure: run, workflow, code, error, at, trace"),
    "io_in_workflow": (
        "warning",
        "in development: workflow code does input or output, which a replay repeats; do it in a step: run, workflow,"
        " what, audit (the event of Python's), at (each line once)",
    ),
    "unawaited_error": (
        "error",
        "a task of workflow code ended in an error that nobody awaits: run, workflow, message",
    ),
    "signal_dropped": (
        "warning",
        "a payload was passed over, for it does not fit the hook's type: run, token, delivery, error",
    ),
    "call_changed": (
        "info",
        "the code calls something with other options, types or defaults than the log has; what is recorded counts: run,"
        " entities",
    ),
    "arguments_changed": (
        "warning",
        "a call's recorded arguments differ from what the code passes now; the recorded ones count: run, entities,"
        " recorded, asked, at (of the first)",
    ),
    "signals_untaken": (
        "warning",
        "a hook was closed, or its run has ended, with payloads that the code has not taken: run, hook, token, count",
    ),
    "limit_near": ("warning", "a run comes near one of its limits: run, limit, value, bound"),
    "log_corrupt": ("error", "a run's log is not dense; the run is parked for an operator: run, error"),
    "workflow_missing": (
        "warning",
        "no code for this workflow in this worker; its ticks are left to others: workflow, run, lack, count",
    ),
    "code_unfit": (
        "warning",
        "a step or run needs other code and is left to other workers: name, run, lack, count",
    ),
    "payload_key_missing": (
        "warning",
        "a value is encrypted with a key that this worker does not have; the message is released: key, run",
    ),
    "heartbeat_failed": ("warning", "a step's heartbeat details could not be kept or removed: error"),
    "payload_codec_missing": (
        "warning",
        "a value was written by a codec that this worker does not have; the message is released: codec, run",
    ),
    "replay_budget": ("error", "workflow code ran beyond its budget: run, seconds, stack"),
    "code_abandoned": (
        "warning",
        "workflow code catches everything and does not leave when its live instance is dropped; it is left where it"
        " stands, and its memory is kept: run, at",
    ),
    "suspect_alone": (
        "warning",
        "a message with several crashes is run alone in a child process: key, crashes, proofs",
    ),
    "suspect_not_begun": (
        "warning",
        "a suspect's process could not load the code or reach a server; the message is released, and it is no proof:"
        " key, error",
    ),
    "suspect_crashed": ("error", "a suspect killed its child process: key, proofs"),
    "poisoned": ("error", "a message killed its process often enough; its step or run fails: key"),
    "reconciled": ("info", "the reconciler placed recovering ticks: count, full"),
    "reconcile_failed": ("warning", "a reconcile round could not be done: error"),
    "claim_failed": ("warning", "the queue could not be asked for work: queue, error"),
    "handler_failed": ("error", "a bug in fencepost: a message's handler raised; the message is released: key, error"),
    "log_lines_lost": (
        "warning",
        "lines could not be written here: nobody read them, or there was no room; said by the first that could: count,"
        " error",
    ),
    "health_file_failed": ("warning", "the health file could not be touched, told once while it is so: path, error"),
    "hint_failed": ("debug", "a hint to whoever waits could not be published: channel, error"),
    "hints_unheard": ("warning", "hints to stop work cannot be listened for; renewals tell meanwhile: error"),
    "stream_hints_unheard": (
        "warning",
        "hints that a stream has grown cannot be listened for; its reader polls meanwhile: error",
    ),
    "stream_delayed": ("warning", "chunks could not be written and are sent again: run, stream, error"),
    "run_terminated": ("info", "the grace of a run's cancellation is over; the run was ended: run, reason"),
    "body_blocks": (
        "error",
        "a body blocks the loop of its process beyond its time, or though it is not wanted; the process ends itself:"
        " key, unwanted, stack",
    ),
    "child_died": ("error", "a worker process ended unasked; another one takes its place: place, ended, error"),
    "child_draining": (
        "warning",
        "a worker process ends although nobody told it to; another one takes its place meanwhile, and it is killed if"
        " it takes longer than a drain: pid",
    ),
    "child_killed": ("error", "a worker process did not end in time, or fell silent: pid, seconds"),
    "leases_expired": ("info", "the supervisor ended the leases of a dead process: owner, count"),
    "expire_failed": ("warning", "the queue could not be told of a death; leases run out by themselves: owner, error"),
    "supervisor_stopping": ("info", "the worker processes are told to end: processes, at_once"),
    "code_changed": ("info", "a file of the project changed; the worker is replaced: file"),
}


_LOGGERS: dict[str, tuple[str, ...]] = {
    RUNS: (
        "attempt_failed",
        "arguments_changed",
        "body_blocks",
        "call_changed",
        "code_abandoned",
        "code_unfit",
        "fence_conflict",
        "limit_near",
        "log_corrupt",
        "log_replaced",
        "payload_codec_missing",
        "payload_key_missing",
        "poisoned",
        "replay_budget",
        "run_failed",
        "run_parked",
        "run_terminated",
        "stream_delayed",
        "turn_traced",
        "io_in_workflow",
        "unawaited_error",
        "workflow_missing",
    ),
    SUPERVISOR: (
        "child_died",
        "child_draining",
        "child_killed",
        "code_changed",
        "expire_failed",
        "leases_expired",
        "supervisor_stopping",
    ),
    CLIENT: ("hint_failed", "stream_hints_unheard"),
}
LOGGER_OF = dict.fromkeys(CATALOGUE, WORKER) | {event: name for name, all in _LOGGERS.items() for event in all}
"""The name of the logger that an event goes through."""

logging.getLogger(ROOT).addHandler(logging.NullHandler())  # or logging's last resort would print warnings


TOLD_BEFORE = "(its traceback stands below an earlier line)"


def note(
    event: str, *, exc_info: BaseException | None = None, raised: BaseException | None = None, **fields: Any
) -> None:
    """Log an event of the catalogue, with the traceback of ``exc_info``; that of ``raised`` is the field ``trace``, or
    has been told before, and the exception is for handlers that want it. Whatever the application's handlers, filters
    and values' ``repr`` do, this raises nothing: what cannot be logged is no reason for the engine to stop.

    The record's message is ``event key=value ...``, with a traceback or stack below it. Handlers that want the parts
    find them in the record's attributes ``event`` and ``fields``. Its ``msg`` is a template that is the same for every
    record of an event, by which error trackers group.
    """
    level = _LEVELS[CATALOGUE[event][0]]
    logger = logging.getLogger(LOGGER_OF[event])
    if not logger.isEnabledFor(level):
        return
    fields = {key: value for key, value in fields.items() if key not in BLOCKS or value}
    inline = {key: value for key, value in fields.items() if key not in BLOCKS}
    template = " ".join((event, *(f"{key}=%({key})s" for key in inline)))
    try:
        shown = ({key: shown_value(value) for key, value in inline.items()},) if inline else ()
        block = "\n".join(str(fields[key]) for key in BLOCKS if key in fields)
        if raised is not None:
            exc_info, block = raised, block or TOLD_BEFORE
        extra = {"event": event, "fields": fields, "block": block}
        logger.log(level, template, *shown, exc_info=exc_info, extra=extra, stacklevel=2)
    except Exception:  # noqa: BLE001 - a handler's, a filter's, a repr's
        _lose(logger.name, level, event)


def _lose(logger: str, level: int, event: str) -> None:
    """Say that an event could not be logged, and why, as ``logging`` does for its own handlers' errors."""
    record = logging.LogRecord(logger, level, __file__, 0, event, (), None)
    with contextlib.suppress(Exception):  # there is no place left to say anything
        logging.Handler().handleError(record)


def shown_value(value: object) -> str:
    """The value as it stands behind ``key=`` in a line: quoted where a reader could not see its end."""
    text = value if isinstance(value, str) else repr(value)
    plain = bool(text) and text.isprintable() and not any(character in text for character in ' "=')
    return text if plain else json.dumps(text, ensure_ascii=False)


class _Blocks(logging.Filter):
    """Any formatter prints ``exc_text`` below the line; a record cannot be made with it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always True."""
        block: str = getattr(record, "block", "")
        if block:  # a formatter makes no text of ``exc_info`` where there is one
            record.exc_text = block
        return True


for _name in {ROOT, *LOGGER_OF.values()}:  # each: a logger's filters see its own records only
    logging.getLogger(_name).addFilter(_Blocks())

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def note_lacking(missing: PayloadUnreadable, run: str) -> None:
    """Log which key or codec a worker lacks for a run's values."""
    match missing:
        case PayloadKeyMissing():
            note("payload_key_missing", key=missing.key, run=run)
        case PayloadCodecMissing():
            note("payload_codec_missing", codec=missing.codec, run=run)
        case _:
            raise AssertionError(f"a lack without a name: {missing!r}")
