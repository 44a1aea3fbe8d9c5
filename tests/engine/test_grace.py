"""The grace of a cancellation: a bound that holds without redis, without workers, without code."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

from engine_tidy import Tidy, ends, under_way
from engine_virtual import run
from engine_world import World
from oracle import check

from fencepost import hook, sleep, workflow
from fencepost_queue.protocol import tick_key


def test_the_grace_ends_what_does_not_end_by_itself() -> None:
    """At its time, by the delayed tick, the run is terminated with the reason; a later request may shorten it and
    cannot lengthen it.
    """

    async def main() -> None:
        world = World()
        tidy = Tidy(world)
        loop = asyncio.get_running_loop()
        async with world.worker("A"):
            for graces, expected in ((["30"], 30), (["30", "10"], 10), (["30", "90"], 30)):
                started = await under_way(world, tidy.stubborn)
                began = loop.time()
                for grace in graces:
                    await started.cancel(f"in {grace} s", grace=float(grace))
                error = await ends(started)
                assert (error.terminated, error.detail) == (True, f"in {expected} s")
                assert str(error) == f"run {started.id} was terminated: in {expected} s"
                assert expected <= loop.time() - began <= expected + 0.2
                assert (await started.status()).wake_at is None
                check(await world.log(started))
            await asyncio.sleep(5)
            assert await world.server.client("x").peek("default", 10) == []

    run(main)


def test_a_run_that_ends_within_its_grace_is_cancelled() -> None:
    """The grace is a bound, not a delay."""

    async def main() -> None:
        world = World()
        tidy = Tidy(world)
        async with world.worker("A"):
            started = await under_way(world, tidy.flow)
            await started.cancel("bye", grace=timedelta(seconds=60))
            error = await ends(started, 20)
            assert (error.terminated, tidy.undone) == (False, ["bye"])

    run(main)


def test_the_grace_holds_when_redis_is_emptied_and_all_workers_die() -> None:
    """Its end is an instant in the log, and the run's deadline covers it."""

    async def main() -> None:
        world = World()
        tidy = Tidy(world)
        async with world.worker("A"):
            started = await under_way(world, tidy.stubborn)
            await started.cancel("bye", grace=3600)
            await asyncio.sleep(1)
            wake = (await started.status()).wake_at
            assert wake is not None
        world.server.flush()
        await asyncio.sleep(3600)
        async with world.worker("B") as b:
            await asyncio.sleep(16)
            assert (await started.status()).status == "terminated"
            assert b.shell.slots.taken == 0
        assert (await ends(started)).detail == "bye"

    run(main)


def test_the_grace_is_the_deadline_of_a_run_that_waits_for_signals_only() -> None:
    """Such a run has none of its own, and its delayed tick may be lost."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def listens() -> None:
            async with hook(int, token="token") as numbers:
                while True:
                    with contextlib.suppress(asyncio.CancelledError):
                        await numbers

        loop = asyncio.get_running_loop()
        async with world.worker("A"):
            started = await under_way(world, listens)
            assert (await started.status()).wake_at is None
            await started.cancel("bye", grace=40)
            began = loop.time()
            await asyncio.sleep(20)
            await world.server.client("x").withdraw("default", [tick_key(started.id)])
            assert (await ends(started)).terminated
            assert 40 <= loop.time() - began <= 40 + 10 + 5 + 5 + 2

    run(main)


def test_the_grace_needs_no_code() -> None:
    """Neither code that is missing nor code that does not fit the log keeps a run beyond its grace."""

    async def main(fits: bool) -> None:
        world = World()
        tidy = Tidy(world)
        async with world.worker("A"):
            started = await under_way(world, tidy.stubborn)
        if fits:
            world.registry.workflows.clear()
        else:

            @workflow(name=tidy.stubborn.name, registry=(other := type(world.registry)()))
            async def stubborn() -> None:
                await sleep(1)

            assert stubborn.name == tidy.stubborn.name
            world.registry.workflows.clear()
            world.registry.workflows.update(other.workflows)
        await started.cancel("bye", grace=40)
        async with world.worker("B"):
            await asyncio.sleep(39)
            assert (await started.status()).status == ("running" if fits else "parked")
            await asyncio.sleep(18)
            assert (await started.status()).status == "terminated"
        check(await world.log(started))

    run(lambda: main(True))
    run(lambda: main(False))
