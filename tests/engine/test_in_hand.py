"""What a worker takes: no more than it can begin, and no slot for ever while others wait. On a virtual clock."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from engine_virtual import run
from engine_world import World

from fencepost import step, workflow
from fencepost.engine.advance import INLINE_MAX
from fencepost.engine.claims import TICKS_MAX
from fencepost.engine.redelivered import YOUNG_SECONDS
from fencepost_queue.limits import COMPANY_MAX
from fencepost_queue.protocol import Delivery, Entry, step_key
from fencepost_store.events import EventType


def stalled(world: World) -> asyncio.Event:
    """From now on a load answers when this is set."""
    going_on, load = asyncio.Event(), world.memory.load

    async def slow(run_id: str, after_seq: int = 0) -> Any:
        await going_on.wait()
        return await load(run_id, after_seq)

    world.memory.load = slow  # type: ignore[method-assign]
    return going_on


def test_h206_ticks_in_hand_are_bounded_and_the_rest_is_left_to_others() -> None:
    """A worker whose servers are slow has a bounded number of turns; what waits is seen, and a second worker gets its
    share.
    """

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def nothing() -> int:
            return 1

        runs = [await world.start(nothing) for _ in range(300)]
        going_on = stalled(world)
        async with world.worker("A") as a:
            await asyncio.sleep(1)
            assert len(a.shell.keeper) == TICKS_MAX
            (depth,) = await world.server.client("look").depth()
            assert depth.ready == 300 - TICKS_MAX
            async with world.worker("B") as b:
                await asyncio.sleep(1)
                assert len(b.shell.keeper) == TICKS_MAX
                going_on.set()
                for one in runs:
                    assert await one.result(60) == 1

    run(main)


def test_h206_turns_that_hang_keep_no_places_empty() -> None:
    """Most of the places are held by turns that do not come back; the others are used all the same."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def nothing() -> int:
            return 1

        hanging = [await world.start(nothing) for _ in range(TICKS_MAX - 3)]
        going_on = stalled(world)
        async with world.worker("A") as a:
            await asyncio.sleep(1)
            assert len(a.shell.keeper) == TICKS_MAX - 3
            del world.memory.load  # type: ignore[attr-defined]
            assert [await (await world.start(nothing)).result(10) for _ in range(20)] == [1] * 20
            assert len(a.shell.keeper) == TICKS_MAX - 3
            going_on.set()
            for one in hanging:
                await one.result(60)

    run(main)


@pytest.mark.parametrize("queues", [2, 10])
def test_h203_concurrency_is_a_bound_over_all_queues(queues: int) -> None:
    """Each queue's claim is promised slots of its own: two slots are two bodies, however many queues bring steps."""

    async def main() -> None:
        names = tuple(f"q{n}" for n in range(queues))
        world = World(queues=("default", *names), concurrency=2)
        running, most = 0, 0

        async def body() -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.5)
            running -= 1

        steps = [step(registry=world.registry, name=f"in_{name}", queue=name)(body) for name in names]

        @workflow(registry=world.registry)
        async def fan() -> int:
            await asyncio.gather(*(one() for one in steps * 3))
            return 1

        started = await world.start(fan)
        async with world.worker("A") as a:
            claim = a.shell.queue.claim

            async def slow(*args: Any, **options: Any) -> Any:
                await asyncio.sleep(0.01)  # so that claims are under way together
                return await claim(*args, **options)

            a.queue.claim = slow  # type: ignore[attr-defined]
            assert await started.result(600) == 1
            await world.settle()
            assert (most, a.shell.slots.taken) == (2, 0)

    run(main)


def test_h203_what_finds_its_slot_taken_is_handed_back() -> None:
    """A turn took the slot that the claim was promised: the message is another worker's, and no body runs beyond the
    bound.
    """

    async def main() -> None:
        world = World(concurrency=1)
        async with world.worker("A") as a:
            a.shell.slots.take()
            queue = world.server.client("other")
            await queue.enqueue([Entry("default", step_key("run", "a#1"))])
            claimed = await world.server.client("A").claim("default", 1, 10_000)
            a.shell.keeper.hold(claimed.deliveries[0], asyncio.get_running_loop().time())
            a.claims._dispatch(claimed.deliveries[0])  # pyright: ignore[reportPrivateUsage]
            await world.settle()
            assert (a.shell.slots.taken, len(a.shell.keeper)) == (1, 0)
            (message,) = await queue.peek("default", 9)
            assert (message.state, message.crashes) == ("ready", 0)

    run(main)


@pytest.mark.parametrize("seconds", [0.001, 0.2])
def test_h204_chains_that_never_end_let_others_in(seconds: float) -> None:
    """As many chains as slots, and a backlog of a hundred times all slots: a run of one step waits for some steps of
    the chains, not for their end.
    """

    async def main() -> None:
        world = World(concurrency=4)

        @step(registry=world.registry)
        async def work() -> int:
            await asyncio.sleep(seconds)
            return 1

        @workflow(registry=world.registry)
        async def chain() -> None:
            for _ in range(1_000):  # it does not end while anybody looks
                await work()

        @workflow(registry=world.registry)
        async def fan() -> None:
            await asyncio.gather(*(work() for _ in range(400)))

        @workflow(registry=world.registry)
        async def one() -> int:
            return await work()

        loop = asyncio.get_running_loop()
        async with world.worker("A") as a:
            for _ in range(4):
                await world.start(chain)
            await asyncio.sleep(10 * seconds)
            await world.start(fan)
            await asyncio.sleep(10 * seconds)
            waits: list[float] = []
            for _ in range(5):
                began = loop.time()
                assert await (await world.start(one)).result(60) == 1
                waits.append(loop.time() - began)
            assert max(waits) < 4 * (INLINE_MAX if seconds < 0.01 else 2) * seconds
            assert a.shell.slots.taken <= 5

    run(main)


def test_h204_where_nobody_waits_a_chain_keeps_its_slot() -> None:
    """Each next step is granted by the settle of the one before: nothing of it goes through the queue."""

    async def main() -> None:
        world = World(concurrency=1)

        @step(registry=world.registry)
        async def work(n: int) -> int:
            await asyncio.sleep(0.1)
            return n

        @workflow(registry=world.registry)
        async def chain() -> int:
            return sum([await work(n) for n in range(50)])

        async with world.worker("A") as a:
            assert await (await world.start(chain)).result(60) == sum(range(50))
            calls = [name for where, name in a.calls if where == "queue"]
            assert (calls.count("settle"), calls.count("release"), calls.count("enqueue")) == (51, 0, 0)
            assert calls.count("claim") < 10

    run(main)


def test_h201_who_takes_what_was_lost_says_that_it_begins() -> None:
    """Before its handler does anything; what is lost by then is left alone."""

    async def main() -> None:
        world = World()
        began: list[str] = []

        @workflow(registry=world.registry)
        async def nothing() -> int:
            return 1

        lost = world.server.client("lost")
        async with world.worker("A") as a:
            await world.settle()  # what renews leases has looked, and looks again in 3 s
            renew, load = a.shell.queue.renew, a.shell.store.load

            async def told(deliveries: list[Delivery], lease_ms: int, *, begin: bool = False) -> Any:
                began.extend(delivery.key for delivery in deliveries if begin)
                return await renew(deliveries, lease_ms, begin=begin)

            async def loaded(*args: Any) -> Any:
                assert f"t:{started.id}" in began
                return await load(*args)

            a.queue.renew, a.store.load = told, loaded  # type: ignore[attr-defined]
            started = await world.start(nothing)
            await lost.claim("default", 1, 10_000)
            await lost.expire("lost")
            assert await started.result(10) == 1
        assert [event.type for event in await world.log(started)][-1] is EventType.run_completed

    run(main)


def test_h202_what_was_lost_begins_few_at_a_time() -> None:
    """So that few are in the company of one that kills its worker. Who lives makes room for the next."""

    async def main() -> None:
        world = World()
        began: list[int] = []

        @step(registry=world.registry)
        async def body(n: int) -> int:
            began.append(n)
            await asyncio.sleep(60)
            return n

        @workflow(registry=world.registry)
        async def flow(n: int) -> int:
            return await body(n)

        runs = [await world.start(flow, n) for n in range(30)]
        async with world.worker("A"):
            await asyncio.sleep(1)
            assert len(began) == 30
        await world.server.client("supervisor").expire("A")
        began.clear()
        async with world.worker("B"):
            counts: list[int] = []
            for _ in range(5):
                await asyncio.sleep(YOUNG_SECONDS * 0.9 if not counts else YOUNG_SECONDS)
                counts.append(len(began))
            assert counts == [COMPANY_MAX, 2 * COMPANY_MAX, 3 * COMPANY_MAX, 30, 30]
            assert [await one.result(600) for one in runs] == list(range(30))

    run(main)
