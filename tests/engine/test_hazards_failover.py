"""The store loses its last commits while a worker keeps what it knows of them. On a virtual clock.

What was lost comes again otherwise, at the same positions. The run must come to what the log says that remains.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from engine_virtual import run
from engine_world import Member, World
from tests.log_lines import captured

from fencepost import current, errors, hook, step, stream, workflow
from fencepost.lineage import bound
from fencepost_store.memory_failover import Committed
from fencepost_store.protocol import RunStatus

NOTICED = pytest.mark.parametrize("noticed", [False, True], ids=["unnoticed", "noticed"])


def fail_over(world: World, to: Committed, *, noticed: bool) -> None:
    """Another server takes over. ``noticed``: connections lead to it by name, and not by a pooler's."""
    world.memory.fail_over(to)
    world.memory.epoch += noticed


def gathering(world: World) -> Any:
    """A workflow that takes payloads until one is 1000; the last one's sum is computed by a step."""

    @step(registry=world.registry)
    async def add(*numbers: int) -> int:
        return sum(numbers)

    @workflow(registry=world.registry)
    async def flow() -> list[int]:
        taken: list[int] = []
        async with hook(int, token="t") as numbers:
            while sum(taken) < 1_000:
                taken.append(await numbers)
        return [await add(*taken), *taken]

    return flow


async def send(world: World, *numbers: int, name: str = "d") -> None:
    """Signals, each under an id of its own."""
    client = world.client()
    for number in numbers:
        await client.resume("t", number, id=f"{name}{number}")
    await asyncio.sleep(1)


@NOTICED
@pytest.mark.parametrize("again", [3, 2, 4], ids=["as many", "fewer", "more"])
def test_h190_h191_h192_a_live_instance_of_a_lost_branch_is_read_anew(again: int, noticed: bool) -> None:
    """10, 20 and 30 were accepted, taken, and are lost; others come to their positions, or to some of them. What the
    run comes to is what its log says, and it is parked by nobody.
    """

    async def main() -> None:
        world = World()
        flow = gathering(world)
        async with world.worker("A"):
            started = await world.start(flow)
            await asyncio.sleep(1)
            await send(world, 1, 2)
            before = world.memory.committed()
            await send(world, 10, 20, 30)
            fail_over(world, before, noticed=noticed)
            others = [50 * (n + 1) for n in range(again)]
            with captured() as lines:
                await send(world, *others)
                await send(world, 1_000)
                taken = [1, 2, *others, 1_000]
                assert await started.result(300) == [sum(taken), *taken]
            assert not [line for line in lines if line["event"] in ("run_parked", "log_corrupt")]
            replaced = [line["event"] for line in lines].count("log_replaced")
            assert replaced == (0 if noticed else 1)

    run(main)


@NOTICED
def test_h192_a_run_whose_start_is_all_that_is_left_begins_anew(noticed: bool) -> None:
    """The worker has seen all of it; the log is one event long."""

    async def main() -> None:
        world = World()
        flow = gathering(world)
        started = await world.start(flow)
        before = world.memory.committed()
        async with world.worker("A"):
            await asyncio.sleep(1)
            await send(world, 1, 2, 3)
            fail_over(world, before, noticed=noticed)
            await asyncio.sleep(120)  # its message is settled for what is lost: a deadline brings it back
            await send(world, 5, 1_000, name="again")
            assert await started.result(300) == [1_005, 5, 1_000]

    run(main)


@NOTICED
def test_h192_a_run_that_is_lost_is_dropped_and_its_messages_are_settled(noticed: bool) -> None:
    """Tick and step of it are looked up in vain, and nothing is left in the queue or in the worker."""

    async def main() -> None:
        world = World()
        ended: list[str] = []

        @step(registry=world.registry)
        async def work() -> None:
            await asyncio.sleep(30)
            ended.append("here")

        @workflow(registry=world.registry)
        async def flow() -> None:
            await work()

        async with world.worker("A") as a:
            await asyncio.sleep(1)
            before = world.memory.committed()
            started = await world.start(flow)
            await asyncio.sleep(5)
            fail_over(world, before, noticed=noticed)
            await asyncio.sleep(120)
            assert ended == ["here"], "a body that has begun runs on: nobody can know"
            assert await world.memory.get(started.id) is None
            assert not any(lane.messages for lane in world.server.lanes.values())
            assert a.shell.slots.taken == 0
            assert len(a.shell.runs) == 0
            with pytest.raises(errors.RunNotFound):
                await started.status()

    run(main)


@NOTICED
def test_h193_the_result_of_a_lost_step_is_not_that_of_its_namesake(noticed: bool) -> None:
    """The code calls the same step with what a signal says. The signal is lost while the body runs, another comes: the
    body that was called with the first one tells nobody, and the step is run for the second.
    """

    async def main() -> None:
        world = World()
        bodies: list[int] = []

        @step(registry=world.registry)
        async def double(n: int) -> int:
            bodies.append(n)
            await asyncio.sleep(10)
            return 2 * n

        @workflow(registry=world.registry)
        async def flow() -> int:
            async with hook(int, token="t") as numbers:
                return await double(await numbers)

        async with world.worker("A"):
            started = await world.start(flow)
            await asyncio.sleep(1)
            before = world.memory.committed()
            await send(world, 1)
            assert bodies == [1]
            fail_over(world, before, noticed=noticed)
            await send(world, 50)
            assert await started.result(300) == 100
            assert bodies == [1, 50]

    run(main)


def test_h193_nor_are_its_heartbeats_and_its_errors() -> None:
    """The namesake finds no details of another's attempt, and none of its retries is used up."""

    async def main() -> None:
        world = World()
        found: list[Any] = []

        @step(registry=world.registry, retries=1, first_delay=0.1)
        async def work(n: int) -> int:
            found.append((n, current().attempt, current().heartbeat_details()))
            for second in range(10):
                current().heartbeat([n, second])
                await asyncio.sleep(1)
            if len(found) < 3:
                raise ValueError(n)
            return n

        @workflow(registry=world.registry)
        async def flow() -> int:
            async with hook(int, token="t") as numbers:
                return await work(await numbers)

        async with world.worker("A"):
            started = await world.start(flow)
            await asyncio.sleep(1)
            before = world.memory.committed()
            await send(world, 1)
            fail_over(world, before, noticed=False)
            await send(world, 50)
            assert await started.result(300) == 50
            # Attempt 1 stands in the log, and its message was still the lost one's: a start that nobody made use of.
            assert found == [(1, 1, None), (50, 2, None), (50, 3, [50, 9])]

    run(main)


def test_h194_a_child_of_a_lost_decision_tells_its_parent_nothing() -> None:
    """The parent's code calls its child with what a signal says. The child's run was made for a decision that is lost:
    it ends, and the parent waits for the one that its log names.
    """

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def below(n: int) -> int:
            async with hook(int, token=f"below {n}") as numbers:
                return n + await numbers

        @workflow(registry=world.registry)
        async def above() -> int:
            async with hook(int, token="t") as numbers:
                return await below(await numbers)

        async with world.worker("A") as a:
            started = await world.start(above)
            await asyncio.sleep(1)
            before = world.memory.committed()
            a.at("child.before", 1, lambda: fail_over(world, before, noticed=False))
            await send(world, 1)
            await send(world, 50)
            client = world.client()
            await client.resume("below 1", 1_000)
            await asyncio.sleep(30)
            assert (await started.status()).status == "running"
            await client.resume("below 50", 7)
            assert await started.result(300) == 57
            rows = {row.run_id: row.status for row in await world.rows()}
            assert list(rows.values()) == [RunStatus.completed] * 3, "nobody's run has ended, and told nobody"

    run(main)


def test_h194_h197_what_a_turn_owes_is_not_done_on_another_server() -> None:
    """Where the fail-over is noticed between the append and its duties, no such child is made."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def below(n: int) -> int:
            return n

        @workflow(registry=world.registry)
        async def above() -> int:
            async with hook(int, token="t") as numbers:
                return await below(await numbers)

        async with world.worker("A") as a:
            started = await world.start(above)
            await asyncio.sleep(1)
            before = world.memory.committed()
            a.at("append.after", a.seen["append.after"] + 1, lambda: fail_over(world, before, noticed=True))
            await send(world, 1)
            await send(world, 50)
            assert await started.result(300) == 50
            assert len(await world.rows()) == 2

    run(main)


def test_h194_a_successor_has_another_id_on_another_branch() -> None:
    """A UUIDv7 still, of the same instant, and the same for whoever makes it for the same log."""
    made = "018bcfe5-6803-7976-a74e-7f435ad99f72"
    ids = {bound(made, stamp) for stamp in range(1, 100)}
    assert len(ids) == 99
    assert bound(made, 5) == bound(made, 5)
    assert bound(made, 0) == made
    assert {(one[:20], len(one), one[23]) for one in ids} == {(made[:20], 36, "-")}


def test_h195_chunks_that_are_lost_cost_an_attempt_and_no_retry() -> None:
    """Of three chunks that were taken one is there still. The attempt is handed back, and the next writes behind it."""

    async def main() -> None:
        world = World()
        states: list[Committed] = []
        attempts: list[tuple[int, int]] = []

        @step(registry=world.registry, retries=0)
        async def tell() -> str:
            async with stream("out", on_retry="continue") as writer:
                attempts.append((current().attempt, writer.written))
                for n in range(5):
                    await writer.write(n)
                    await writer.flush()
                    if current().attempt == 1:
                        states.append(world.memory.committed())
                    if (n, current().attempt) == (2, 1):
                        fail_over(world, states[0], noticed=False)
            return "told"

        @workflow(registry=world.registry)
        async def flow() -> str:
            return await tell()

        async with world.worker("A"):
            started = await world.start(flow)
            assert await started.result(300) == "told"
            assert attempts == [(1, 0), (2, 1)]
            assert [value async for value in started.stream("out")] == [0, 1, 2, 3, 4]

    run(main)


@NOTICED
def test_h196_a_cancellation_that_is_lost_ends_nothing(noticed: bool) -> None:
    """Its grace was known to the worker, and ends while the run goes on."""

    async def main() -> None:
        world = World()

        @step(registry=world.registry)
        async def slow() -> str:
            await asyncio.sleep(200)
            return "done"

        @workflow(registry=world.registry)
        async def flow() -> str:
            try:
                return await slow()
            except asyncio.CancelledError:
                return await slow()

        async with world.worker("A"):
            started = await world.start(flow)
            await asyncio.sleep(1)
            before = world.memory.committed()
            await started.cancel("no more", grace=20)
            await asyncio.sleep(5)
            fail_over(world, before, noticed=noticed)
            await asyncio.sleep(60)
            assert await started.result(900) == "done"

    run(main)


def test_h197_instances_are_dropped_where_the_store_leads_to_another_server() -> None:
    """Each at its run's next turn or result, whatever the log says; the run goes on."""

    async def main() -> None:
        world = World()
        flow = gathering(world)
        async with world.worker("A") as a:
            started = await world.start(flow)
            await asyncio.sleep(1)
            await send(world, 1)
            first = instance_of(a, started.id)
            await send(world, 2)
            assert instance_of(a, started.id) is first
            world.memory.epoch += 1
            await send(world, 3)
            assert instance_of(a, started.id) is not first
            await send(world, 1_000)
            assert await started.result(300) == [1_006, 1, 2, 3, 1_000]

    run(main)


def instance_of(member: Member, run_id: str) -> Any:
    """The live instance that the worker has."""
    live = member.shell.runs.enter(run_id)
    try:
        assert live.instance is not None
        return live.instance
    finally:
        member.shell.runs.leave(live)
