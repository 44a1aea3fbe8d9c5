"""Hazards of steps: duplicate execution, leases, attempts, retries. On a virtual clock, by construction."""

from __future__ import annotations

import asyncio
from typing import Any

from engine_flows import Flow
from engine_virtual import run
from engine_world import World, at_once
from oracle import check

from fencepost import errors, step, workflow
from fencepost.client.run import Run
from fencepost.records import Failure, StepEnded, pack
from fencepost_queue.protocol import Entry, step_key, tick_key
from fencepost_store.events import EventType, NewEvent
from fencepost_store.protocol import Batch, FactOutcome, Reason, StoreTrouble


def fact(run_: Run[Any], event_type: EventType, attempt: int, by: str) -> Batch:
    """A step fact as executor ``by`` would send it."""
    payload = b"\x02\xa5other" if event_type is EventType.step_completed else b""
    if event_type in (EventType.step_failed, EventType.step_retrying):
        payload = pack(StepEnded(Failure("builtins.ValueError", "zombie")))
    event = NewEvent(
        type=event_type,
        entity="work#1",
        attempt=attempt,
        dedupe=by,
        due_in=0 if event_type is EventType.step_retrying else None,
        payload=payload,
    )
    return Batch(run_id=run_.id, fence=None, events=(event,))


def test_h60_a_wake_does_not_dispatch_a_running_step_again() -> None:
    """Ticks come while the step runs inline in its owner, on the same and on another worker: the body runs once."""

    async def main() -> None:
        world = World()
        flow = Flow(world, seconds=60)
        async with world.worker("A"), world.worker("B"):
            await asyncio.sleep(1)
            started = await world.start(flow.main)
            for n in range(20):
                await asyncio.sleep(1)
                await world.client().resume("wake", n)
            assert await started.result(100) == "done 1"
            assert len(flow.began) == 1

    run(main)


def test_h65_a_second_worker_boots_while_a_step_runs() -> None:
    """For longer than a lease: the keeper renews, nobody else runs the body."""

    async def main() -> None:
        world = World()
        flow = Flow(world, seconds=45)
        async with world.worker("A"):
            started = await world.start(flow.main)
            await asyncio.sleep(15)
            async with world.worker("B"):
                assert await started.result(100) == "done 1"
                assert len(flow.began) == 1

    run(main)


def test_h74_h106_a_zombie_of_an_older_attempt_is_refused() -> None:
    """Its step_failed and step_retrying for attempt 1 while attempt 2 runs; its late step_completed of the open step
    is taken.
    """

    async def main() -> None:
        world = World()
        flow = Flow(world, seconds=30)
        started = await world.start(flow.main)
        async with world.worker("A"):
            await asyncio.sleep(1)
        async with world.worker("B"):
            await asyncio.sleep(15)
            assert len(flow.began) == 2
            for kind in (EventType.step_failed, EventType.step_retrying):
                verdict = (await world.store.append([fact(started, kind, 1, "A.9")]))[0]
                assert verdict.facts[0].reason is Reason.other_attempt
            verdict = (await world.store.append([fact(started, EventType.step_completed, 1, "A.9")]))[0]
            assert verdict.facts[0].outcome is FactOutcome.landed
            assert await started.result(60) == "other"
        check(await world.log(started))

    run(main)


def test_h76_h106_an_attempt_that_another_took_is_followed_by_the_next() -> None:
    """Another executor's start 1 lands between B's look-up and B's start: B, who owns the message, takes attempt 2;
    the step's message is never settled while it is open.
    """

    async def main() -> None:
        world = World()
        flow = Flow(world, seconds=1)
        async with world.worker("A") as a:
            await asyncio.sleep(1)  # the sweep of a new server is over: nothing below is owed to recovery
            a.shell.slots.take(a.shell.slots.free)  # A turns the run and leaves the step to others
            started = await world.start(flow.main)
            await asyncio.sleep(1)
        async with world.worker("B") as b:

            def zombie() -> None:
                at_once(world.store.append([fact(started, EventType.step_started, 1, "Z.1")]))

            b.at("step.looked_up", 1, zombie)
            loop = asyncio.get_running_loop()
            began = loop.time()
            assert await started.result(60) == "done 1"
            assert loop.time() - began < 10, "at once, and not by a recovery"
            starts = [e for e in await world.log(started) if e.type is EventType.step_started]
            assert [(e.attempt, (e.dedupe or "")[0]) for e in starts] == [(1, "Z"), (2, "B")]
        check(await world.log(started))

    run(main)


def test_h92_a_follow_up_is_leased_only_if_its_key_is_absent() -> None:
    """Between A's append of [completed 1, created 2, started 2] and its settle, step 2 is enqueued by a recovering
    tick and claimed by B: one body runs, B's.
    """

    async def main() -> None:
        world = World()
        ran: list[str] = []

        @step(registry=world.registry)
        async def one() -> str:
            return "one"

        @step(registry=world.registry)
        async def two() -> str:
            ran.append("two")
            return "two"

        @workflow(registry=world.registry)
        async def flow() -> str:
            return await one() + await two()

        async with world.worker("A") as a:
            await asyncio.sleep(1)

            def intrude() -> None:
                client = world.server.client("B")
                at_once(client.enqueue([Entry("default", step_key(started.id, "two#1"), recover=True)]))
                claimed = at_once(client.claim("default", 10, 10_000))
                assert [delivery.key for delivery in claimed.deliveries] == [step_key(started.id, "two#1")]

            a.at("settle.before", 2, intrude)
            started = await world.start(flow)
            await asyncio.sleep(5)
            assert ran == [], "A has no grant, so it starts no body"
            assert await started.result(60) == "onetwo"
            assert ran == ["two"]
            await asyncio.sleep(0.001)  # the result is announced with the settle, the handler returns after it
            assert a.shell.slots.taken == 0

    run(main)


def test_h50_h99_a_retry_waits_for_its_time() -> None:
    """Recovery right after step_retrying offers the step at once: the executor looks at the log and hands it back for
    the rest of the delay.
    """

    async def main() -> None:
        world = World()
        began: list[float] = []
        loop = asyncio.get_running_loop()

        @step(registry=world.registry, retries=1)
        async def work() -> str:
            began.append(loop.time())
            if len(began) == 1:
                raise errors.Retry("later", after=100)
            return "done"

        @workflow(registry=world.registry)
        async def flow() -> str:
            return await work()

        async with world.worker("A") as a:
            a.crash_at("retrying.after")
            started = await world.start(flow)
            await a.crashed.wait()
        async with world.worker("B"):
            assert await started.result(300) == "done"
        assert 100 <= began[1] - began[0] <= 112
        check(await world.log(started))

    run(main)


def test_h101_the_body_of_an_ended_run_is_stopped_at_the_next_renewal() -> None:
    """The run is ended from outside while the body runs; the hint is lost; recovery's withdrawal and the renewal tell
    the body.
    """

    async def main() -> None:
        world = World()
        stopped = asyncio.Event()

        @step(registry=world.registry)
        async def work() -> None:
            try:
                await asyncio.sleep(10_000)
            finally:
                stopped.set()

        @workflow(registry=world.registry)
        async def flow() -> None:
            await work()

        async with world.worker("A") as a:
            started = await world.start(flow)
            await asyncio.sleep(1)
            end = NewEvent(type=EventType.run_terminated)
            await world.store.append([Batch(run_id=started.id, fence=None, events=(end,))])
            await world.server.client("x").enqueue([Entry("default", tick_key(started.id))])
            await asyncio.wait_for(stopped.wait(), 5)
            await asyncio.sleep(1)
            assert a.shell.slots.taken == 0
            assert await world.server.client("x").peek("default", 10) == []

    run(main)


def test_h72_a_client_consumes_nothing() -> None:
    """However long a producer lives, what it started stays where it is."""

    async def main() -> None:
        world = World()
        flow = Flow(world)
        started = await world.start(flow.main)
        await asyncio.sleep(600)
        assert [d.ready for d in await world.server.client("x").depth()] == [1]
        assert (await started.status()).status == "pending"

    run(main)


def test_h81_trouble_with_the_store_is_not_the_steps_failure() -> None:
    """The append of step_completed fails for a minute: the body may run again, the step is not failed."""

    async def main() -> None:
        world = World()
        flow = Flow(world)
        async with world.worker("A") as a:
            started = await world.start(flow.main)

            def trouble() -> None:
                raise StoreTrouble("away")

            for n in range(2, 30):
                a.at("append.before", n, trouble)
            assert (await started.result(300)).startswith("done")
            shape = await world.shape(started)
            assert not [line for line in shape if "failed" in line or "retrying" in line]

    run(main)


def test_h62_a_lease_that_was_lost_before_the_body_began_begins_none() -> None:
    """A freezes when its start of attempt 2 has landed, for longer than the lease; B takes the step over. Nobody tells
    A of a loss that came before its body: it finds out by itself.
    """

    async def main() -> None:
        world = World()
        began: list[str] = []

        @step(registry=world.registry, retries=5, first_delay=1.0)
        async def work() -> str:
            began.append("")
            if len(began) == 1:
                raise ValueError("once more")
            return "done"

        @workflow(registry=world.registry)
        async def flow() -> str:
            return await work()

        real = world.memory.last_beat
        async with world.worker("A") as a:

            async def last_beat(run_id: str, entity: str) -> bytes | None:
                found = await real(run_id, entity)
                if a.store.frozen is None:
                    a.store.frozen = a.queue.frozen = asyncio.Event()
                    a.crashed.set()
                return found

            world.memory.last_beat = last_beat  # type: ignore[method-assign]
            started = await world.start(flow)
            await a.crashed.wait()
            async with world.worker("B"):
                assert await started.result(60) == "done"
                assert len(began) == 2
                a.thaw()
                await asyncio.sleep(5)
        assert len(began) == 2, "A has begun a body under a lease that it had lost"

    run(main)
