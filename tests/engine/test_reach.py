"""H101: how soon a body hears that nobody wants its result any more, on whichever worker it runs, and what it leaves.

Measured in virtual seconds and in counted calls, never by a stopwatch.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import pytest
from engine_virtual import run
from engine_world import EPOCH, Member, World
from oracle import check

from fencepost import current, errors, hook, sleep, step, workflow
from fencepost.authoring.registry import Registry
from fencepost.authoring.step import Step
from fencepost.authoring.workflow import Workflow
from fencepost.client.run import Run
from fencepost.engine.aids import Aids
from fencepost.engine.bodies import Attempt, run_attempt
from fencepost.engine.ports import real_ports
from fencepost.records import StepCreated
from fencepost_queue.protocol import Delivery, Queue, Renewal
from fencepost_store.events import EventType

RENEWAL_SECONDS = 3.0

Cause = Callable[[World, Step[[], None]], Workflow[..., Any]]
Act = Callable[[World, Run[Any]], Awaitable[object]]


def by_timeout(world: World, work: Step[[], None]) -> Workflow[..., Any]:
    """The step's awaiter waits ten seconds."""

    @workflow(registry=world.registry)
    async def flow() -> str:
        try:
            async with asyncio.timeout(10):
                await work()
        except TimeoutError:
            await sleep(100)
        return "after"

    return flow


def by_race(world: World, work: Step[[], None]) -> Workflow[..., Any]:
    """A signal comes first, and the loser is cancelled."""

    @workflow(registry=world.registry)
    async def flow() -> str:
        async with hook(int, token="token") as numbers:
            slow = asyncio.create_task(work())
            await numbers
            slow.cancel()
        await sleep(100)
        return "after"

    return flow


def by_run(world: World, work: Step[[], None]) -> Workflow[..., Any]:
    """The run itself is ended."""

    @workflow(registry=world.registry)
    async def flow() -> str:
        await work()
        return "after"

    return flow


def by_run_that_cleans_up(world: World, work: Step[[], None]) -> Workflow[..., Any]:
    """The run goes on when the step is over."""

    @workflow(registry=world.registry)
    async def flow() -> str:
        try:
            await work()
        finally:
            await sleep(100)
        return "after"

    return flow


async def _wait(world: World, started: Run[Any]) -> None:
    await asyncio.sleep(8)


async def _signal(world: World, started: Run[Any]) -> None:
    await world.client().resume("token", 1)


CAUSES: list[tuple[Cause, Act]] = [
    (by_timeout, _wait),
    (by_race, _signal),
    (by_run, lambda world, started: started.cancel("bye")),
    (by_run, lambda world, started: started.terminate("bye")),
    (by_run_that_cleans_up, lambda world, started: started.cancel("bye")),
]


class Stopped:
    """A step that runs until it is stopped."""

    def __init__(self, world: World) -> None:
        self.at: list[float] = []

        @step(registry=world.registry)
        async def work() -> None:
            try:
                await asyncio.sleep(1_000_000)
            finally:
                self.at.append(asyncio.get_running_loop().time())

        self.work = work


ASKED = {EventType.cancel_requested, EventType.run_terminated, EventType.wait_completed, EventType.hook_received}


@pytest.mark.parametrize("cause", CAUSES, ids=["timeout", "race", "cancel", "terminate", "cleanup"])
@pytest.mark.parametrize("way", ["hint", "renewal"])
def test_h101_a_body_on_another_worker_is_reached(cause: tuple[Cause, Act], way: str) -> None:
    """By the hint alone within a second; by the renewal alone within its period. Then its message is settled and its
    slot is free, and nothing of it lands in the log.
    """

    async def main() -> float:
        world = World()
        stopped = Stopped(world)
        flow, act = cause
        async with world.worker("A") as a:
            started = await world.start(flow(world, stopped.work))
            await asyncio.sleep(1)
            a.claims.stop()  # the run's turns are done elsewhere from now on; the body is still here
            a.shell.runs.drop_all()
            await asyncio.sleep(3)
            _cut(world, a, way)
            async with world.worker("B"):
                await asyncio.sleep(1)
                await act(world, started)
                await asyncio.sleep(5)
                assert a.shell.slots.taken == 0
                assert not [m for m in await world.server.client("x").peek("default", 10) if m.key.startswith("s:")]
        log = await world.log(started)
        check(log, ended=False)
        ends = (EventType.step_completed, EventType.step_failed, EventType.step_retrying)
        assert not [event for event in log if event.type in ends]
        asked = next(event.at for event in log if event.type in ASKED)
        return stopped.at[0] - (asked - EPOCH) / 1e6

    took = run(main)
    print(f"{took:.3f} s after the fact landed")
    assert 0 <= took <= (1.0 if way == "hint" else RENEWAL_SECONDS)


def _cut(world: World, member: Member, way: str) -> None:
    """Leave one of the two ways to the member: hints to it are lost, or its renewals tell nothing."""
    if way == "renewal":
        world.server.listeners(f"withdrawn:{member.name}").clear()
        return
    renew = member.shell.keeper.renew

    async def silent(queue: Queue) -> None:
        await renew(cast(Queue, Silent(queue)))

    member.shell.keeper.renew = silent  # type: ignore[method-assign]


class Silent:
    """A queue whose renewals do not tell what was withdrawn."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    async def renew(self, deliveries: Sequence[Delivery], lease_ms: int) -> Renewal:
        return Renewal(lost=(await self._queue.renew(deliveries, lease_ms)).lost)


def test_h101_a_hint_that_comes_before_the_body_stops_it_at_its_first_wait() -> None:
    """Between the claim and the body's start nobody watches the lease: what was said is kept."""

    async def main() -> None:
        world = World()
        stopped = Stopped(world)
        async with world.worker("A") as a:
            started = await world.start(by_run(world, stopped.work))
            await asyncio.sleep(1)
            (delivery,) = a.shell.keeper.all()
            a.shell.keeper.watch(delivery.token, None)
            a.shell.keeper.withdrawn(delivery.token)
            told: list[str] = []
            a.shell.keeper.watch(delivery.token, told.append)
            assert told == ["withdrawn"]
            await started.terminate()

    run(main)


def test_h101_a_hint_for_an_older_lease_stops_nothing() -> None:
    """It names the hand-over."""

    async def main() -> None:
        world = World()
        stopped = Stopped(world)
        async with world.worker("A") as a:
            started = await world.start(by_run(world, stopped.work))
            await asyncio.sleep(1)
            await world.server.client("x").publish("withdrawn:A", b"A.0")
            await asyncio.sleep(1)
            assert (stopped.at, a.shell.slots.taken) == ([], 1)
            await started.terminate()

    run(main)


def test_h14_h101_what_a_cancelled_body_still_returns_is_dropped_quietly() -> None:
    """It swallows its cancellation and returns, or fails in its cleanup: no append, no retry, no recovering turn."""

    async def main(fails: bool) -> None:
        world = World()

        @step(registry=world.registry)
        async def work() -> None:
            try:
                await asyncio.sleep(1_000_000)
            except asyncio.CancelledError:
                await asyncio.sleep(2)
                if fails:
                    raise ValueError("in the cleanup") from None

        async with world.worker("A") as a:
            started = await world.start(by_run(world, work))
            await asyncio.sleep(1)
            await started.cancel("bye")
            with pytest.raises(errors.RunCancelled):
                await started.result(10)
            calls = len(a.calls)
            await asyncio.sleep(5)
            assert [call for call in a.calls[calls:] if call[1] in ("append", "load", "settle")] == [
                ("queue", "settle")
            ]
            assert a.shell.slots.taken == 0
            assert await world.server.client("x").peek("default", 10) == []

    run(lambda: main(False))
    run(lambda: main(True))


def test_h101_a_withdrawal_that_its_turn_did_not_live_to_make_is_made_by_recovery() -> None:
    """The turn that cancelled the step dies after its append: the recovering turn withdraws again."""

    async def main() -> None:
        world = World()
        stopped = Stopped(world)
        async with world.worker("A") as a:
            started = await world.start(by_run_that_cleans_up(world, stopped.work))
            await asyncio.sleep(1)
            a.claims.stop()
            await asyncio.sleep(3)
            async with world.worker("B") as b:
                b.crash_at("append.after", 1)
                await started.cancel("bye")
                await b.crashed.wait()
                assert "step_cancelled work#1" in await world.shape(started)
                assert not stopped.at
            async with world.worker("C"):
                await asyncio.sleep(20)
                assert len(stopped.at) == 1
                assert a.shell.slots.taken == 0

    run(main)


async def test_a_body_in_a_thread_sees_that_it_is_cancelled() -> None:
    """Nothing can stop a thread: it is told, and returns by itself."""
    registry = Registry()
    loop = asyncio.get_running_loop()
    began, ended = asyncio.Event(), asyncio.Event()
    look = threading.Event()
    seen: list[bool] = []

    @step(registry=registry)
    def work() -> None:
        seen.append(current().cancelled)
        loop.call_soon_threadsafe(began.set)
        look.wait(30)
        seen.append(current().cancelled)
        loop.call_soon_threadsafe(ended.set)

    async def never(details: bytes) -> bool:
        raise AssertionError("there is no heartbeat")

    created = StepCreated(work.name, work.arguments.encode((), {}), mode="thread")
    attempt = Attempt("run-1", "flow", "work#1", 1, 0, "a.1", created, 1000)
    aids = Aids(real_ports(), "default", 0, never, 1.0)
    body = asyncio.create_task(run_attempt(real_ports(), registry, attempt, aids))
    await began.wait()
    body.cancel()
    await asyncio.gather(body, return_exceptions=True)
    look.set()
    await asyncio.wait_for(ended.wait(), 30)
    assert seen == [False, True]
