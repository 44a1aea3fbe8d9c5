"""Bugs that the simulator has found (tests/simulate), driven here by construction."""

from __future__ import annotations

import asyncio

import pytest
from engine_virtual import run
from engine_world import World, at_once
from msgspec.structs import replace
from tests.log_lines import captured

from fencepost import current, errors, hook, step, workflow
from fencepost.records import Failure, StepEnded, pack
from fencepost_queue.message import Kind
from fencepost_queue.protocol import step_key
from fencepost_store.events import EventType, NewEvent
from fencepost_store.protocol import Batch


def test_h69_a_retry_elsewhere_is_counted_by_who_has_a_live_instance() -> None:
    """Pointed seed 12: A runs attempt 1, B takes a turn meanwhile and so knows of its start, A's step_retrying lands
    unseen by B, and B runs attempt 2. It is the second error of a step with one retry, so the last.
    """

    async def main() -> None:
        world = World()
        began: list[int] = []

        @step(registry=world.registry, retries=1, first_delay=2.0)
        async def work() -> None:
            began.append(len(began) + 1)
            await asyncio.sleep(1)
            raise ValueError("no")

        @workflow(registry=world.registry)
        async def flow() -> None:
            async with hook(int, token="t"):
                await work()

        async with world.worker("A") as a:
            started = await world.start(flow)
            await asyncio.sleep(0.5)
            assert began == [1]
            a.claims.stop()
            async with world.worker("B"):
                await world.client().resume("t", 1)
                with pytest.raises(errors.RunFailed):
                    await started.result(60)
        assert began == [1, 2]
        kinds = [event.type for event in await world.log(started)]
        assert kinds.count(EventType.step_retrying) == 1

    run(main)


def test_h69_a_retry_that_lands_while_the_next_attempt_starts_is_counted() -> None:
    """Seed 445: A has lost the lease of attempt 1 without knowing. B looks the step up, A's step_retrying lands, B's
    start of attempt 2 lands. It is the second error of a step with one retry, so the last.
    """

    async def main() -> None:
        world = World()
        began: list[int] = []

        @step(registry=world.registry, retries=1, first_delay=2.0)
        async def work() -> None:
            began.append(len(began) + 1)
            if began == [1]:
                await asyncio.Event().wait()
            raise ValueError("no")

        @workflow(registry=world.registry)
        async def flow() -> None:
            await work()

        async with world.worker("A") as a:
            started = await world.start(flow)
            await asyncio.sleep(0.5)
            assert began == [1]
            a.claims.stop()
            async with world.worker("B") as b:

                def outrun() -> None:
                    failed = StepEnded(error=Failure(type="builtins.ValueError", message="no"))
                    event = NewEvent(EventType.step_retrying, "work#1", attempt=1, due_in=0, payload=pack(failed))
                    at_once(world.store.append([Batch(started.id, None, (event,))]))

                b.at("step.looked_up", 1, outrun)
                await world.server.client("supervisor").expire("A")
                with pytest.raises(errors.RunFailed):
                    await started.result(60)
        assert began == [1, 2]
        kinds = [event.type for event in await world.log(started)]
        assert kinds.count(EventType.step_retrying) == 1

    run(main)


def test_h125_the_last_heartbeat_before_an_error_waits_for_the_one_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pointed seed 84: the details before the last were on their way to the store when the body failed. They were cut
    off, which takes back no request, and landed behind the last ones.
    """

    async def main() -> None:
        world = World()
        found: list[list[int] | None] = []
        real = world.memory.beat

        async def land(run_id: str, entity: str, attempt: int, details: bytes) -> bool:
            sent.append(details)
            await asyncio.sleep(0.5 if len(sent) == 1 else 0.1)
            return await real(run_id, entity, attempt, details)

        async def beat(run_id: str, entity: str, attempt: int, details: bytes, stamp: int | None) -> bool:
            # The server carries it out, whether or not somebody still waits.
            return await asyncio.shield(asyncio.ensure_future(land(run_id, entity, attempt, details)))

        sent: list[bytes] = []
        monkeypatch.setattr(world.memory, "beat", beat)

        @step(registry=world.registry, retries=1, first_delay=2.0)
        async def work() -> None:
            found.append(current().heartbeat_details(list[int]))
            if current().attempt == 1:
                current().heartbeat([1])
                await asyncio.sleep(0.2)
                current().heartbeat([2])
                await asyncio.sleep(0.1)
                raise ValueError("no")

        @workflow(registry=world.registry)
        async def flow() -> None:
            await work()

        async with world.worker("A"):
            started = await world.start(flow)
            await started.result(60)
        assert found == [None, [2]]

    run(main)


@pytest.mark.parametrize("slots", [2, 3], ids=["all taken by the first batch", "one left for the second"])
def test_h128_a_turn_that_walks_away_keeps_no_slots(slots: int) -> None:
    """Seed 539448: the first batch has landed with two steps that are to run here, and before the turn's next batch the
    worker was frozen for longer than its lease. Its slots are free again, and it runs bodies as before.
    """

    async def main() -> None:
        world = World(concurrency=slots)

        @step(registry=world.registry)
        async def work() -> int:
            return 1

        @workflow(registry=world.registry)
        async def owner() -> None:
            async with hook(int, token="t") as numbers:
                await numbers

        @workflow(registry=world.registry)
        async def flow() -> int:
            async def third() -> int:
                async with hook(int, token="t") as mine:
                    assert await mine.conflict() is not None  # which is in the first batch
                return await work()

            return sum(await asyncio.gather(work(), work(), third()))

        async with world.worker("A") as a:
            await world.start(owner)
            await asyncio.sleep(1)
            a.seen.clear()
            keeper = a.shell.keeper

            def run_out() -> None:
                for delivery in keeper.all():
                    keeper.drop(delivery.token)

            a.at("append.after", 1, run_out)
            started = await world.start(flow)
            await asyncio.sleep(1)
            assert a.seen["append.after"] == 1
            assert a.shell.slots.taken == 0
            assert await started.result(60) == 3
            await asyncio.sleep(1)
            assert a.shell.slots.taken == 0

    run(main)


def test_h62_a_worker_that_is_given_a_step_which_it_is_running_stops_the_older_body() -> None:
    """Seed 88028: the lease of a body is ended under its live owner, who takes the message itself before any renewal
    tells it. Two bodies ran beside each other; if they ended together, the second one was taken for a bug of fencepost.
    """

    async def main() -> None:
        world = World()
        told: list[str] = []

        @step(registry=world.registry)
        async def work() -> int:
            attempt = current().attempt
            told.append(f"{attempt} begins")
            try:
                await asyncio.sleep(2)
            except asyncio.CancelledError:
                told.append(f"{attempt} is stopped")
                raise
            return attempt

        @workflow(registry=world.registry)
        async def flow() -> int:
            return await work()

        async with world.worker("A") as a:
            with captured() as logs:
                started = await world.start(flow)
                await asyncio.sleep(1.2)
                lane = world.server.lane("default")
                key = step_key(started.id, "work#1")
                lane.messages[key] = replace(lane.messages[key], at=0)
                lane.ring(Kind.step)
                world.server.deliver_rings()
                assert await started.result(10) == 2
                await asyncio.sleep(5)
            assert told == ["1 begins", "1 is stopped", "2 begins"]
            assert not [line for line in logs if line["log_level"] == "error"]
            assert lane.messages == {}
            assert a.shell.keeper.all() == []
            assert a.shell.slots.taken == 0

    run(main)
