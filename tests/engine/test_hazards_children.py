"""Hazards of children: timelines built at the fault points of the duties."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from engine_virtual import run
from engine_world import Member, World
from oracle import check_family
from test_crash_everywhere import families

from fencepost import sleep, step, workflow
from fencepost.authoring.workflow import Workflow
from fencepost.client.run import Run
from fencepost_store.events import EventType
from fencepost_store.lineage import parent_text


class Family:
    """A parent that awaits one child, whose step takes ``seconds``."""

    def __init__(self, world: World, seconds: float = 0.0) -> None:
        self.undone = 0

        @step(registry=world.registry)
        async def work() -> int:
            await asyncio.sleep(seconds)
            return 4

        @step(registry=world.registry)
        async def undo() -> None:
            self.undone += 1

        @workflow(registry=world.registry)
        async def child() -> int:
            try:
                return await work()
            except asyncio.CancelledError:
                await undo()
                raise

        @workflow(registry=world.registry)
        async def parent() -> int:
            return await child()

        @workflow(registry=world.registry)
        async def starts_and_cancels() -> str:
            handle = child.start()
            handle.cancel("at once")
            await sleep(5)
            return handle.id

        self.child: Workflow[[], int] = child
        self.parent: Workflow[[], int] = parent
        self.starts_and_cancels: Workflow[[], str] = starts_and_cancels


async def child_of(world: World, parent: Run[Any], entity: str = "child#1") -> Any:
    """The child's row, None if it is not there."""
    return await world.store.newest_child(parent_text(parent.id, entity))


async def appearing(world: World, parent: Run[Any], *, ended: bool = False) -> Any:
    """The child's row as soon as it is there, or has ended."""
    for _ in range(100):
        row = await child_of(world, parent)
        if row is not None and (row.status.ended or not ended):
            return row
        await asyncio.sleep(1)
    raise AssertionError("no child")


def within(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run on a virtual clock, for at most an hour of it: where a guard is missing a test may wait for what never
    comes.
    """
    run(lambda: asyncio.wait_for(main(), 3_600))


def lost(world: World, member: Member) -> None:
    """The worker dies, and Redis is emptied."""
    world.server.flush()
    member.crash()


@pytest.mark.parametrize("flushed", [False, True], ids=["crash", "crash and flush"])
@pytest.mark.parametrize("point", ["parent.before", "parent.told", "end.done", "settle.before"])
def test_h52_h96_a_child_s_last_turn_dies_around_telling_its_parent(point: str, flushed: bool) -> None:
    """Somebody tells it, once; until then the child's row has a deadline."""

    async def main() -> None:
        world = World()
        family = Family(world)
        async with world.worker("A") as a:

            def dies() -> None:
                lost(world, a) if flushed else a.crash()

            if point == "settle.before":  # of the turn that has just done the duties
                a.at("end.done", 1, lambda: a.at(point, a.seen[point] + 1, dies))
            else:
                a.at(point, 1, dies)
            started = await world.start(family.parent)
            await a.crashed.wait()
            child = await child_of(world, started)
            assert child.status.name == "completed"
            assert (child.wake_at is None) is (point == "settle.before")
        told = [event for event in await world.log(started) if event.type is EventType.child_completed]
        assert len(told) == (0 if point == "parent.before" else 1)
        async with world.worker("B"):
            assert await started.result(25) == 4
            await families(world)
        assert [event.type for event in await world.log(started)].count(EventType.child_completed) == 1

    within(main)


@pytest.mark.parametrize("flushed", [False, True], ids=["crash", "crash and flush"])
def test_h96_a_parent_s_turn_dies_before_its_child_s_run_exists(flushed: bool) -> None:
    """Recovery creates what is absent: the same run, for its id is derived."""

    async def main() -> None:
        world = World()
        family = Family(world)
        async with world.worker("A") as a:
            a.at("child.before", 1, lambda: lost(world, a) if flushed else a.crash())
            started = await world.start(family.parent)
            await a.crashed.wait()
            assert await child_of(world, started) is None
            parent = await world.store.get(started.id)
            assert parent is not None
            assert parent.wake_at is not None
        async with world.worker("B"):
            assert await started.result(25) == 4
            await families(world)
        assert len(await world.rows()) == 2

    within(main)


def test_h109_the_turn_that_lands_a_child_s_end_tells_its_parent() -> None:
    """At once, and not when a deadline brings the reconciler: there is none in this world."""

    async def main() -> None:
        world = World(reconcile_period_seconds=3_600)
        family = Family(world)
        async with world.worker("A"):
            began = asyncio.get_running_loop().time()
            assert await (await world.start(family.parent)).result(100) == 4
            assert asyncio.get_running_loop().time() - began < 1

    within(main)


def test_h110_a_child_is_created_asked_to_cancel_and_ticked_in_this_order() -> None:
    """Created and asked in one batch of the parent: the child's first turn finds the request."""

    async def main() -> None:
        world = World()
        family = Family(world, 1_000)
        async with world.worker("A"):
            child = await (await world.start(family.starts_and_cancels)).result(100)
            await families(world)
        log = await world.log_of(child)
        assert [event.type for event in log[:2]] == [EventType.run_created, EventType.cancel_requested]
        assert log[-1].type is EventType.run_cancelled
        assert family.undone == 1  # its code had come to its first await

    within(main)


def test_h110_a_child_is_asked_to_cancel_before_its_first_worker_creates_it() -> None:
    """A lands child_created and freezes. B, whose parent is cancelled meanwhile, creates the child, asks it to cancel,
    and ticks it. A wakes up, and its creation changes nothing: the child ends once, cancelled.
    """

    async def main() -> None:
        world = World()
        family = Family(world, 1_000)
        async with world.worker("A") as a:
            a.freeze_at("child.before", 1)
            started = await world.start(family.parent)
            await a.crashed.wait()
            await started.cancel("no more")
            async with world.worker("B"):
                child = await appearing(world, started, ended=True)
                a.thaw()
                await asyncio.sleep(60)
                await families(world)
        assert child.status.name == "cancelled"
        logs = {row.run_id: (row, await world.log_of(row.run_id)) for row in await world.rows()}
        check_family(logs)
        types = [event.type for event in logs[child.run_id][1]]
        assert types.count(EventType.cancel_requested) == 1
        assert logs[started.id][0].status.name == "cancelled"

    within(main)


def test_an_abandoned_child_is_created_also_if_its_parent_s_turn_dies() -> None:
    """A dies before it created the child, B after it landed child_abandoned and before it created the child: recovery
    remembers children that were given up.
    """

    async def main() -> None:
        world = World()

        @step(registry=world.registry)
        async def work() -> int:
            return 4

        @workflow(registry=world.registry)
        async def child() -> int:
            return await work()

        @workflow(registry=world.registry)
        async def parent() -> str:
            try:
                async with asyncio.timeout(1):
                    await child.with_options(parent_close="abandon")()
            except TimeoutError:
                await sleep(100)
            return "gave up"

        async with world.worker("A") as a:
            a.crash_at("child.before", 1)
            started = await world.start(parent)
            await a.crashed.wait()
        await asyncio.sleep(2)
        async with world.worker("B") as b:
            b.crash_at("child.before", 1)
            await b.crashed.wait()
        assert "child_abandoned child#1" in await world.shape(started)
        assert await child_of(world, started) is None
        async with world.worker("C") as c:
            c.accept_suspects = True  # two workers died of this turn, and a third may run it
            row = await appearing(world, started)
            assert (await started.status()).status == "running"
            assert await world.client().run(row.run_id).result(20) == 4
            assert await started.result(200) == "gave up"
            await families(world)
        shape = await world.shape(started)
        assert "child_abandoned child#1" in shape
        assert "child_completed child#1" not in shape

    within(main)
