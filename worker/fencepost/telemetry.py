"""The one catalogue of what fencepost says in its logs: every event's name, level and meaning. ``note`` refuses a name
that is not here.
"""

from __future__ import annotations

from typing import Any

import structlog

from fencepost.errors import PayloadCodecMissing, PayloadKeyMissing, PayloadUnreadable

CATALOGUE: dict[str, tuple[str, str]] = {
    "worker_started": ("info", "the worker is ready and consumes: owner, queues, build"),
    "worker_draining": ("info", "no new work is taken; bodies under way are given drain_seconds"),
    "worker_stopped": ("info", "everything is handed back: how many messages were released"),
    "http_started": ("info", "the worker serves webhooks: address"),
    "http_stopped": ("info", "no connection is accepted any more, and requests under way have ended"),
    "lease_renewal_failed": ("warning", "the queue could not be reached for a renewal: held"),
    "redelivered": ("info", "a message whose owner's lease had run out is worked on again: key, crashes"),
    "tick_handled": ("debug", "a tick has been dealt with, in as many turns as it took: run"),
    "lease_lost": ("warning", "a lease ran out or was taken by another worker; the local work is cancelled: key"),
    "lease_withdrawn": ("info", "the work is not wanted any more; the body is told: key"),
    "loop_blocked": ("warning", "user code blocks the event loop for longer than the lease: seconds, stack"),
    "fence_conflict": ("debug", "a turn lost its fence and leaves: run, conflicts"),
    "turn_walked_away": ("warning", "the lease may have run out before the append: run"),
    "server_trouble": (
        "warning",
        "a server could not be reached or understood; the message is released: key, error, delay_ms",
    ),
    "release_failed": ("warning", "a message could not be handed back; its lease will run out: key, error"),
    "run_parked": (
        "warning",
        "log and code disagree; the run waits for a fitting build: run, seq, recorded, asked, source",
    ),
    "turn_traced": ("info", "trace: what a turn saw and decided: run, seq, log, decision (digests), events"),
    "run_failed": ("info", "a run ended in failure: run, code, message"),
    "arguments_changed": ("info", "a step's recorded arguments differ from what the code passes now: run, entities"),
    "limit_near": ("warning", "a run comes near one of its limits: run, limit, value, bound"),
    "log_corrupt": ("error", "a run's log is not dense; the run is parked for an operator: run, error"),
    "workflow_missing": ("warning", "no code for this workflow in this worker; the tick is released: workflow, run"),
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
    "suspect_alone": (
        "warning",
        "a message with several crashes is run alone in a child process: key, crashes, proofs",
    ),
    "suspect_crashed": ("error", "a suspect killed its child process: key, proofs"),
    "poisoned": ("error", "a message killed its process often enough; its step or run fails: key"),
    "reconciled": ("info", "the reconciler placed recovering ticks: count, full"),
    "reconcile_failed": ("warning", "a reconcile round could not be done: error"),
    "claim_failed": ("warning", "the queue could not be asked for work: queue, error, delay_ms"),
    "handler_failed": ("error", "a bug in fencepost: a message's handler raised; the message is released: key, error"),
    "health_file_failed": ("warning", "the health file could not be touched: path"),
    "hint_failed": ("debug", "a hint to whoever waits could not be published: channel, error"),
    "hints_unheard": ("warning", "hints to stop work cannot be listened for; renewals tell meanwhile: error"),
    "stream_hints_unheard": (
        "warning",
        "hints that a stream has grown cannot be listened for; its reader polls meanwhile: error",
    ),
    "stream_delayed": ("warning", "chunks could not be written and are sent again: run, stream, error"),
    "run_terminated": ("info", "the grace of a run's cancellation is over; the run was ended: run, reason"),
    "child_died": ("error", "a worker process ended unasked; another one takes its place: place, ended, error"),
    "child_killed": ("error", "a worker process did not end in time, or fell silent: pid, seconds"),
    "leases_expired": ("info", "the supervisor ended the leases of a dead process: owner, count"),
    "expire_failed": ("warning", "the queue could not be told of a death; leases run out by themselves: owner, error"),
    "supervisor_stopping": ("info", "the worker processes are told to end: processes, at_once"),
    "code_changed": ("info", "a file of the project changed; the worker is replaced: file"),
}


def note(event: str, **fields: Any) -> None:
    """Log an event of the catalogue through structlog (to stderr as the command line configures it)."""
    level, _ = CATALOGUE[event]
    getattr(structlog.get_logger("fencepost"), level)(event, **fields)


def note_lacking(missing: PayloadUnreadable, run: str) -> None:
    """Log which key or codec a worker lacks for a run's values."""
    match missing:
        case PayloadKeyMissing():
            note("payload_key_missing", key=missing.key, run=run)
        case PayloadCodecMissing():
            note("payload_codec_missing", codec=missing.codec, run=run)
        case _:
            raise AssertionError(f"a lack without a name: {missing!r}")
