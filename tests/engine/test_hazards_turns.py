"""Hazards of turns: fences, wakes, recovery flags, deadlines. On a virtual clock, by construction."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from engine_flows import land_signal, race_flow
from engine_virtual import run
from engine_world import Member, World, at_once
from oracle import check
from tests.log_lines import captured

from fencepost import hook, step, workflow
from fencepost_queue.protocol import Entry, tick_key
from fencepost_store.protocol import StoreTrouble


def do(coroutine: Coroutine[Any, Any, object]) -> None:
    """At once, for its effect."""
    at_once(coroutine)


def test_h20_h21_the_branch_is_decided_by_what_landed_first() -> None:
    """A tick has taken the sleep branch from a snapshot without the signal; the signal lands; the tick conflicts, and
    the next one takes the hook branch.
    """

    async def main() -> None:
        world = World()
        flow = race_flow(world)
        async with world.worker("A") as a:
            await asyncio.sleep(1)
            started = await world.start(flow)
            await asyncio.sleep(50)
            a.at("append.before", a.seen["append.before"] + 1, lambda: land_signal(world, "t", 7))
            assert await started.result(200) == "drained 7"
            shape = await world.shape(started)
            assert "step_created sync#1" not in shape
            assert "wait_completed timeout#1" not in shape
            check(await world.log(started))

    run(main)


def test_h08_h20_what_did_not_land_is_not_believed() -> None:
    """The turn at the timeout cannot reach the store; a signal lands before its message comes again. The instance that
    had gone the way of the timeout is dropped, and the next turn goes the way of the log.
    """

    async def main() -> None:
        world = World()
        flow = race_flow(world)
        loop = asyncio.get_running_loop()

        def trouble() -> None:
            land_signal(world, "t", 7)
            raise StoreTrouble("the store is away")

        with captured() as said:
            async with world.worker("A") as a:
                await asyncio.sleep(1)
                started = await world.start(flow)
                await asyncio.sleep(99)
                a.at("append.before", a.seen["append.before"] + 1, trouble)
                began = loop.time()
                assert await started.result(200) == "drained 7"
                assert loop.time() - began < 5, "the hand-back's delay, and no lease"
                assert a.calls.count(("queue", "release")) == 1
        assert "handler_failed" not in {line["event"] for line in said}
        assert "wait_completed timeout#1" not in await world.shape(started)
        check(await world.log(started))

    run(main)


def test_h42_a_wake_while_the_tick_runs_is_not_lost() -> None:
    """The signal's tick arrives while the run's tick is leased: it marks it dirty, and the owner goes round again."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow() -> int:
            async with hook(int, token="t") as numbers:
                return await numbers

        client = world.client()
        async with world.worker("A") as a:
            await asyncio.sleep(1)
            started = await world.start(flow)
            a.at("settle.before", 1, lambda: do(client.resume("t", 5)))
            loop = asyncio.get_running_loop()
            before = loop.time()
            assert await started.result(60) == 5
            assert loop.time() - before < 1

    run(main)


def test_h45_the_producer_dies_before_its_tick() -> None:
    """run_created and hook_received without a tick are found by their deadline in the store."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow() -> int:
            async with hook(int, token="t") as numbers:
                return await numbers

        async with world.worker("A"):
            await asyncio.sleep(1)
            started = await world.start(flow)
            world.server.flush()  # the tick of the start never arrived
            await asyncio.sleep(30)
            land_signal(world, "t", 3)
            assert await started.result(30) == 3

    run(main)


def in_last_resort(member: Member) -> bool:
    """Whether the worker's newest append is the one under the row lock."""
    return member.seen.get("tick.locked", 0) > member.seen.get("tick.unlocked", 0)


def test_h53_a_flood_of_signals_cannot_starve_a_run() -> None:
    """180 signals at one run, each landing just before an append: after conflict_limit conflicts the turn takes the
    row lock; every payload is consumed once, in order.
    """

    async def main() -> None:
        world = World()

        @step(registry=world.registry)
        async def note(n: int) -> int:
            return n

        @workflow(registry=world.registry)
        async def flow() -> list[int]:
            got: list[int] = []
            async with hook(int, token="t") as numbers:
                async for n in numbers:
                    got.append(await note(n))
                    if len(got) == 180:
                        return got
            return got

        async with world.worker("A") as a, world.worker("B") as b:
            await asyncio.sleep(1)
            started = await world.start(flow)
            await asyncio.sleep(1)
            sent = iter(range(180))
            client = world.client()

            def another() -> None:
                n = next(sent, None)
                if n is None:
                    return
                if in_last_resort(a) or in_last_resort(b):  # it holds the row lock: this sender waits its turn
                    a.background(client.resume("t", n, id=f"d{n}"))
                else:
                    land_signal(world, "t", n, f"d{n}")

            for member in (a, b):
                for visit in range(1, 4000):
                    member.at("append.before", visit, another)
            await world.client().resume("t", next(sent), id="first")
            assert await started.result(2000) == list(range(180))
            check(await world.log(started))
            locked = a.seen.get("tick.locked", 0) + b.seen.get("tick.locked", 0)
            assert locked > 0, "the last resort was needed"

    run(main)


def test_h57_recover_is_ored_into_a_leased_tick() -> None:
    """The reconciler's request meets a tick that is leased: the owner's next round recovers the open step that has no
    message.
    """

    async def main() -> None:
        world = World()
        bodies: list[str] = []

        @step(registry=world.registry, queue="elsewhere")
        async def work() -> str:
            bodies.append("ran")
            return "done"

        @workflow(registry=world.registry)
        async def flow() -> str:
            return await work()

        async with world.worker("A") as a:
            await asyncio.sleep(1)
            started = await world.start(flow)
            await asyncio.sleep(1)
            client = world.server.client("test")
            assert [m.key for m in await client.peek("elsewhere", 10)] == [f"s:{started.id}:work#1"]
            await client.withdraw("elsewhere", [f"s:{started.id}:work#1"])  # its message is lost
            a.at(
                "tick.replayed",
                a.seen["tick.replayed"] + 1,
                lambda: do(client.enqueue([Entry("default", tick_key(started.id), recover=True)])),
            )
            await client.enqueue([Entry("default", tick_key(started.id))])
            await asyncio.sleep(1)
            assert [m.key for m in await client.peek("elsewhere", 10)] == [f"s:{started.id}:work#1"]

    run(main)


def test_h58_h97_a_turn_that_appends_nothing_does_not_disarm_a_newer_deadline() -> None:
    """A signal lands between the load of a turn that asks for nothing new and its touch; its sender dies: the deadline
    stays, and the signal is delivered by it.
    """

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow() -> list[int]:
            async with hook(int, token="t") as numbers:
                return [await numbers, await numbers]

        async with world.worker("A") as a:
            await asyncio.sleep(1)
            started = await world.start(flow)
            await asyncio.sleep(1)
            a.at("tick.replayed", a.seen["tick.replayed"] + 1, lambda: land_signal(world, "t", 2, "second"))
            await world.client().resume("t", 1, id="first")
            assert await started.result(40) == [1, 2]

    run(main)


def test_a_run_that_waits_for_signals_only_has_no_deadline() -> None:
    """H97: and is ticked by nobody, however long it waits."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow() -> list[int]:
            async with hook(int, token="t") as numbers:
                return [await numbers, await numbers]

        async with world.worker("A") as a:
            await asyncio.sleep(1)
            started = await world.start(flow)
            await asyncio.sleep(1)
            await world.client().resume("t", 1)
            await asyncio.sleep(1)
            assert (await started.status()).wake_at is None
            loads = a.calls.count(("store", "load"))
            await asyncio.sleep(600)
            assert a.calls.count(("store", "load")) == loads
            await world.client().resume("t", 2)
            assert await started.result(10) == [1, 2]

    run(main)


def test_h90_a_fact_without_a_tick_makes_the_loser_owe_one() -> None:
    """A wait is due; the tick that fires it loses its fence to a signal whose sender is dead; the run goes on at once
    all the same.
    """

    async def main() -> None:
        world = World()
        flow = race_flow(world)
        async with world.worker("A") as a:
            await asyncio.sleep(1)
            started = await world.start(flow)
            await asyncio.sleep(50)
            a.at("append.before", a.seen["append.before"] + 1, lambda: land_signal(world, "t", 1))
            loop = asyncio.get_running_loop()
            await asyncio.sleep(49)
            before = loop.time()
            assert await started.result(60) == "drained 1"
            assert loop.time() - before < 3

    run(main)
