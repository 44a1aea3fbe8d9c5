"""Runs that somebody starts by name: what the starter does not say the first turn's code settles, in the log (H134)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from engine_real import place
from engine_virtual import run
from engine_world import World
from oracle import check

from fencepost import continue_as_new, current, errors, payload, sleep, step, workflow
from fencepost.authoring.registry import Registry
from fencepost.client.run import Run
from fencepost.records import RunStarted, unpack
from fencepost.replay.recorded import fit
from fencepost_store.events import EventType


async def settled(world: World, started: Run[Any]) -> RunStarted:
    """What the run's run_started says."""
    (event,) = [one for one in await world.log(started) if one.type is EventType.run_started]
    check(await world.log(started), ended=False)
    return unpack(event.payload, RunStarted)


def two_queues(world: World) -> None:
    """A workflow whose turns belong to the queue gpu, and a step that says where its run is."""

    @step(registry=world.registry)
    async def where() -> str:
        return current().queue

    @workflow(registry=world.registry, queue="gpu", timeout=50)
    async def render(seconds: float = 0) -> str:
        if seconds:
            await sleep(seconds)
        return await where()


def test_h134_a_declared_timeout_holds_for_a_start_by_name() -> None:
    """In the first turn and in every later one, also by code that declares another; and a start with the code has its
    starter's."""

    async def main() -> None:
        world = World()
        seen: list[str] = []

        def build(registry: Registry, timeout: float | None) -> Any:
            @workflow(registry=registry, timeout=timeout)
            async def slow() -> str:
                try:
                    await sleep(12)
                except asyncio.CancelledError:
                    seen.append("cancelled")
                    raise
                return "completed"

            return slow

        mine = build(world.registry, 3)
        async with world.worker("A"):
            started = await world.client().start("slow")
            with pytest.raises(errors.RunFailed, match="TimeoutError"):
                await started.result(60)
            assert (await started.status()).updated_at.timestamp() - (await started.status()).created_at.timestamp() < 4
            assert (await settled(world, started)).timeout == 3
            begun = await world.client().start("slow")
            await asyncio.sleep(1)
        world.registry = other = Registry()
        unbounded = build(other, None)
        async with world.worker("B"):
            with pytest.raises(errors.RunFailed, match="TimeoutError"):
                await begun.result(60)
            assert await (await world.client().start("slow")).result(60) == "completed"
            assert await (await world.start(unbounded)).result(60) == "completed"
            with pytest.raises(errors.RunFailed, match="TimeoutError"):
                await (await world.start(mine)).result(60)
        assert len(seen) >= 3

    run(main)


def test_h134_a_run_is_moved_to_its_code_s_queue() -> None:
    """By the first turn: the row, the log and the tick; the turns and the steps are done there."""

    async def main() -> None:
        world = World(queues=("default",))
        two_queues(world)
        async with world.worker("D"):
            started = await world.client().start("render")
            later = await world.client().start("render", delay=20)
            await asyncio.sleep(1)
            assert (await started.status()).queue == "gpu"
            assert await world.shape(started) == ["run_created", "run_started"]
            assert (await settled(world, started)).queue == "gpu"
            assert (await later.status()).queue == "default", "its first turn has not come"
            world.config = World(queues=("gpu",)).config
            async with world.worker("G"):
                assert await started.result(5) == "gpu"
                assert await later.result(60) == "gpu"
                await world.settle()
        assert (await settled(world, later)).timeout == 50
        assert not world.server.lane("default").messages

    run(main)


def test_h134_what_the_starter_says_wins() -> None:
    """A queue that is given, also the one that would have been taken anyway."""

    async def main() -> None:
        world = World(queues=("default", "gpu"))
        two_queues(world)
        async with world.worker("A"):
            for queue in ("default", "gpu"):
                started = await world.client().start("render", queue=queue)
                assert await started.result(5) == queue
                assert (await started.status()).queue == queue
                assert (await settled(world, started)).timeout == 50
            flow = world.registry.find_workflow("render")
            assert flow is not None
            assert await (await world.start(flow)).result(5) == "gpu"
            same = await world.client().start("render", key="k")
            assert await same.result(5) == "gpu"
            assert (await world.client().start("render", key="k", strict=True)).id == same.id
            assert (await world.client().start(flow, key="k", strict=True)).id == same.id

    run(main)


@pytest.mark.parametrize("point", ["append.before", "append.after", "run.moved", "settle.before", "settle.after"])
def test_h134_h135_a_worker_dies_while_it_moves_a_run(point: str) -> None:
    """The row and run_started change together; the tick comes by the deadline, if by nothing else."""

    async def main() -> None:
        world = World(queues=("default", "gpu"), lease_seconds=3.0)
        two_queues(world)
        async with world.worker("A") as a:
            a.crash_at(point)
            started = await world.client().start("render")
            await a.crashed.wait()
            row, log = await started.status(), await world.shape(started)
            assert (row.queue == "gpu") == ("run_started" in log)
        async with world.worker("B"):
            assert await started.result(60) == "gpu"
        check(await world.log(started))

    run(main)


def test_h135_a_run_is_moved_once() -> None:
    """Builds that want it in each other's queue do not pass it to and fro; and a tick in the old queue follows it."""

    async def main() -> None:
        world = World(queues=("default", "gpu", "cpu"))
        two_queues(world)
        other = Registry()

        @workflow(registry=other, queue="cpu", timeout=1, name="render")
        async def render(seconds: float = 0) -> str: ...

        assert render.queue == "cpu"
        async with world.worker("A"):
            started = await world.client().start("render", 5)
            await asyncio.sleep(1)
        world.registry, mine = other, world.registry
        async with world.worker("B"):
            await started.cancel("not yet", grace=None, id="x")
            await asyncio.sleep(1)
            assert (await started.status()).queue == "gpu"
        world.registry = mine
        assert [one.type for one in await world.log(started)].count(EventType.run_started) == 1

    run(main)


def test_h134_a_chain_keeps_what_was_settled() -> None:
    """continue_as_new: the timeout and the queue of the first run, whatever the code that goes on declares."""

    async def main() -> None:
        world = World(queues=("default", "gpu"))

        def build(registry: Registry, timeout: float, queue: str) -> None:
            @workflow(registry=registry, timeout=timeout, queue=queue, name="poll")
            async def poll(page: int = 0) -> int:
                await sleep(2)
                if page < 1:
                    continue_as_new(page + 1)
                await sleep(60)
                return page

        build(world.registry, 10, "gpu")
        async with world.worker("A"):
            started = await world.client().start("poll")
            await asyncio.sleep(1)
        world.registry = other = Registry()
        build(other, 1_000, "default")
        async with world.worker("B"):
            with pytest.raises(errors.RunFailed, match="TimeoutError"):
                await started.result(60)
        assert {row.queue for row in await world.rows()} == {"gpu"}

    run(main)


async def test_h134_on_real_servers(postgres_url: str, valkey_url: str) -> None:
    """Started by name, also in the caller's own transaction: row and log agree, and it runs in its queue."""
    async with place(postgres_url, valkey_url, queues=("default", "gpu")) as here:

        @step(registry=here.registry)
        async def where() -> str:
            return current().queue

        @workflow(registry=here.registry, queue="gpu", timeout=50)
        async def render() -> str:
            return await where()

        assert render.queue == "gpu"
        async with here.worker():
            plain = await here.client.start("render")
            async with here.admin.transaction():
                joined = await here.client.start("render", connection=here.admin)
            for started in (plain, joined):
                assert await started.result(30) == "gpu"
                assert (await started.status()).queue == "gpu"
                (begun,) = [one async for one in started.events() if one.type is EventType.run_started]
                said = unpack(begun.payload, RunStarted)
                assert (said.queue, said.timeout) == ("gpu", 50)


def test_h165_a_start_by_name_keeps_the_defaults_of_the_first_turns_code() -> None:
    """In the log: code with other defaults that replays the run later does not change it half-way."""

    async def main() -> None:
        world = World()

        def build(registry: Registry, cents: int, times: int) -> None:
            @step(registry=registry)
            async def note(what: str) -> str:
                return what

            @workflow(registry=registry)
            async def flow(order: int, cents: int = cents, *, times: int = times, seen: list[int] = []) -> str:  # noqa: B006
                seen.append(order)
                for n in range(times):
                    await note(f"{n}")
                    await sleep(5)
                return f"{order} {cents} {times} {len(seen)}"

        build(world.registry, cents=5, times=2)
        async with world.worker("A"):
            started = [await world.client().start("flow", n) for n in (1, 2)]
            spelled = await world.client().start("flow", 3, cents=7, times=1, seen=[])
            await asyncio.sleep(2)
            begun = await settled(world, started[0])
            assert payload.decode(begun.input) == [[1, 5], {"times": 2, "seen": []}]
        world.registry = other = Registry()
        build(other, cents=99, times=1)
        async with world.worker("B"):
            assert [await one.result(60) for one in started] == ["1 5 2 1", "2 5 2 1"]
            assert await spelled.result(60) == "3 7 1 1"
            assert await (await world.client().start("flow", 4)).result(60) == "4 99 1 1"

    run(main)


@pytest.mark.parametrize(
    ("mine", "theirs", "development", "judged"),
    [
        ("v2", "v2", False, True),
        ("v2", "v1", False, False),
        ("dev", "dev", False, False),  # nobody has named a build
        ("dev", "dev-7", True, True),  # `fencepost dev`: the one worker of its folder
        ("v2", "dev-7", True, False),
    ],
)
def test_h133_arguments_of_a_start_by_name_that_fit_no_signature(
    mine: str, theirs: str, development: bool, judged: bool
) -> None:
    """A worker of the starter's own build says so, and the run fails; any other one leaves it to code that they fit."""

    async def main() -> None:
        world = World(build=mine)
        client = world.client()
        world.config = World(build=theirs, check_replay=development).config

        @workflow(registry=world.registry)
        async def greet(number: int) -> int:
            return number

        async with world.worker("A"):
            starts = [await client.start("greet", *given) for given in ((), (1, 2), ("x",))]
            right = await client.start("greet", 7)
            if judged:
                told = ("missing a required argument: 'number'", "too many positional", "Expected `int`, got `str`")
                for started, said in zip(starts, told, strict=True):
                    with pytest.raises(errors.RunFailed, match=said):
                        await started.result(5)
                    log = await world.log(started)
                    check(log)
                    flow = world.registry.find_workflow("greet")
                    assert flow is not None
                    assert fit(started.id, flow, log).difference is None
            else:
                await asyncio.sleep(20)
                assert [await world.shape(started) for started in starts] == [["run_created"]] * 3
            assert await right.result(5) == 7

    run(main)
