"""Whether a world has come to rest: nothing that goes on in it can change anything any more.

Then what is left of a quiet time would be workers that ask an empty queue for work, and a store for deadlines that no
run has. Nothing is said of a world in which anything is left over: that one is waited for.
"""

# The world looks into the reference model's tables, where a real one would be asked.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulate.processes import SimWorker
from tests.simulate.wires import IN_FLIGHT

if TYPE_CHECKING:
    from tests.simulate.world import World


def at_rest(world: World) -> bool:
    """Of a world whose runs have ended: no message, lease, slot or deadline is left, nobody is at work, nothing is on
    its way, and no fault is to come.
    """
    loop, servers, faults = world.loop, world.servers, world.faults
    return (
        loop.now >= faults.busy_until
        and not any(lane.messages for lane in servers.queue.lanes.values())
        and all(one.run.wake_at is None for one in servers.store._tables.ledgers.values())
        and all(task.done() or not proc.alive for proc, task in world.actors.clients)
        and not any(_busy(worker) for worker in faults.workers if worker.proc.alive)
        and not any(_moves(world, timer.callback, proc) for _, _, timer, proc in loop._timers if not timer.dropped)
    )


def _busy(worker: SimWorker) -> bool:
    proc, fault = worker.proc, worker.wire.fault
    if proc.frozen or proc.countdown or worker.draining or not hasattr(worker, "claims"):
        return True
    shell = worker.shell
    waits_for_any_call = fault is not None and not fault.op
    return bool(waits_for_any_call or worker.claims.handlers or shell.slots.taken or shell.keeper.all())


def _moves(world: World, callback: object, proc: object) -> bool:
    """Whether a timer is a request or a reply on its way, or something that the servers or the faults will do."""
    return callback in IN_FLIGHT or proc is world.loop.server
