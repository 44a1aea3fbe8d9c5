"""A run whose start is put off, and has not come by the database clock: whoever ticks it early (a client, the
reconciler, a sweep after a loss of Redis) only sees to it that somebody ticks it then.
"""

from __future__ import annotations

from fencepost.engine.deadline import timed_wake
from fencepost.engine.live import LiveRun
from fencepost.engine.owed import Owed
from fencepost.engine.shell import Shell
from fencepost.log import Append
from fencepost.telemetry import note
from fencepost_store.protocol import Loaded, Outcome


async def wait_for_start(
    shell: Shell, live: LiveRun, owed: Owed, loaded: Loaded, starts_at: int, via: Append | None
) -> bool:
    """Owe the delayed tick, and put the deadline right. False: a conflict, something has landed since the load.

    Under the row's lock (``via``) the deadline is left as it is: it only brings the reconciler sooner.
    """
    owed.starts_at = starts_at
    wanted = timed_wake(starts_at, loaded.now, shell.rules)
    if via is not None or wanted == loaded.run.wake_at:
        return True
    verdict = await shell.store.touch(live.run_id, loaded.run.fence, loaded.run.last_seq, wanted, loaded.run.stamp)
    shell.clock.read(verdict.now)
    live.wake_at = wanted
    if verdict.outcome is Outcome.conflict:
        note("fence_conflict", run=live.run_id, fence=loaded.run.fence)
        return False
    return True
