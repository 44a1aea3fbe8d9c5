"""Runs that cannot go on by themselves: ended from outside their code (the escape hatches), or parked until fitting
code comes.

An escape hatch's event is a fact: it lands whatever the log's tail is (docs/protocol.md section 3).
"""

from __future__ import annotations

from fencepost import errors
from fencepost.engine.live import LiveRun
from fencepost.engine.owed import Owed
from fencepost.engine.shell import Shell
from fencepost.log import Landed
from fencepost.records import Failure, RunFailed, pack
from fencepost.replay.interface import ReplayDivergence
from fencepost.telemetry import note
from fencepost_store.events import EventType, NewEvent
from fencepost_store.protocol import Batch, CorruptLog, Outcome, Parked


async def fail_run(shell: Shell, live: LiveRun, owed: Owed, code: str, error_type: str, message: str) -> None:
    """End the run with ``code``. If it had ended already, nothing happens; a later tick does the duties of that end."""
    failure = Failure(type=error_type, message=message, code=code, retryable=False)
    event = NewEvent(type=EventType.run_failed, payload=pack(RunFailed(error=failure)))
    batch = Batch(run_id=live.run_id, fence=None, events=(event,), grace=shell.rules.grace)
    written = await shell.log.append(batch)
    note("run_failed", run=live.run_id, code=code, message=message)
    if isinstance(written, Landed):
        owed.ended = written.events[-1]
        if live.instance is not None:
            owed.end_steps(live, live.instance.work)
    live.drop()


async def park(shell: Shell, live: LiveRun, divergence: ReplayDivergence) -> bool:
    """Park the run, fenced as a turn is (H105). False: a conflict, the run has moved on. The instance is dropped."""
    instance = live.instance
    assert instance is not None
    fence = await _tail(shell, live)
    live.drop()
    if fence is None:
        return True
    parked = Parked(
        build=shell.settings.build,
        seq=divergence.seq,
        recorded=divergence.recorded,
        asked=divergence.asked,
        source=divergence.source,
    )
    verdict = await shell.store.park(live.run_id, fence, parked)
    shell.clock.read(verdict.now)
    if verdict.outcome is Outcome.conflict:
        note("fence_conflict", run=live.run_id, fence=fence)
        return False
    note(
        "run_parked",
        run=live.run_id,
        seq=divergence.seq,
        recorded=divergence.recorded,
        asked=divergence.asked,
        source=divergence.source,
    )
    return True


async def _tail(shell: Shell, live: LiveRun) -> int | None:
    """The fence that this turn saw: that of the row it loaded (the instance stopped short of it)."""
    return None if live.run is None or live.run.status.ended else live.run.fence


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
    found = Parked(shell.settings.build, row.last_seq, str(corrupt), "a dense log", "the store")
    await shell.store.park(live.run_id, row.fence, found)
    note("log_corrupt", run=live.run_id, error=str(corrupt))
