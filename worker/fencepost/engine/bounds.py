"""The limits of one run as its turns see them: a warning while there is time to change the code, then an error."""

from __future__ import annotations

from collections.abc import Sequence

from fencepost.engine.live import LiveRun
from fencepost.engine.shell import Shell
from fencepost.log import LimitExceeded
from fencepost.replay.instance import Instance
from fencepost.telemetry import note
from fencepost_store.events import NewEvent


def open_entities_of(instance: Instance) -> int:
    """Steps, waits, hooks and children that are open in the log."""
    work = instance.work
    return len(work.steps) + len(work.waits) + len(work.hooks) + len(work.children)


def check_backlog(shell: Shell, live: LiveRun, instance: Instance) -> None:
    """Warn of, and raise LimitExceeded for, payloads that have come in and that the code does not take. Counted by the
    live run as they come and go, so the question costs the same however long the log is.
    """
    bound = shell.log.limits.hook_backlog_max
    _near(shell, live, "hook_backlog_max", max(instance.backlog, instance.held))
    if instance.held > bound:
        raise LimitExceeded(
            "hook_backlog_max",
            instance.held,
            bound,
            "payloads that the run before has left for tokens of which this one has opened no hook",
            "take payloads before continue_as_new, or open a hook of the same token behind it",
        )
    if instance.backlog > bound:
        raise LimitExceeded(
            "hook_backlog_max",
            instance.backlog,
            bound,
            "payloads that hooks of one run have received and its code has not taken",
            "take them as they come, close hooks that nobody awaits, or let senders wait for an answer (Hook.respond)",
        )


def warn_early(shell: Shell, live: LiveRun, instance: Instance, landed: Sequence[NewEvent]) -> None:
    """Say once per limit that a run comes near it (H84)."""
    _near(shell, live, "events_max", instance.work.seen)
    _near(shell, live, "log_bytes_max", instance.work.size)
    _near(shell, live, "open_entities_max", open_entities_of(instance))
    _near(shell, live, "payload_bytes_max", max((len(event.payload) for event in landed), default=0))


def _near(shell: Shell, live: LiveRun, limit: str, value: int) -> None:
    bound: int = getattr(shell.log.limits, limit)
    if value > shell.settings.event_warn_ratio * bound and limit not in live.told:
        live.told.add(limit)
        note("limit_near", run=live.run_id, limit=limit, value=value, bound=bound)
