"""Ending a run from outside: what its code may still do, and what becomes of what it had under way."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from engine_tidy import Tidy, ends, under_way
from engine_virtual import run
from engine_world import World
from oracle import check

from fencepost import errors
from fencepost.records import RunStopped, unpack
from fencepost_store.events import EventType
from fencepost_store.protocol import Batch, StoreTrouble, Verdict


def test_a_cancelled_run_cleans_up_durably_and_ends_with_the_reason() -> None:
    """Sleeps and steps in the cleanup stand in the log; who waits for the result is told why."""

    async def main() -> None:
        world = World()
        tidy = Tidy(world)
        async with world.worker("A"):
            started = await under_way(world, tidy.flow)
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
            started = await under_way(world, tidy.flow)
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
            started = await under_way(world, tidy.stubborn)
            await started.cancel("please")
            await asyncio.sleep(60)
            assert (await started.status()).status == "running"
            await started.cancel("now")
            assert await started.result(60) == "as you wish"

    run(main)


def test_a_second_request_interrupts_the_cleanup_and_the_first_reason_stays() -> None:
    """The cleanup's step is given up as any other is."""

    async def main() -> None:
        world = World()
        tidy = Tidy(world, undo_seconds=1_000)
        async with world.worker("A") as a:
            started = await under_way(world, tidy.flow)
            await started.cancel("first")
            await asyncio.sleep(3)
            await started.cancel("second")
            assert (await ends(started)).detail == "first"
            await asyncio.sleep(1)
            assert (a.shell.slots.taken, tidy.undone) == (0, [])
        assert "step_cancelled undo#1" in await world.shape(started)

    run(main)


def test_terminate_tells_who_waits_where_no_worker_is() -> None:
    """The client that ended the run says so itself."""

    async def main() -> None:
        world = World()
        tidy = Tidy(world)
        started = await world.start(tidy.flow)
        result = asyncio.ensure_future(ends(world.client().run(started.id)))
        await asyncio.sleep(0.5)
        began = asyncio.get_running_loop().time()
        await started.terminate("never mind")
        assert (await result).detail == "never mind"
        assert asyncio.get_running_loop().time() == began

    run(main)


def test_the_same_request_is_accepted_once() -> None:
    """By its id, also after the end; a signal's id of the same text is another."""

    async def main() -> None:
        world = World()
        tidy = Tidy(world)
        async with world.worker("A"):
            started = await under_way(world, tidy.flow)
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


def test_terminate_ends_the_run_at_once_and_takes_its_steps_back() -> None:
    """The code is not asked; the body that runs is stopped, nothing of the run is left in the queue."""

    async def main() -> None:
        world = World()
        tidy = Tidy(world)
        loop = asyncio.get_running_loop()
        async with world.worker("A") as a:
            started = await under_way(world, tidy.flow)
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
            ids = [(await under_way(world, tidy.stubborn)).id for _ in range(2)]
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
