"""What becomes of servers that change their role or their data, as faults: the queue's server comes back with old data
or with another server's, a server turns read-only for a while, somebody holds the rows of two runs for long, and a
replay takes its time.

All of it is drawn from a stream of chance of its own, as what ``extras.py`` adds.
"""

# The world looks into the reference model's tables, where a real server would be asked.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.simulate.plan import Fault, Plan, Sender
from tests.simulate.programs import nodes_of
from tests.simulate.scheduler import PROC, START
from tests.simulate.wires import SERVER

from fencepost.replay.instance import Instance
from fencepost_queue.lane import Kind
from fencepost_queue.memory import LaneSnapshot

if TYPE_CHECKING:
    from tests.simulate.faults import Faults
    from tests.simulate.world import World

SHARE = 0.2
"""Of all plans with faults, those that get one or two of these."""

ALONE = 0.5
"""Of these, those in which nothing else goes wrong, so that whatever is late is noticed."""

SLOW_SHARE = 0.04
"""Of all plans with faults, those in which a replay takes its time, under a flood of signals."""

KINDS = ("restored", "restored", "read_only", "held", "held")
SWEPT_BY = 4.0
"""Seconds by which the sweep is over that every world begins with: it would heal what comes before."""

HELD_RUNS = 2
"""As many as a worker has appends under way."""


def add_roles(plan: Plan) -> None:
    """Changes the plan in place."""
    if not plan.faults:
        return
    chance = random.Random(f"roles {plan.seed}")
    if chance.random() < SHARE:
        if chance.random() < ALONE:
            plan.faults, plan.old = [], 0
            plan.concurrency, plan.near_horizon, plan.latency = 8, 600.0, min(plan.latency, 0.002)
            _stretch(plan, chance)
        for _ in range(chance.choice((1, 1, 2))):
            plan.faults.append(_fault(plan, chance))
    if chance.random() < SLOW_SHARE:
        _slow(plan, chance)


def _fault(plan: Plan, chance: random.Random) -> Fault:
    fault = Fault(chance.choice(KINDS), chance.randrange(plan.workers), chance.randrange(1, 60), chance.randrange(6))
    match fault.kind:
        case "restored":
            fault.seconds = chance.choice((0.5, 3.0, 15.0, 60.0))
            fault.op = chance.choice(("", "", "", "other"))
        case "read_only":
            fault.seconds = chance.choice((0.2, 1.0, 4.0, 12.0))
            fault.op = chance.choice(("store", "queue"))
        case _:
            fault.seconds = chance.choice((1.0, 15.0, 25.0))
    return fault


def _stretch(plan: Plan, chance: random.Random) -> None:
    """Runs that begin one after the other, and bodies that outlast a renewal: what an older state does not know of."""
    for program in plan.programs:
        program.at = chance.choice((0.0, 3.0, 5.0, 8.0))
    for node in (node for program in plan.programs for node in nodes_of(program.root)):
        if node.kind == "step" and node.flavour in ("work", "elsewhere") and node.fails >= 0 and chance.random() < 0.5:
            node.seconds = chance.choice((4.0, 8.0, 15.0))


def _slow(plan: Plan, chance: random.Random) -> None:
    plan.replay_seconds = chance.choice((0.005, 0.02))
    plan.conflict_limit = chance.choice((1, 2, 5))
    hooks = [sender for sender in plan.senders if sender.token]
    for sender in hooks[:2]:
        gap = chance.choice((0.02, 0.05))
        plan.senders.append(Sender(sender.token, sender.run, chance.choice((30, 80)), gap, sender.at))


def restore(faults: Faults, fault: Fault) -> None:
    """The queue's server comes back with what it had so long ago, or (``op`` "other") with what another server has."""
    world = faults.world
    rest = START + SWEPT_BY + fault.beat % 7 - world.loop.now
    if rest > 0:
        faults.busy_until = max(faults.busy_until, world.loop.now + rest)
        world.loop.call_later(rest, _restore, faults, fault, context=SERVER)
    else:
        _restore(faults, fault)


def _restore(faults: Faults, fault: Fault) -> None:
    world = faults.world
    queue = world.servers.queue
    wanted = world.loop.now - fault.seconds
    known = [(at, state) for at, state in faults.snapshots if state and all(one.generation for one in state.values())]
    older = [state for at, state in known if at <= wanted] or [state for _, state in known[:1]]
    if not older:
        return
    state = older[-1]
    if fault.op == "other":
        empty = LaneSnapshot(
            messages={},
            counter=0,
            round=None,
            generation="of another server",
            swept_until=None,
            bells=dict.fromkeys(Kind, 0),
        )
        state = dict.fromkeys(queue.lanes, empty)
    faults.hit("restored")
    faults.busy_until = max(faults.busy_until, world.loop.now)
    queue.restore(state)


def turn_read_only(faults: Faults, fault: Fault) -> None:
    """Every process finds the server read-only for a while."""
    until = faults.world.loop.now + fault.seconds
    for wire in faults.all_wires():
        wire.read_only[fault.op] = until
    faults.lasting("read_only", fault.seconds)


def hold(faults: Faults, fault: Fault) -> None:
    """Somebody's transaction holds the rows of two runs that are under way, and is in no hurry."""
    world = faults.world
    store = world.servers.store
    waiting = [run_id for run_id, one in store._tables.ledgers.items() if not one.run.status.ended]
    families: dict[int, list[str]] = {}
    for run_id in waiting:
        families.setdefault(world.program_of(run_id)[0], []).append(run_id)
    chosen = list(families)[:HELD_RUNS]
    if len(chosen) < HELD_RUNS:
        return
    faults.hits["held"] += 1
    for program in chosen:
        faults.window(f"held {program}", fault.seconds)
        for run_id in families[program]:
            world.loop.create_task(_hold(world, run_id, fault.seconds), context=SERVER.copy())
    faults.busy_until = max(faults.busy_until, world.loop.now + fault.seconds)


async def _hold(world: World, run_id: str, seconds: float) -> None:
    async with world.servers.store._locks.setdefault(run_id, asyncio.Lock()):
        await asyncio.sleep(seconds)


@contextmanager
def slow_replays(world: World) -> Generator[None]:
    """Inside, whoever delivers events to code stands still for as long as that takes."""
    cost = world.plan.replay_seconds
    if not cost:
        yield
        return
    world.faults.hits["slow_replay"] += 1
    real: Callable[..., Any] = Instance.deliver

    def deliver(self: Instance, events: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
        loop, proc = world.loop, PROC.get(None)
        if proc is not None and events:
            world.replayed = max(world.replayed, len(events) * cost)
            loop.freeze(proc)
            loop.call_later(len(events) * cost, loop.thaw, proc, context=SERVER)
        return real(self, events, *args, **kwargs)

    Instance.deliver = deliver  # type: ignore[method-assign]
    try:
        yield
    finally:
        Instance.deliver = real  # type: ignore[method-assign]
