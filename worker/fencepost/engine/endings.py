"""Runs that cannot go on by themselves: ended from outside their code (the escape hatches), or parked until fitting
code comes.

An escape hatch's event is a fact: it lands whatever the log's tail is (docs/protocol.md section 3).
"""

from __future__ import annotations

import msgspec

from fencepost import errors
from fencepost.engine.failing import note_failures
from fencepost.engine.live import LiveRun
from fencepost.engine.owed import Owed
from fencepost.engine.shell import Shell
from fencepost.failure import failure_of
from fencepost.log import Landed, LimitExceeded
from fencepost.records import Failure, RunFailed, pack
from fencepost.replay.cancelling import request_of, sooner, stopped
from fencepost.replay.fold import OpenWork
from fencepost.replay.interface import ReplayDivergence
from fencepost.telemetry import note
from fencepost_store.events import EventType, NewEvent
from fencepost_store.protocol import Batch, CorruptLog, Loaded, Outcome, Parked, Run, StoreTrouble

TRIED_MAX = 16
"""Builds that are remembered to have parked one run, the newest: more than are ever deployed side by side."""


async def fail_run(shell: Shell, live: LiveRun, owed: Owed, code: str, error_type: str, message: str) -> None:
    """End the run with ``code``. If it had ended already, nothing happens; a later tick does the duties of that end."""
    await _fail(shell, live, owed, Failure(type=error_type, message=message, code=code, retryable=False))


async def fail_at_limit(shell: Shell, live: LiveRun, owed: Owed, limit: Exception) -> None:
    """End the run because its log cannot hold what it asks for (LimitExceeded, ReplayLimit, Unstorable)."""
    code = errors.LIMIT_EXCEEDED
    if isinstance(limit, LimitExceeded) and limit.limit == "payload_bytes_max":
        place = "" if live.instance is None else live.instance.asked_at(limit.entity)
        words = f"{limit} ({place} asks for it)" if place else str(limit)
        error = errors.PayloadTooLarge(words, size=limit.value, limit=limit.bound)
        await _fail(shell, live, owed, failure_of(error, code=code))
    else:
        await fail_run(shell, live, owed, code, f"fencepost.{type(limit).__name__}", str(limit))


async def _fail(shell: Shell, live: LiveRun, owed: Owed, failure: Failure) -> None:
    event = NewEvent(type=EventType.run_failed, payload=pack(RunFailed(error=failure)))
    written = await shell.log.append(_hatch(shell, live, event))
    live.drop()
    if isinstance(written, Landed):
        note_failures(shell, live, written.events)
        owed.ended = written.events[-1]
        await _over(shell, live, owed)


def _hatch(shell: Shell, live: LiveRun, event: NewEvent) -> Batch:
    """A fact that ends the run, whatever the log's tail is, as long as it is the log that was looked at (H196)."""
    fence, stamp = (0, None) if live.run is None else (live.run.fence, live.run.stamp)
    return Batch(run_id=live.run_id, fence=None, events=(event,), seen=fence, grace=shell.rules.grace, stamp=stamp)


class GraceOver(Exception):
    """The run was asked to cancel, and the time it was given is over. Says so out of a turn, whatever lock it holds."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def grace_over(live: LiveRun, loaded: Loaded) -> None:
    """Raise GraceOver if a cancellation's grace has ended by the database clock. Asked before the workflow's code is:
    a run whose code is missing, or does not fit its log, or swallows its cancellation, ends all the same.
    """
    for event in loaded.events:
        if event.type is EventType.cancel_requested:
            until = sooner(live.terminate_at, event)
            if until != live.terminate_at:
                live.terminate_at, live.terminate_for = until, request_of(event).reason
    if live.terminate_at is not None and live.terminate_at <= loaded.now:
        raise GraceOver(live.terminate_for)


async def terminate(shell: Shell, live: LiveRun, owed: Owed, reason: str) -> None:
    """End the run, and do the duties of its end. If it had ended already, those are all there is to do."""
    event = NewEvent(type=EventType.run_terminated, payload=stopped(reason))
    written = await shell.log.append(_hatch(shell, live, event))
    live.drop()
    if isinstance(written, Landed):
        owed.ended = written.events[-1]
        note("run_terminated", run=live.run_id, reason=reason)
    await _over(shell, live, owed)


async def _over(shell: Shell, live: LiveRun, owed: Owed) -> None:
    """Look at the run, which has ended, as a whole."""
    loaded = await shell.store.load(live.run_id, 0)
    if loaded is not None:
        live.run, live.wake_at = loaded.run, loaded.run.wake_at
        await after_end(shell, live, owed, loaded)


async def after_end(shell: Shell, live: LiveRun, owed: Owed, loaded: Loaded) -> None:
    """Note what a run that has ended left open: its duties are done before the settle (``closing.duties``)."""
    if live.instance is not None:
        live.drop()
    full = loaded
    if loaded.events and loaded.events[0].seq != 1:
        reloaded = await shell.store.load(live.run_id, 0)
        full = reloaded if reloaded is not None else loaded
    work = OpenWork()
    for event in full.events:
        work.apply(event)
    if work.ended is None:
        raise StoreTrouble(f"run {live.run_id} has ended, and its log has no end: another server than a moment ago")
    owed.ended = work.ended
    owed.over = work


async def park(shell: Shell, live: LiveRun, divergence: ReplayDivergence, *, landed: bool = False) -> bool:
    """Park the run, fenced as a turn is (H105). False: a conflict, the run has moved on. The instance is dropped.
    ``landed``: it has seen all of the log, with what this turn has appended.
    """
    instance = live.instance
    assert instance is not None
    tail = (instance.work.fence, instance.work.stamp) if landed else _tail(live)
    live.drop()
    if tail is None:
        return True
    fence, stamp = tail
    parked = Parked(
        build=shell.settings.build,
        seq=divergence.seq,
        recorded=divergence.recorded,
        asked=divergence.asked,
        source=divergence.source,
        before=tried_before(live.run, shell.settings.build),
    )
    verdict = await shell.store.park(live.run_id, fence, parked, stamp)
    shell.clock.read(verdict.now)
    if verdict.outcome is Outcome.conflict:
        note("fence_conflict", run=live.run_id, fence=fence)
        return False
    if live.terminate_at is not None:  # parking takes the deadline away, and the grace goes on
        await shell.store.touch(live.run_id, verdict.fence, verdict.last_seq, live.terminate_at, stamp)
    note(
        "run_parked",
        run=live.run_id,
        seq=divergence.seq,
        recorded=divergence.recorded,
        asked=divergence.asked,
        source=divergence.source,
    )
    return True


def tried_before(run: Run | None, build: str) -> tuple[Parked, ...]:
    """What other builds have made of the log that this build cannot go on with either, the newest first."""
    if run is None or run.parked is None:
        return ()
    found = (msgspec.structs.replace(run.parked, before=()), *run.parked.before)
    return tuple(one for one in found if one.build != build)[:TRIED_MAX]


def _tail(live: LiveRun) -> tuple[int, int] | None:
    """The fence that this turn saw: that of the row it loaded (the instance stopped short of it)."""
    return None if live.run is None or live.run.status.ended else (live.run.fence, live.run.stamp)


async def diverged(shell: Shell, live: LiveRun, owed: Owed, divergence: ReplayDivergence) -> bool:
    """Park or fail, as configured. False: a conflict."""
    if shell.settings.divergence == "fail":
        await fail_run(shell, live, owed, errors.CORRUPTED_EVENT_LOG, "fencepost.ReplayDivergence", str(divergence))
        return True
    return await park(shell, live, divergence)


async def park_corrupt(shell: Shell, live: LiveRun, corrupt: CorruptLog) -> None:
    """A log that is not dense is never replayed and never appended to: an operator must look (I1). The run is parked
    with what was found; a worker of another build would find the same.
    """
    live.drop()
    row = await shell.store.get(live.run_id)
    if row is None or row.status.ended:
        return
    live.run = row
    before = tried_before(row, shell.settings.build)
    found = Parked(shell.settings.build, row.last_seq, str(corrupt), "a dense log", "the store", before)
    await shell.store.park(live.run_id, row.fence, found, row.stamp)
    note("log_corrupt", run=live.run_id, error=str(corrupt))
