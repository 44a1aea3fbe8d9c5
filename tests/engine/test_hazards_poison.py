"""Hazards of crashes: suspects, poison, bystanders, hand-backs. On a virtual clock, by construction."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from engine_flows import Flow, claim_one
from engine_virtual import run
from engine_world import Member, World
from oracle import check

from fencepost import errors, step, workflow
from fencepost.engine.alone import Alone, Report
from fencepost.engine.bodies import Attempt, crashed
from fencepost.engine.shortage import NotBegun
from fencepost.records import StepCreated, StepEnded
from fencepost_queue.protocol import Delivery, Entry, step_key, tick_key
from fencepost_store.events import EventType


def test_h66_a_step_that_kills_its_worker_is_run_alone_and_then_fails() -> None:
    """Two crashes make it a suspect, two proofs in solitude fail it with a catchable StepCrashed; step_started does
    not reset the count.
    """

    async def main() -> None:
        world = World()

        @step(registry=world.registry)
        async def deadly() -> None:
            await asyncio.Event().wait()

        @workflow(registry=world.registry)
        async def flow() -> str:
            try:
                await deadly()
            except errors.StepCrashed:
                return "caught"
            return "survived"

        started = await world.start(flow)
        for name in ("A", "B"):
            async with world.worker(name):
                await asyncio.sleep(12)
        async with world.worker("C") as c:
            assert await started.result(100) == "caught"
            assert [delivery.crashes for delivery in c.suspects] == [2, 2]
            assert [delivery.proofs for delivery in c.suspects] == [0, 1]
        check(await world.log(started))

    run(main)


class Dies(Alone):
    """Every child dies before it can say anything."""

    async def _child(self, delivery: Delivery, stopped: asyncio.Event) -> Report | None:
        return None


def test_h66_a_death_in_solitude_is_a_proof() -> None:
    """A suspect's child dies, twice: each is a proof, and with the second the step fails. Without the count it would be
    tried alone for ever.
    """

    async def main() -> None:
        world = World()
        flow = Flow(world, seconds=60)
        started = await world.start(flow.main)
        for name in ("A", "B"):
            async with world.worker(name):
                await asyncio.sleep(12)
        async with world.worker("C") as c:
            alone = Dies(c.shell, world.config, ())
            proofs: list[int] = []

            async def told(delivery: Delivery) -> None:
                proofs.append(delivery.proofs)
                await asyncio.sleep(1)
                await alone(delivery)

            c.alone = told
            with pytest.raises(errors.RunFailed) as caught:
                await started.result(100)
            assert caught.value.code == errors.STEP_CRASHED
            assert proofs == [0, 1]
        check(await world.log(started))

    run(main)


class CannotStart(Alone):
    """Its children die before they come to user code, but for the fourth."""

    asked: list[float]

    async def _child(self, delivery: Delivery, stopped: asyncio.Event) -> Report | None:
        self.asked.append(asyncio.get_running_loop().time())
        if len(self.asked) < 4:
            raise NotBegun("a process to run it alone")
        return Report(True)


def test_h205_a_process_that_cannot_start_is_no_proof() -> None:
    """However often: the message is handed back, for longer each time, and keeps no seat."""

    async def main() -> None:
        world = World()
        member = Member(world, "A")
        alone = CannotStart(member.shell, world.config, ())
        alone.asked = []
        loop, queue = asyncio.get_running_loop(), world.server.client("A")
        await queue.enqueue([Entry("default", step_key("run", "a#1"))])
        gaps: list[float] = []
        while len(alone.asked) < 4:
            claimed = (await queue.claim("default", 1, 60_000)).deliveries
            for delivery in claimed:
                assert delivery.proofs == 0
                member.shell.keeper.hold(delivery, loop.time())
                gaps += [loop.time() - alone.asked[-1]] if alone.asked else []
                await alone(delivery)
            await asyncio.sleep(0.1)
        assert 1 <= gaps[0] <= 2.2
        assert 2 <= gaps[1] <= 4.2
        assert 4 <= gaps[2] <= 8.2
        assert await queue.peek("default", 1) == []
        await member.end()

    run(main)


def test_h205_the_second_proof_waits() -> None:
    """So that what else was wrong with the machine is not the second one as well."""

    async def main() -> None:
        world = World()
        member = Member(world, "A")
        loop, queue = asyncio.get_running_loop(), world.server.client("A")
        await queue.enqueue([Entry("default", step_key("run", "a#1"))])
        (delivery,) = (await queue.claim("default", 1, 60_000)).deliveries
        member.shell.keeper.hold(delivery, loop.time())
        await Dies(member.shell, world.config, ())(delivery)
        (message,) = await queue.peek("default", 1)
        assert (message.state, message.proofs) == ("delayed", 1)
        assert message.due_ms is not None
        assert 2_500 <= message.due_ms <= 5_000
        await member.end()

    run(main)


def test_h66_a_step_that_kills_its_worker_before_it_is_started_fails_too() -> None:
    """The process dies on the way to the body, so the log has no start: the step fails as its attempt 0."""

    async def main() -> None:
        world = World()

        @step(registry=world.registry, queue="deadly")
        async def deadly() -> None:
            raise AssertionError("no body is ever run")

        @workflow(registry=world.registry)
        async def flow() -> str:
            try:
                await deadly()
            except errors.StepCrashed:
                return "caught"
            return "survived"

        async with world.worker("A"):
            started = await world.start(flow)
            await asyncio.sleep(1)
        for name in ("B", "C"):
            (taken,) = (await world.server.client(name).claim("deadly", 1, 10_000)).deliveries
            await world.server.client(name).renew([taken], 10_000, begin=True)
            assert taken.key == step_key(started.id, "deadly#1")
            await world.server.client("supervisor").expire(name)
        world.config = World(queues=("default", "deadly")).config
        async with world.worker("D") as d:
            assert await started.result(30) == "caught"
            assert [delivery.proofs for delivery in d.suspects] == [0, 1]
        (failed,) = [event for event in await world.log(started) if event.type is EventType.step_failed]
        assert failed.attempt == 0
        check(await world.log(started))

    run(main)


def test_h67_a_tick_that_kills_its_worker_fails_its_run() -> None:
    """MAX_DELIVERIES_EXCEEDED, written without a fence, while signals move the log."""

    async def main() -> None:
        world = World()
        flow = Flow(world)
        started = await world.start(flow.main)
        key = tick_key(started.id)
        for name in ("A", "B"):
            await claim_one(world, name, key)
            await world.server.client("supervisor").expire(name)
        async with world.worker("C") as c:
            with pytest.raises(errors.RunFailed) as caught:
                await started.result(100)
            assert caught.value.code == errors.MAX_DELIVERIES_EXCEEDED
            assert len(c.suspects) == 2
        check(await world.log(started))

    run(main)


def test_h75_bystanders_of_a_poison_are_not_blamed() -> None:
    """A poison shares its worker with 20 healthy steps, five times in a row: only proofs in solitude count, so all 20
    complete.
    """

    async def main() -> None:
        world = World()
        ran: list[int] = []

        @step(registry=world.registry)
        async def healthy(n: int) -> int:
            await asyncio.sleep(5)
            ran.append(n)
            return n

        @workflow(registry=world.registry)
        async def flow(n: int) -> int:
            return await healthy(n)

        runs = [await world.start(flow, n) for n in range(20)]
        for name in "ABCDE":
            async with world.worker(name) as member:
                member.accept_suspects = True
                await asyncio.sleep(2)
            await world.server.client("supervisor").expire(name)
        async with world.worker("F") as f:
            f.accept_suspects = True
            results = [await started.result(200) for started in runs]
            assert results == list(range(20))
            assert f.suspects, "they were suspects, and were cleared by running"

    run(main)


def test_h68_handing_back_is_not_a_crash() -> None:
    """Drained five times over, the message has no crash to its name."""

    async def main() -> None:
        world = World()
        flow = Flow(world, seconds=60)
        started = await world.start(flow.main)
        for name in "ABCDE":
            async with world.worker(name) as member:
                await asyncio.sleep(1)
                await member.drain()
        peeked = {message.key: message for message in await world.server.client("x").peek("default", 10)}
        message = peeked[step_key(started.id, "work#1")]
        assert (message.crashes, message.proofs, message.recover) == (0, 0, True)
        async with world.worker("F"):
            assert await started.result(100) == "done 6"

    run(main)


def test_a_crashed_step_says_so() -> None:
    """The fact of a poisoned step carries STEP_CRASHED and how often it was proven."""
    attempt = Attempt("r", "w", "work#1", 3, 0, "A.1", StepCreated("work", b""), 1000)
    event = crashed(attempt, 2)
    record = msgspec.msgpack.decode(event.payload[1:], type=StepEnded)
    assert (event.type, event.attempt) == (EventType.step_failed, 3)
    assert (record.error.code, record.error.retryable) == (errors.STEP_CRASHED, False)
    assert "2 times" in record.error.message
