"""What a workflow's author sees, on the reference models with a virtual clock."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from engine_virtual import run
from engine_world import World

from fencepost import Fatal, errors, hook, now, sleep, step, workflow


def test_sequential_steps_take_one_append_each() -> None:
    """Created, started and the previous completion land together: n steps are n + 1 appends and n + 1 settles."""

    async def main() -> None:
        world = World()

        @step(registry=world.registry)
        async def add(a: int, b: int) -> int:
            return a + b

        @workflow(registry=world.registry)
        async def total(n: int) -> int:
            x = 0
            for i in range(n):
                x = await add(x, i)
            return x

        async with world.worker("A") as a:
            await asyncio.sleep(1)  # virtual: the first claim ever finds no generation, and its reconcile is over
            started = await world.start(total, 20)
            assert await started.result(60) == sum(range(20))
            assert a.calls.count(("store", "append")) == 21
            assert a.calls.count(("queue", "settle")) == 21
            assert a.calls.count(("store", "load")) == 1

    run(main)


def test_gather_runs_every_body_once_over_two_workers() -> None:
    """Sync bodies in threads, 200 at once, more than the slots of both workers."""

    async def main() -> None:
        world = World(concurrency=16)
        ran: list[int] = []

        @step(registry=world.registry)
        def double(n: int) -> int:
            ran.append(n)
            return 2 * n

        @workflow(registry=world.registry)
        async def fan(n: int) -> list[int]:
            return list(await asyncio.gather(*(double(i) for i in range(n))))

        async with world.worker("A"), world.worker("B"):
            started = await world.start(fan, 200)
            assert await started.result(60) == [2 * i for i in range(200)]
            assert sorted(ran) == list(range(200))

    run(main)


def test_retries_back_off_and_count_errors() -> None:
    """H69: retries=2 means three executions that end in an error; the user's own class comes out with its cause."""

    async def main() -> None:
        world = World()
        tries: list[float] = []

        @step(registry=world.registry, retries=2, first_delay=10.0)
        async def flaky() -> None:
            tries.append(asyncio.get_running_loop().time())
            try:
                raise KeyError("inner")
            except KeyError as error:
                raise ValueError("outer") from error

        @workflow(registry=world.registry)
        async def once() -> str:
            try:
                await flaky()
            except ValueError as error:
                return f"{type(error).__name__} from {type(error.__cause__).__name__}"
            return "no error"

        async with world.worker("A"):
            started = await world.start(once)
            assert await started.result(600) == "ValueError from KeyError"
            assert len(tries) == 3
            shape = await world.shape(started)
            assert [line for line in shape if "retrying" in line] == [
                "step_retrying flaky#1 1",
                "step_retrying flaky#1 2",
            ]
            assert "step_failed flaky#1 3" in shape

    run(main)


def test_fatal_is_not_retried() -> None:
    """And leaves the workflow as run_failed with its class as the cause."""

    async def main() -> None:
        world = World()

        @step(registry=world.registry)
        async def broken() -> None:
            raise Fatal("no use")

        @workflow(registry=world.registry)
        async def once() -> None:
            await broken()

        async with world.worker("A"):
            started = await world.start(once)
            with pytest.raises(errors.RunFailed) as caught:
                await started.result(60)
            assert caught.value.code == errors.USER_ERROR
            assert isinstance(caught.value.__cause__, Fatal)
            assert not [line for line in await world.shape(started) if "retrying" in line]

    run(main)


def test_a_long_sleep_is_a_row_not_a_queue_entry() -> None:
    """H47: far timers live in wake_at; the queue holds only what is near."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def nap() -> float:
            before = now()
            await sleep(4 * 3600)
            return (now() - before).total_seconds()

        async with world.worker("A"):
            started = await world.start(nap)
            await asyncio.sleep(60)
            assert [(d.ready, d.leased, d.delayed) for d in await world.server.client("x").depth()] == [(0, 0, 0)]
            assert (await started.status()).wake_at is not None
            slept = await started.result(5 * 3600)
            assert 4 * 3600 <= slept < 4 * 3600 + 1

    run(main)


def test_race_of_hook_and_timeout_goes_to_whoever_lands_first() -> None:
    """Once the signal, once the timeout; the loser is withdrawn."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def approval(token: str) -> str:
            async with hook(str, token=token) as answers:
                try:
                    async with asyncio.timeout(100):
                        return await answers
                except TimeoutError:
                    return "timeout"

        async with world.worker("A"):
            late = await world.start(approval, "late")
            early = await world.start(approval, "early")
            await asyncio.sleep(50)
            await world.client().resume("early", "yes")
            assert await early.result(10) == "yes"
            assert await late.result(100) == "timeout"
            with pytest.raises(errors.HookNotFound):
                await world.client().resume("late", "too late")
            assert "wait_cancelled timeout#1" in await world.shape(early)
            assert "wait_completed timeout#1" in await world.shape(late)

    run(main)


def test_workflow_time_is_the_time_of_the_last_delivered_event() -> None:
    """H16, H26: now() is the database's clock, the same in every replay, whatever a worker's wall clock says."""

    async def main() -> None:
        world = World()
        seen: list[datetime] = []

        @step(registry=world.registry)
        async def work() -> None:
            await asyncio.sleep(5)

        @workflow(registry=world.registry)
        async def timed() -> list[str]:
            first = now()
            await work()
            second = now()
            seen.append(second)
            return [first.isoformat(), second.isoformat()]

        async with world.worker("A"):
            started = await world.start(timed)
            first, second = await started.result(60)
            events = {event.type.name: event.at for event in await world.log(started)}
            assert datetime.fromisoformat(first) == datetime.fromtimestamp(events["run_created"] / 1e6, UTC)
            assert datetime.fromisoformat(second) == datetime.fromtimestamp(events["step_completed"] / 1e6, UTC)

    run(main)


def test_a_run_past_its_timeout_is_cancelled_cleans_up_and_fails() -> None:
    """@workflow(timeout=...): the code sees CancelledError, its cleanup steps run, the run fails with TimeoutError."""

    async def main() -> None:
        world = World()
        cleaned: list[str] = []

        @step(registry=world.registry)
        async def clean() -> None:
            cleaned.append("clean")

        @workflow(registry=world.registry, timeout=100)
        async def flow() -> None:
            try:
                await sleep(10_000)
            finally:
                await clean()

        async with world.worker("A"):
            started = await world.start(flow)
            loop = asyncio.get_running_loop()
            before = loop.time()
            with pytest.raises(errors.RunFailed) as caught:
                await started.result(200)
            assert isinstance(caught.value.__cause__, TimeoutError)
            assert str(caught.value.__cause__) == "workflow flow: its timeout of 100 s is over"
            assert 100 <= loop.time() - before < 102
            assert cleaned == ["clean"]

    run(main)
