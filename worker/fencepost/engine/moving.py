"""A run that was started by name, in a queue that its code does not want: its first turn moves it (H134).

run_started, which says what this code has settled, and the row's queue change in one transaction. The tick in the new
queue comes behind it; if that is never placed, the deadline brings it (I7).
"""

from __future__ import annotations

from fencepost.engine.advance import Progress, run_started
from fencepost.engine.live import LiveRun
from fencepost.engine.owed import Owed
from fencepost.engine.shell import Shell
from fencepost.log import Landed
from fencepost.records import pack
from fencepost.replay.interface import Program
from fencepost_store.events import EventType, NewEvent
from fencepost_store.protocol import Batch, Verdict


async def move(shell: Shell, live: LiveRun, owed: Owed, program: Program, queue: str, created: bytes) -> Progress:
    """Settle what was left open, and let the run's turns be done in ``queue``. Under the row's lock, and the fence."""
    assert live.run is not None
    started = NewEvent(EventType.run_started, payload=pack(run_started(shell, queue, created, program)))
    batch = Batch(
        run_id=live.run_id,
        fence=live.run.fence,
        events=(started,),
        seen=live.run.last_seq,
        wake_at=shell.clock.now() + shell.rules.grace,
        grace=shell.rules.grace,
        stamp=live.run.stamp,
    )
    async with shell.store.locked(live.run_id, shell.settings.lock_budget_seconds) as locked:

        async def append(asked: Batch) -> Verdict:
            return await locked.append(asked)

        written = await shell.log.append(batch, via=append)
        if isinstance(written, Landed):
            await locked.move(queue)
    shell.ports.fault("run.moved")
    shell.clock.read(written.now)
    live.run = await shell.store.get(live.run_id)
    if not isinstance(written, Landed):
        return Progress.conflict
    live.wake_at = batch.wake_at
    owed.moved = True
    return Progress.quiet
