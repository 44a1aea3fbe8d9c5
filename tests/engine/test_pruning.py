"""Pruning among live runs: chains, families, what comes late, and who dies half-way."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import pytest
from engine_virtual import run
from engine_world import World

from fencepost import ArgumentError, RunNotFound, continue_as_new, hook, sleep, step, stream, workflow
from fencepost.pruning import Pruned
from fencepost_queue.protocol import Entry, step_key, tick_key
from fencepost_store.protocol import StoreTrouble

HOUR = 3600.0


def chain_of(world: World, bodies: list[int], pause: float = 10) -> Any:
    """A workflow that continues as new up to a number; ``bodies``: what its step was called with."""

    @step(registry=world.registry)
    async def note(n: int) -> None:
        bodies.append(n)

    @workflow(registry=world.registry)
    async def count(n: int, until: int) -> int:
        await note(n)
        await sleep(pause)
        if n < until:
            continue_as_new(n + 1, until=until)
        return n

    return count


async def late(world: World, run_id: str) -> None:
    """Messages that were on their way when the run was pruned."""
    queue = world.server.client("late")
    await queue.enqueue(
        [Entry("default", tick_key(run_id), recover=True), Entry("default", step_key(run_id, "note#1"), recover=True)]
    )
    await asyncio.sleep(60)


async def empty(world: World) -> bool:
    """Whether the queue has no message left."""
    return all(
        (lane.ready, lane.leased, lane.delayed) == (0, 0, 0) for lane in await world.server.client("look").depth()
    )


def test_the_holder_of_a_key_stays_while_its_chain_goes_on() -> None:
    """And until the last of it is old enough; then all of it goes, and nothing brings any of it back."""

    async def main() -> None:
        world = World()
        bodies: list[int] = []
        count = chain_of(world, bodies, pause=2 * HOUR)
        client = world.client()
        async with world.worker("A"):
            first = await client.start(count, 1, 3, key="k")
            await asyncio.sleep(5.5 * HOUR)
            assert bodies == [1, 2, 3]
            kept = await client.prune(HOUR)
            assert kept == Pruned(kept_for_chain=2), "the first and, as it is there, the second"
            assert (await client.start(count, 1, 3, key="k")).id == first.id
            assert await first.result(2 * HOUR) == 3
            assert (await client.prune(HOUR)).runs == 0, "its chain has ended a moment ago"
            assert (await client.start(count, 1, 3, key="k")).id == first.id
            await asyncio.sleep(HOUR)
            ids = [row.run_id for row in await world.rows()]
            assert (await client.prune(HOUR, dry_run=True)) == Pruned(runs=3, dry_run=True)
            assert (await client.prune(HOUR)).runs == 3
            for run_id in ids:
                await late(world, run_id)
            assert await world.rows() == []
            assert bodies == [1, 2, 3]
            assert await empty(world)
            with pytest.raises(RunNotFound):
                await client.run(first.id).result(1)

    run(main)


def test_a_chain_without_a_key_loses_its_old_runs_and_goes_on() -> None:
    async def main() -> None:
        world = World()
        bodies: list[int] = []
        count = chain_of(world, bodies, pause=HOUR)
        client = world.client()
        async with world.worker("A"):
            first = await client.start(count, 1, 5)
            await asyncio.sleep(3.5 * HOUR)
            assert (await client.prune(timedelta(hours=1))).runs == 2
            for run_id in (first.id,):
                await late(world, run_id)
                with pytest.raises(RunNotFound):
                    await client.run(run_id).cancel()
            assert len(await world.rows()) == 2
            await asyncio.sleep(3 * HOUR)
            assert bodies == [1, 2, 3, 4, 5]
            assert (await world.rows())[0].status.name == "completed"

    run(main)


def test_a_successor_is_never_pruned_before_its_predecessor() -> None:
    """Or whoever asks the predecessor for its result would start it again."""

    async def main() -> None:
        world = World()
        bodies: list[int] = []
        count = chain_of(world, bodies)
        client = world.client()
        async with world.worker("A"):
            first = await client.start(count, 1, 2)
            assert await first.result(100) == 2
            await asyncio.sleep(2 * HOUR)
            assert await client.prune(HOUR, statuses=["completed"]) == Pruned(kept_for_chain=1)
            await late(world, first.id)
            assert await client.run(first.id).result(100) == 2
            assert bodies == [1, 2]
            assert (await client.prune(HOUR, statuses=["completed", "continued"], batch=1)).runs == 2

    run(main)


@pytest.mark.parametrize("how", ["open", "ended", "told"])
def test_a_child_is_never_pruned_while_its_parent_could_make_it_again(how: str) -> None:
    """Open: the parent has given it up and waits for a signal. Ended: it had left it behind. A recovering tick of the
    parent makes absent children in both cases. Told: it has recorded the end, so the child may go alone."""

    async def main() -> None:
        world = World()
        bodies: list[str] = []

        @step(registry=world.registry)
        async def note() -> None:
            bodies.append("x")

        @workflow(registry=world.registry)
        async def kid() -> None:
            await note()
            await sleep(5)

        @workflow(registry=world.registry)
        async def parent() -> None:
            left_behind = kid.with_options(parent_close="abandon")
            if how == "told":
                await kid()
            elif how == "ended":
                left_behind.start()
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await left_behind()
            if how != "ended":
                async with hook(str, token="t") as words:
                    await words

        client = world.client()
        async with world.worker("A"):
            started = await client.start(parent)
            await asyncio.sleep(2 * HOUR)
            assert bodies == ["x"]
            pruned = await client.prune(HOUR, workflow="kid")
            assert pruned == (Pruned(runs=1, rows=pruned.rows) if how == "told" else Pruned(kept_for_parent=1))
            await late(world, started.id)
            assert bodies == ["x"], "never again"
            if how == "ended":
                assert (await client.prune(HOUR)).runs == 2
                assert await world.rows() == []
            else:
                await client.resume("t", "go")
                await started.result(100)
            assert await empty(world)

    run(main)


def test_who_reads_a_run_that_goes_is_told_so() -> None:
    """Status, events, stream and streams: not there. Never a part of it."""

    async def main() -> None:
        world = World()

        @step(registry=world.registry)
        async def talk() -> None:
            async with stream("numbers", int) as out:
                for n in range(3):
                    await out.write(n)

        @workflow(registry=world.registry)
        async def flow() -> None:
            await talk()

        client = world.client()
        async with world.worker("A"):
            started = await client.start(flow)
            await started.result(100)
            await asyncio.sleep(HOUR)
            reading = aiter(started.stream("numbers", int))
            assert await anext(reading) == 0
            assert (await client.prune(HOUR)).runs == 1
            assert [n async for n in reading] == [1, 2], "a page that was read stays read"
            for ask in (started.status, started.streams, started.stream("numbers", int).tail, started.terminate):
                with pytest.raises(RunNotFound):
                    await ask()
            with pytest.raises(RunNotFound):
                _ = [event async for event in started.events()]
            with pytest.raises(RunNotFound):
                _ = [n async for n in started.stream("numbers", int)]

    run(main)


def test_who_prunes_next_sweeps_what_the_last_one_left() -> None:
    """It died between the strokes."""

    async def main() -> None:
        world = World()
        count = chain_of(world, [])
        client = world.client()
        async with world.worker("A"):
            await (await client.start(count, 1, 1)).result(100)
        await asyncio.sleep(HOUR)
        sweep = world.memory.sweep
        calls = 0

        async def dies(rows: int) -> Any:
            nonlocal calls
            calls += 1
            if calls == 2:  # the first sweep is for what others left
                raise StoreTrouble("gone")
            return await sweep(rows)

        world.memory.sweep = dies  # type: ignore[method-assign]
        with pytest.raises(Exception, match="gone"):
            await client.prune(HOUR)
        assert await world.rows() == []
        done = await client.prune(HOUR)
        assert (done.runs, done.rows) == (0, 8)
        assert (await client.prune(HOUR)) == Pruned()

    run(main)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"older_than": 3599.9}, "older_than = 3599.9 s: must be at least 3600 s"),
        ({"older_than": float("nan")}, "older_than = nan s"),
        ({"older_than": timedelta(days=400_000)}, "at most"),
        ({"older_than": HOUR, "statuses": ["running"]}, "status 'running': only runs that have ended"),
        ({"older_than": HOUR, "statuses": "completed"}, "must be a sequence of names"),
        ({"older_than": HOUR, "batch": 0}, "batch = 0: must be between 1 and 10000"),
    ],
)
def test_bad_bounds_are_refused(given: dict[str, Any], said: str) -> None:
    async def main() -> None:
        with pytest.raises(ArgumentError) as caught:
            await World().client().prune(**given)
        assert said in str(caught.value)

    run(main)
