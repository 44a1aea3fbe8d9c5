"""H40, H41, H56, H108 and their like: a worker is ended at every fault point it comes to, once per visit, and another
takes over.

A first run without a crash counts the visits of each point; then there is one run per visit. After each: the right
result, a legal log, no body more than twice, and recovery within two leases of the default settings.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest
from engine_virtual import run
from engine_world import Member, World, at_once
from oracle import check

from fencepost import hook, patched, sleep, step, workflow
from fencepost.authoring.workflow import Workflow
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
    "settle.before",
    "settle.after",
)

Bodies = Counter[str]
Signal = Callable[[World], Awaitable[None]]
Shape = Callable[[World, Bodies], Workflow[..., Any]]
Fault = Callable[[World, Member], None]


async def _none(world: World) -> None:
    """No signal is sent."""


async def _signals(world: World) -> None:
    client = world.client()
    for n in range(3):
        while True:
            try:
                await client.resume("token", n, id=f"delivery-{n}")
                break
            except LookupError:
                await asyncio.sleep(0.5)


def sequence(world: World, bodies: Bodies) -> Workflow[..., Any]:
    """Steps one after another: the hot path."""

    @step(registry=world.registry)
    async def one(n: int) -> int:
        bodies[f"one{n}"] += 1
        return n + 1

    @workflow(registry=world.registry)
    async def main() -> int:
        x = 0
        for _ in range(4):
            x = await one(x)
        return x

    return main


def sequence_with_pending_wait(world: World, bodies: Bodies) -> Workflow[..., Any]:
    """The same under a timeout that never comes: a wait is pending all the time."""

    @step(registry=world.registry)
    async def one(n: int) -> int:
        bodies[f"one{n}"] += 1
        return n + 1

    @workflow(registry=world.registry)
    async def main() -> int:
        x = 0
        async with asyncio.timeout(500):
            for _ in range(4):
                x = await one(x)
        return x

    return main


def fan(world: World, bodies: Bodies) -> Workflow[..., Any]:
    """More parallel steps than slots."""

    @step(registry=world.registry)
    async def one(n: int) -> int:
        bodies[f"one{n}"] += 1
        await asyncio.sleep(0.01 * n)
        return n + 1

    @workflow(registry=world.registry)
    async def main() -> int:
        return sum(await asyncio.gather(*(one(n) for n in range(6)))) - 17

    return main


def retry_and_sleep(world: World, bodies: Bodies) -> Workflow[..., Any]:
    """A step that fails twice, and sleeps around it."""

    @step(registry=world.registry, first_delay=1.0)
    async def flaky() -> int:
        bodies["flaky"] += 1
        if bodies["flaky"] < 3:
            raise ValueError("not yet")
        return 3

    @workflow(registry=world.registry)
    async def main() -> int:
        await sleep(2)
        x = await flaky()
        await sleep(2)
        return x + 1

    return main


def race(world: World, bodies: Bodies) -> Workflow[..., Any]:
    """A hook against a sleep, three times, with a step on whichever branch wins."""

    @step(registry=world.registry)
    async def took(n: int) -> int:
        bodies[f"took{n}"] += 1
        return n

    @workflow(registry=world.registry)
    async def main() -> int:
        total = 0
        async with hook(int, token="token") as numbers:
            for _ in range(3):
                async with asyncio.timeout(400):
                    total += await took(await numbers)
        return total + 1

    return main


def contended(world: World, bodies: Bodies) -> Workflow[..., Any]:
    """Steps in sequence and in parallel beside a hook that nobody awaits: signals to it move the fence anywhere."""

    @step(registry=world.registry)
    async def one(n: int) -> int:
        bodies[f"one{n}"] += 1
        await asyncio.sleep(0.01)
        return n

    @workflow(registry=world.registry)
    async def main() -> int:
        async with hook(int, token="spare"):
            a = await one(1)
            b = sum(await asyncio.gather(one(2), one(3), one(4)))
            await sleep(1)
            return await one(5) + a + b - 11

    return main


def patches(world: World, bodies: Bodies) -> Workflow[..., Any]:
    """Changes of the code: between steps, in parallel tasks, beside a hook whose signals move the fence anywhere."""

    @step(registry=world.registry)
    async def one(n: int) -> int:
        bodies[f"one{n}"] += 1
        return n

    async def branch(n: int) -> int:
        return await one(n) if patched(f"b{n}") else 100

    @workflow(registry=world.registry)
    async def main() -> int:
        async with hook(int, token="spare"):
            a = await one(1)
            a += await one(2) if patched("middle") else 100
            b = sum(await asyncio.gather(branch(3), branch(4)))
            return a + b - 6 if patched("last") and patched("middle") else 100

    return main


SHAPES: list[tuple[Shape, Signal, int]] = [
    (sequence, _none, 2),
    (sequence_with_pending_wait, _none, 2),
    (fan, _none, 2),
    (retry_and_sleep, _none, 5),
    (race, _signals, 2),
    (contended, _none, 2),
    (patches, _none, 2),
]


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
        result = asyncio.ensure_future(started.result(600))
        if fault is not None:
            await a.crashed.wait()
            began = loop.time()
            async with world.worker("B"):
                assert await result == 4
                ended = loop.time()
                await _settle_down(a)
        else:
            assert await result == 4
            ended = loop.time()
        await sending
        check(await world.log(started))
        return Driven(a.seen, ended - began, bodies)


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
            assert max(driven.bodies.values()) <= most, f"{point} {n}: {driven.bodies}"
            assert driven.seconds <= usual + bound, f"{point} {n}: {driven.seconds} s, usually {usual} s"
    print(f"{shape.__name__}, {fault.__name__}: {faults} faults, at worst {worst:.1f} s later than usual")
    assert faults >= 10
