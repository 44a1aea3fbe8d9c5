"""Hazards of turns: fences, wakes, recovery flags, deadlines, parking. On a virtual clock, by construction."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from engine_virtual import run
from engine_world import Member, World, at_once
from oracle import check

from fencepost import errors, hook, sleep, step, workflow
from fencepost.authoring.registry import Registry
from fencepost.payload import encode
from fencepost_queue.protocol import Entry, tick_key
from fencepost_store.events import EventType, NewEvent
from fencepost_store.protocol import Batch, RunStatus


def land_signal(world: World, token: str, value: object, delivery: str = "d") -> None:
    """A signal whose sender dies before it can place a tick."""
    listening = at_once(world.store.find_hook(token))
    assert listening is not None
    event = NewEvent(type=EventType.hook_received, entity=listening.entity, dedupe=delivery, payload=encode(value))
    at_once(world.store.append([Batch(run_id=listening.run_id, fence=None, events=(event,))]))


def do(coroutine: Coroutine[Any, Any, object]) -> None:
    """At once, for its effect."""
    at_once(coroutine)


def race_flow(world: World) -> Any:
    """race(hook, sleep): the branch decides which step is created next."""

    @step(registry=world.registry)
    async def drain(n: int) -> str:
        return f"drained {n}"

    @step(registry=world.registry)
    async def sync() -> str:
        return "synced"

    @workflow(registry=world.registry)
    async def flow() -> str:
        async with hook(int, token="t") as numbers:
            try:
                async with asyncio.timeout(100):
                    n = await numbers
            except TimeoutError:
                return await sync()
            return await drain(n)

    return flow


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


def test_h49_due_and_never_taken_parks_the_run() -> None:
    """Something is due again and again and no turn moves the log: the run is parked with that reason, and nobody
    spins.
    """

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow() -> None:
            await sleep(5)

        async with world.worker("A") as a:
            await asyncio.sleep(1)
            started = await world.start(flow)
            await asyncio.sleep(2)
            live = a.shell.runs.enter(started.id)
            assert live.instance is not None
            live.instance.fire_due = lambda now: None  # type: ignore[method-assign]
            await asyncio.sleep(120)
            info = await started.status()
            assert info.status == "parked"
            assert info.parked is not None
            assert "due and never completed" in info.parked.recorded
            assert a.calls.count(("store", "load")) < 50
            a.shell.runs.leave(live)

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


def changed_flow(registry: Registry, *, renamed: bool) -> Any:
    """Two builds of one workflow: the second calls its first step by another name."""

    @step(registry=registry, name="second" if renamed else "first")
    async def work() -> str:
        return "done"

    @workflow(registry=registry)
    async def flow() -> str:
        result = await work()
        async with hook(str, token="t") as words:
            return result + await words

    return flow


def test_h30_h31_h105_a_run_is_parked_and_taken_up_by_a_fitting_build() -> None:
    """A worker with other code meets the log: parked with both sides and the source line, nothing is written; a worker
    of the fitting build takes it up by itself.
    """

    async def main() -> None:
        world = World(build="old")
        flow = changed_flow(world.registry, renamed=False)
        async with world.worker("A"):
            started = await world.start(flow)
            await asyncio.sleep(3)
        before = await world.log(started)
        world.registry = Registry()
        changed_flow(world.registry, renamed=True)
        world.config = World(build="new").config
        async with world.worker("B"):
            land_signal(world, "t", "!")
            await asyncio.sleep(30)
            info = await started.status()
            assert info.status == "parked"
            assert info.parked is not None
            assert (info.parked.build, info.parked.seq) == ("new", 3)
            assert "first#1" in info.parked.recorded
            assert "second#1" in info.parked.asked
            assert "test_hazards_turns.py" in info.parked.source
            assert len(await world.log(started)) == len(before) + 1, "only the signal"
            with pytest.raises(errors.ResultTimeout):
                await started.result(60)
        world.registry = Registry()
        changed_flow(world.registry, renamed=False)
        world.config = World(build="old").config
        async with world.worker("C"):
            assert await started.result(30) == "done!"
        check(await world.log(started))

    run(main)


def test_divergence_can_be_made_to_fail_the_run() -> None:
    """divergence = "fail": CORRUPTED_EVENT_LOG with both sides in the message."""

    async def main() -> None:
        world = World(build="old")
        flow = changed_flow(world.registry, renamed=False)
        async with world.worker("A"):
            started = await world.start(flow)
            await asyncio.sleep(3)
        world.registry = Registry()
        changed_flow(world.registry, renamed=True)
        world.config = World(build="new", divergence="fail").config
        async with world.worker("B"):
            land_signal(world, "t", "!")
            with pytest.raises(errors.RunFailed, match="first#1") as caught:
                await started.result(60)
            assert caught.value.code == errors.CORRUPTED_EVENT_LOG

    run(main)


def test_h84_a_run_over_its_limits_fails_alone() -> None:
    """LIMIT_EXCEEDED names the limit, the value and the way out; another run on the worker is unharmed."""

    async def main() -> None:
        world = World(open_entities_max=10)

        @workflow(registry=world.registry)
        async def wide(n: int) -> int:
            await asyncio.gather(*(sleep(1) for _ in range(n)))
            return n

        async with world.worker("A"):
            good, bad = await world.start(wide, 10), await world.start(wide, 11)
            assert await good.result(60) == 10
            with pytest.raises(errors.RunFailed, match=r"11 is over open_entities_max = 10; .*Semaphore") as caught:
                await bad.result(60)
            assert caught.value.code == errors.LIMIT_EXCEEDED
            assert (await bad.status()).status == RunStatus.failed.name

    run(main)


def test_a_workflow_without_code_here_is_released_and_waits() -> None:
    """Not an error: the tick is offered again until a worker with the code comes."""

    async def main() -> None:
        world = World()
        flow = race_flow(world)
        full, world.registry = world.registry, Registry()
        async with world.worker("A") as a:
            started = await world.start(flow)
            await asyncio.sleep(60)
            assert a.calls.count(("queue", "release")) > 1
            assert (await started.status()).status == "pending"
            world.registry = full
            async with world.worker("B"):
                await asyncio.sleep(30)
                await world.client().resume("t", 1)
                assert await started.result(60) == "drained 1"

    run(main)


@pytest.mark.parametrize("build", ["old", "new"])
def test_the_last_resort_parks_outside_its_lock(build: str) -> None:
    """A run under a flood whose code has changed: the turn under the row lock diverges, leaves the lock, and parks."""

    async def main() -> None:
        world = World(build="old", conflict_limit=1)
        flow = changed_flow(world.registry, renamed=False)
        async with world.worker("A"):
            started = await world.start(flow)
            await asyncio.sleep(3)
        if build == "new":
            world.registry = Registry()
            changed_flow(world.registry, renamed=True)
            world.config = World(build="new", conflict_limit=1).config
        client = world.server.client("test")
        await client.enqueue([Entry("default", tick_key(started.id))])
        claimed = await client.claim("default", 1, 10_000)
        land_signal(world, "t", "!")
        own = Entry("default", tick_key(started.id))
        await client.settle(claimed.deliveries[0], [own], lease_ms=10_000, conflicts=1)
        async with world.worker("B") as b:
            await asyncio.sleep(5)
            assert b.seen["tick.locked"] == 1
            assert (await started.status()).status == ("parked" if build == "new" else "completed")

    run(main)
