"""H40, H41, H56, H108 and their like: a worker is ended at every fault point it comes to, once per visit, and another
takes over.

A first run without a crash counts the visits of each point; then there is one run per visit. After each: the right
result, a legal log, no body more than twice, and recovery within two leases of the default settings.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from crash_shapes import SHAPES, Bodies, Shape, Signal
from engine_virtual import run
from engine_world import Member, World, at_once
from oracle import check, check_family

from fencepost.client.run import Run
from fencepost.errors import RunCancelled
from fencepost.payload import encode
from fencepost_queue.protocol import QueueTrouble
from fencepost_store.events import EventType, NewEvent
from fencepost_store.protocol import Batch, StoreTrouble

LEASE_SECONDS = 10.0
POINTS = (
    "tick.replayed",
    "append.before",
    "append.after",
    "fact.after",
    "retrying.after",
    "child.before",
    "child.started",
    "child.stopped",
    "parent.before",
    "parent.told",
    "successor.started",
    "end.done",
    "settle.before",
    "settle.after",
    "stream.before",
    "stream.after",
)

Fault = Callable[[World, Member], None]


async def _answer(started: Run[Any]) -> int:
    """The result, or the reason that stands for it."""
    try:
        return await started.result(600)
    except RunCancelled as error:
        expected = (await started.status()).workflow == "out_of_grace"
        return int(error.detail) if error.terminated is expected else -1


class Driven(NamedTuple):
    """One run: visits of each point, seconds from the fault to the end, bodies by name."""

    visits: dict[str, int]
    seconds: float
    bodies: Bodies


async def drive(shape: Shape, signal: Signal, fault: Fault | None = None) -> Driven:
    """One run on worker A; ``fault`` arms what happens there, and sets A's ``crashed`` when it has; then B starts."""
    world = World(concurrency=4)
    bodies: Bodies = Counter()
    flow = shape(world, bodies)
    loop = asyncio.get_running_loop()
    async with world.worker("A") as a:
        await asyncio.sleep(1)
        a.seen.clear()
        if fault is not None:
            fault(world, a)
        began = loop.time()
        started = await world.start(flow)
        sending = asyncio.ensure_future(signal(world))
        result = asyncio.ensure_future(_answer(started))
        if fault is not None:
            await a.crashed.wait()
            began = loop.time()
            async with world.worker("B"):
                assert await result == 4
                ended = loop.time()
                await families(world)
                await _settle_down(a)
        else:
            assert await result == 4
            ended = loop.time()
            await families(world)
        await sending
        check(await world.log(started))
        return Driven(a.seen, ended - began, bodies)


async def families(world: World) -> None:
    """Every other run, children and successors, comes to its end soon, too, owes nothing, and its log and its parent's
    agree.
    """
    for _ in range(2 * int(LEASE_SECONDS) + 10):
        if all(row.status.ended and row.wake_at is None for row in await world.rows()):
            break
        await asyncio.sleep(1)
    check_family({row.run_id: (row, await world.log_of(row.run_id)) for row in await world.rows()})


async def _settle_down(a: Member) -> None:
    """A frozen worker comes back after three leases, when the run may long have ended, and must do no harm then
    either.
    """
    if a.store.frozen is not None and not a.store.frozen.is_set():
        await asyncio.sleep(3 * LEASE_SECONDS)
        a.thaw()
        await asyncio.sleep(3 * LEASE_SECONDS)


def crash(point: str, n: int) -> Fault:
    """kill -9."""
    return lambda world, a: a.crash_at(point, n)


def freeze(point: str, n: int) -> Fault:
    """SIGSTOP for longer than the lease."""
    return lambda world, a: a.freeze_at(point, n)


def thawing_early(point: str, n: int) -> Fault:
    """SIGSTOP for a little longer than the lease, while the run is under way on the other worker (H62, H95, H106)."""

    def arm(world: World, a: Member) -> None:
        a.freeze_at(point, n)

        async def wake() -> None:
            await a.crashed.wait()
            await asyncio.sleep(LEASE_SECONDS + 0.001)
            a.thaw()

        a.background(wake())

    return arm


def flush(point: str, n: int) -> Fault:
    """FLUSHALL (H44)."""

    def arm(world: World, a: Member) -> None:
        def act() -> None:
            world.server.flush()
            a.crashed.set()

        a.at(point, n, act)

    return arm


def lost_reply(point: str, n: int) -> Fault:
    """The connection dies there: before a call it was not sent, after it its reply was lost (H08)."""

    def arm(world: World, a: Member) -> None:
        def act() -> None:
            a.crashed.set()
            raise StoreTrouble("lost") if "settle" not in point else QueueTrouble("lost")

        a.at(point, n, act)

    return arm


def intrusion(point: str, n: int) -> Fault:
    """A signal lands there whose sender dies before its tick: whoever is about to append loses its fence, and owes the
    run the turn (H03, H20, H45, H90, H91).
    """

    def arm(world: World, a: Member) -> None:
        def act() -> None:
            a.crashed.set()
            hook = at_once(world.store.find_hook("spare"))
            if hook is not None:  # only the contended shape has it, for a part of its life
                signal = NewEvent(type=EventType.hook_received, entity=hook.entity, dedupe=str(n), payload=encode(n))
                at_once(world.store.append([Batch(run_id=hook.run_id, fence=None, events=(signal,))]))

        a.at(point, n, act)

    return arm


FAULTS: list[tuple[Callable[[str, int], Fault], float]] = [
    (crash, 2 * LEASE_SECONDS),
    (freeze, 2 * LEASE_SECONDS),
    (thawing_early, 2 * LEASE_SECONDS),
    (flush, 5.0 + 2.0),  # a reconcile period and an idle block
    (lost_reply, 2 * LEASE_SECONDS),
    (intrusion, 1.0),
]


@pytest.mark.parametrize(("fault", "bound"), FAULTS, ids=[row[0].__name__ for row in FAULTS])
@pytest.mark.parametrize(("shape", "signal", "most"), SHAPES, ids=[row[0].__name__ for row in SHAPES])
def test_a_fault_at_every_point(
    shape: Shape, signal: Signal, most: int, fault: Callable[[str, int], Fault], bound: float
) -> None:
    """See the module (H40, H41, H56, H108). ``bound``: seconds that a fault may add to the run, at default settings."""
    visits, usual, _ = run(lambda: drive(shape, signal))
    faults = 0
    worst = 0.0
    for point in POINTS:
        for n in range(1, visits.get(point, 0) + 1):
            armed = fault(point, n)
            driven = run(lambda armed=armed: drive(shape, signal, armed))
            faults += 1
            worst = max(worst, driven.seconds - usual)
            assert max(driven.bodies.values(), default=0) <= most, f"{point} {n}: {driven.bodies}"
            assert driven.seconds <= usual + bound, f"{point} {n}: {driven.seconds} s, usually {usual} s"
    print(f"{shape.__name__}, {fault.__name__}: {faults} faults, at worst {worst:.1f} s later than usual")
    assert faults >= 10
