"""Ending a run from outside: what its code may still do, the grace, and what becomes of it when code, fit or will are
missing.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import pytest
from engine_virtual import run
from engine_world import World
from oracle import check

from fencepost import errors, hook, sleep, step, workflow
from fencepost.authoring.workflow import Workflow
from fencepost.client.run import Run
from fencepost.records import RunStopped, unpack
from fencepost_queue.protocol import tick_key
from fencepost_store.events import EventType
from fencepost_store.protocol import Batch, StoreTrouble, Verdict


class Tidy:
    """A workflow whose only step takes for ever, and that tidies up for ``undo_seconds`` in a step."""

    def __init__(self, world: World, undo_seconds: float = 5.0) -> None:
        self.stopped: list[float] = []
        self.undone: list[str] = []

        @step(registry=world.registry)
        async def work() -> None:
            try:
                await asyncio.sleep(1_000_000)
            finally:
                self.stopped.append(asyncio.get_running_loop().time())

        @step(registry=world.registry)
        async def undo(why: str) -> None:
            await asyncio.sleep(undo_seconds)
            self.undone.append(why)

        @workflow(registry=world.registry)
        async def flow() -> str:
            try:
                await work()
            except asyncio.CancelledError as cancelled:
                await sleep(1)
                await undo(str(cancelled))
                raise
            return "worked"

        @workflow(registry=world.registry)
        async def stubborn() -> str:
            while True:
                try:
                    await work()
                except asyncio.CancelledError as cancelled:
                    if "now" in str(cancelled):
                        return "as you wish"

        self.flow, self.stubborn = flow, stubborn


async def ends(started: Run[Any], seconds: float = 300) -> errors.RunCancelled:
    """Wait for a run that is to end without a result."""
    with pytest.raises(errors.RunCancelled) as caught:
        await started.result(seconds)
    return caught.value


async def _under_way(world: World, flow: Workflow[..., Any]) -> Run[Any]:
    started = await world.start(flow)
    await asyncio.sleep(1)
    return started


def test_a_cancelled_run_cleans_up_durably_and_ends_with_the_reason() -> None:
    """Sleeps and steps in the cleanup stand in the log; who waits for the result is told why."""

    async def main() -> None:
        world = World()
        tidy = Tidy(world)
        async with world.worker("A"):
            started = await _under_way(world, tidy.flow)
            await started.cancel("customer asked")
            error = await ends(started)
        assert (error.detail, error.terminated) == ("customer asked", False)
        assert str(error) == f"run {started.id} was cancelled: customer asked"
        assert tidy.undone == ["customer asked"]
        assert (await started.status()).status == "cancelled"
        shape = await world.shape(started)
        assert shape[4:] == [
            "cancel_requested", "step_cancelled work#1", "wait_created sleep#1", "wait_completed sleep#1",
            "step_created undo#1", "step_started undo#1 1", "step_completed undo#1 1", "run_cancelled",
        ]  # fmt: skip
        check(await world.log(started))

    run(main)


def test_the_cleanup_survives_its_worker() -> None:
    """The worker dies while the cleanup's step runs: another one goes on with it."""

    async def main() -> None:
        world = World()
        tidy = Tidy(world)
        async with world.worker("A"):
            started = await _under_way(world, tidy.flow)
            await started.cancel("bye")
            await asyncio.sleep(3)
        assert not tidy.undone
        async with world.worker("B"):
            assert (await ends(started)).detail == "bye"
        assert tidy.undone == ["bye"]
        check(await world.log(started))

    run(main)


def test_code_that_swallows_its_cancellation_goes_on_and_can_be_asked_again() -> None:
    """A second request raises it again, with its own reason; code that returns completes."""

    async def main() -> None:
        world = World()
        tidy = Tidy(world)
        async with world.worker("A"):
            started = await _under_way(world, tidy.stubborn)
            await started.cancel("please")
            await asyncio.sleep(60)
            assert (await started.status()).status == "running"
            await started.cancel("now")
            assert await started.result(60) == "as you wish"

    run(main)


def test_the_same_request_is_accepted_once() -> None:
    """By its id, also after the end; a signal's id of the same text is another."""

    async def main() -> None:
        world = World()
        tidy = Tidy(world)
        async with world.worker("A"):
            started = await _under_way(world, tidy.flow)
            for _ in range(3):
                await started.cancel("bye", id="1")
            await ends(started)
            await started.cancel("bye", id="1")
            with pytest.raises(errors.RunEnded):
                await started.cancel("bye", id="2")
        requests = [e for e in await world.log(started) if e.type is EventType.cancel_requested]
        assert [e.dedupe for e in requests] == ["cancel:1"]

    run(main)


def test_a_run_that_never_began_can_be_cancelled() -> None:
    """Its code is cancelled before its first line, as a task is."""

    async def main() -> None:
        world = World()
        tidy = Tidy(world)
        started = await world.start(tidy.flow)
        await started.cancel("changed my mind")
        async with world.worker("A"):
            assert (await ends(started)).detail == "changed my mind"
        check(await world.log(started))

    run(main)


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
                started = await _under_way(world, tidy.stubborn)
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
            started = await _under_way(world, tidy.flow)
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
            started = await _under_way(world, tidy.stubborn)
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
            started = await _under_way(world, listens)
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
            started = await _under_way(world, tidy.stubborn)
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


def test_terminate_ends_the_run_at_once_and_takes_its_steps_back() -> None:
    """The code is not asked; the body that runs is stopped, nothing of the run is left in the queue."""

    async def main() -> None:
        world = World()
        tidy = Tidy(world)
        loop = asyncio.get_running_loop()
        async with world.worker("A") as a:
            started = await _under_way(world, tidy.flow)
            result = asyncio.ensure_future(ends(started))
            await asyncio.sleep(0.5)
            began = loop.time()
            await started.terminate("enough")
            assert (await started.status()).status == "terminated"
            error = await result
            assert loop.time() == began, "the result is pushed"
            assert (error.detail, error.terminated) == ("enough", True)
            await asyncio.sleep(0.2)
            assert [at - began < 0.1 for at in tidy.stopped] == [True]
            assert (a.shell.slots.taken, tidy.undone) == (0, [])
            assert await world.server.client("x").peek("default", 10) == []
            assert (await started.status()).wake_at is None
            with pytest.raises(errors.RunEnded):
                await started.terminate()
        (end,) = [e for e in await world.log(started) if e.type is EventType.run_terminated]
        assert unpack(end.payload, RunStopped).reason == "enough"

    run(main)


@pytest.mark.parametrize("landed", [True, False])
def test_a_request_whose_reply_was_lost_is_made_again_and_counts_once(landed: bool) -> None:
    """Whether it had landed or not."""

    async def main() -> None:
        world = World()
        tidy = Tidy(world)
        client = world.client()
        append = client._open.log._append  # pyright: ignore[reportPrivateUsage] - the wire is cut here
        lost = 0

        async def cut(batch: Batch) -> Verdict:
            nonlocal lost
            lost += 1
            if lost % 2:
                if landed:
                    await append(batch)
                raise StoreTrouble("the connection is gone")
            return await append(batch)

        async with world.worker("A"):
            ids = [(await _under_way(world, tidy.stubborn)).id for _ in range(2)]
            client._open.log._append = cut  # pyright: ignore[reportPrivateUsage]
            await client.run(ids[0]).cancel("please")
            await client.run(ids[1]).terminate("enough")
        requests = [e for e in await world.log(client.run(ids[0])) if e.type is EventType.cancel_requested]
        assert len(requests) == 1
        assert (await client.run(ids[1]).status()).status == "terminated"

    run(main)


def test_what_cannot_be_asked_is_refused_before_anything_is_written() -> None:
    """Unknown runs, graces that are none, reasons beyond the bound."""

    async def main() -> None:
        world = World()
        tidy = Tidy(world)
        started = await world.start(tidy.flow)
        unknown = world.client().run("01890000-0000-7000-8000-000000000000")
        with pytest.raises(errors.RunNotFound):
            await unknown.cancel()
        with pytest.raises(errors.RunNotFound):
            await unknown.terminate()
        for grace in (0, -1, float("nan"), 1e12, timedelta(0)):
            with pytest.raises(errors.ArgumentError, match="to end the run at once use terminate"):
                await started.cancel(grace=grace)
        with pytest.raises(errors.ArgumentError, match="at most 1000"):
            await started.terminate("x" * 1001)
        assert len(await world.log(started)) == 1

    run(main)
