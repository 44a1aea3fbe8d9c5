"""Runs that cannot go on: parked for another build, failed by their limits, waiting for code. On a virtual clock."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from engine_flows import land_signal, race_flow
from engine_virtual import run
from engine_world import World
from oracle import check
from tests.log_lines import captured

from fencepost import errors, hook, sleep, step, workflow
from fencepost.authoring.registry import Registry
from fencepost_queue.protocol import Entry, tick_key
from fencepost_store.protocol import CorruptLog, RunStatus


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
            assert "test_hazards_parking.py" in info.parked.source
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


def test_h105_a_worker_that_saw_less_parks_nothing() -> None:
    """B's code does not fit. Between B's look at the log and its parking the run moves on: B leaves with a conflict and
    the run's tick, and A, whose code fits, goes on at once with a run that nobody has parked.
    """

    async def main() -> None:
        world = World(build="old")
        flow = changed_flow(world.registry, renamed=False)
        fits = world.registry, world.config
        async with world.worker("A"):
            started = await world.start(flow)
            await asyncio.sleep(3)
        world.registry, world.config = Registry(), World(build="new").config
        changed_flow(world.registry, renamed=True)
        async with world.worker("B") as b:
            load = b.store.load

            async def outrun(*args: Any) -> Any:
                del vars(b.store)["load"]
                loaded = await load(*args)
                land_signal(world, "t", "!")
                b.claims.stop()
                return loaded

            vars(b.store)["load"] = outrun
            await world.server.client("x").enqueue([Entry("default", tick_key(started.id))])
            await asyncio.sleep(3)
            assert b.calls.count(("store", "park")) == 1
            assert (await started.status()).status == "running"
        world.registry, world.config = fits
        async with world.worker("C"):
            assert await started.result(3) == "done!"
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


def test_h131_a_workflow_without_code_here_is_left_to_others() -> None:
    """Not an error, and no work for the worker that lacks it: the tick waits until a worker with the code comes, which
    has it at once."""

    async def main() -> None:
        world = World()
        flow = race_flow(world)
        full, world.registry = world.registry, Registry()
        async with world.worker("A") as a:
            started = await world.start(flow)
            await asyncio.sleep(60)
            assert a.calls.count(("queue", "refuse")) in (1, 2, 3), "once, and anew with each recovery"
            assert (await started.status()).status == "pending"
            world.registry = full
            async with world.worker("B"):
                await asyncio.sleep(0.5)
                assert (await started.status()).status == "running"
                await world.client().resume("t", 1)
                assert await started.result(60) == "drained 1"

    run(main)


@pytest.mark.parametrize("build", ["old", "new"])
def test_the_last_resort_parks_outside_its_lock(build: str) -> None:
    """A run under a flood whose code has changed: the last resort's replay diverges, and parks without a lock."""

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
            assert b.seen.get("tick.locked", 0) == (0 if build == "new" else 1), "what diverges needs no lock"
            assert (await started.status()).status == ("parked" if build == "new" else "completed")

    run(main)


def test_h84_early_warnings_come_once_before_a_limit() -> None:
    """At 80 % of a limit, one line in the log names it, with value and bound."""

    async def main() -> None:
        world = World(open_entities_max=10)

        @workflow(registry=world.registry)
        async def wide(n: int) -> int:
            for _ in range(3):
                await asyncio.gather(*(sleep(1) for _ in range(n)))
            return n

        async with world.worker("A"):
            with captured() as logs:
                assert await (await world.start(wide, 8)).result(60) == 8
                assert await (await world.start(wide, 9)).result(60) == 9
        near = [line for line in logs if line["event"] == "limit_near"]
        assert [(line["limit"], line["value"], line["bound"]) for line in near] == [("open_entities_max", 9, 10)]

    run(main)


def test_h36_changed_arguments_are_logged_and_not_parked() -> None:
    """A deploy adds a default to what a step is given: one line in the log, and the run goes on."""

    async def main() -> None:
        world = World()
        client = world.client()

        def build(extra: int) -> Any:
            registry = Registry()

            @step(registry=registry)
            async def work(value: dict[str, int]) -> int:
                return value["a"]

            @workflow(registry=registry)
            async def flow() -> int:
                first = await work({"a": 1, "extra": extra})
                async with hook(int, token="t") as numbers:
                    return first + await numbers

            world.registry = registry
            return flow

        flow = build(1)
        async with world.worker("A"):
            started = await world.start(flow)
            await asyncio.sleep(3)
        build(2)
        with captured() as logs:
            async with world.worker("B"):
                await client.resume("t", 1)
                assert await started.result(30) == 2
        changed = [line for line in logs if line["event"] == "arguments_changed"]
        assert [line["entities"] for line in changed] == [["work#1"]]

    run(main)


def test_h05_a_corrupt_log_parks_its_run() -> None:
    """A gap is never replayed, never appended to and never retried for ever: the run waits for an operator."""

    async def main() -> None:
        world = World()
        flow = race_flow(world)
        async with world.worker("A") as a:
            await asyncio.sleep(1)
            started = await world.start(flow)
            await asyncio.sleep(1)
            real = world.memory.load

            async def gap(run_id: str, after_seq: int = 0, stamp: int | None = None) -> Any:
                raise CorruptLog(f"run {run_id}: seq 3 is missing")

            world.memory.load = gap  # type: ignore[method-assign]
            await world.client().resume("t", 1)
            await asyncio.sleep(60)
            info = await started.status()
            assert info.status == "parked"
            assert info.parked is not None
            assert "seq 3 is missing" in info.parked.recorded
            assert a.calls.count(("queue", "release")) == 0
            world.memory.load = real  # type: ignore[method-assign]

    run(main)


def test_h136_two_builds_do_not_park_one_run_in_turn() -> None:
    """Neither fits its log: each says so once, and both sides are kept. A build that has not tried takes it up."""

    async def main() -> None:
        world = World(build="old", reconcile_period_seconds=1.0)

        def flow(registry: Registry, name: str) -> Any:
            @step(registry=registry, name=name)
            async def work() -> None: ...

            @workflow(registry=registry, name="flow")
            async def body() -> str:
                await work()
                async with hook(str, token="go") as go:
                    return await go

            return body

        started = None
        async with world.worker("first"):
            started = await world.start(flow(world.registry, "recorded"))
            await asyncio.sleep(1)
        fitting = world.registry
        members = []
        async with contextlib.AsyncExitStack() as stack:
            for build in ("A", "B"):
                world.registry = Registry()
                flow(world.registry, f"of_{build}")
                world.config = World(build=build, reconcile_period_seconds=1.0).config
                members.append(await stack.enter_async_context(world.worker(build)))
            await world.client().resume("go", "on", id="1")
            await asyncio.sleep(60)
            assert sum(one.calls.count(("store", "park")) for one in members) == 2, "once by each build"
            parked = (await started.status()).parked
            assert parked is not None
            assert set(parked.builds) == {"A", "B"}
            assert {parked.asked, parked.before[0].asked} == {f"step_created of_{one}#1 (of_{one})" for one in "AB"}
            world.registry = fitting
            world.config = World(build="C", reconcile_period_seconds=1.0).config
            await stack.enter_async_context(world.worker("C"))
            assert await started.result(10) == "on"
        check(await world.log(started))

    run(main)
