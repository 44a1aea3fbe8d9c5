"""A step whose body has filled a transaction of its own: its end goes into the log by that transaction's commit."""

from __future__ import annotations

from fencepost.engine.handback import release, settle
from fencepost.engine.hotpath import after_terminal_fact
from fencepost.engine.joining import Joining
from fencepost.engine.live import LiveRun
from fencepost.engine.shell import Shell
from fencepost.telemetry import note
from fencepost_queue.protocol import Delivery
from fencepost_store.events import NewEvent
from fencepost_store.protocol import Batch


async def complete_joint(shell: Shell, live: LiveRun, delivery: Delivery, event: NewEvent, joining: Joining) -> None:
    """Commit step_completed with what the body wrote, and settle with the run's tick. Refused, because the step or the
    run has ended: all of it is rolled back.

    The hot path is not taken: what follows from the result is decided by the turn, after the commit. Raises
    StoreTrouble, QueueTrouble: then the log tells whether it has landed (H08).
    """
    with shell.slots.ending():
        if not shell.keeper.fresh(delivery.token):
            note("turn_walked_away", run=live.run_id)
            shell.keeper.drop(delivery.token)
            return
        batch = Batch(run_id=live.run_id, fence=None, events=(event,), grace=shell.rules.grace)
        fact, now = await joining.end(shell.log, batch)
        shell.clock.read(now)
        entries = after_terminal_fact(live, fact)
        if entries is None:
            await release(shell, delivery)
        else:
            await settle(shell, delivery, entries, recovered=True)
        await joining.clean()
