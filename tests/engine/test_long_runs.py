"""A turn costs the same however long the run's log is and however much is open: counted, not timed."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Iterable
from typing import Any

import pytest
from engine_virtual import run
from engine_world import Member, World
from tests.log_lines import captured
from tests.web.asgi import request

from fencepost import errors, hook, sleep, step, workflow
from fencepost.engine.deadline import SECOND, DeadlineRules, deadline, timed_wake
from fencepost.replay.dues import SLACK, Dues
from fencepost.replay.fold import OpenWork
from fencepost.web.webhooks import webhooks
from fencepost_store.events import Event, EventType, NewEvent
from fencepost_store.protocol import Loaded

E = EventType
GROWTH_MAX = 1.2
"""The goal for a warm turn at event 100,000 against one at event 100."""


class Counted:
    """Calls of Python functions of the package between ``on`` and ``off``, and what the worker loads meanwhile."""

    def __init__(self, member: Member) -> None:
        self.calls = 0
        self.loaded = 0
        self._member = member
        found: Any = member.store._target  # pyright: ignore[reportPrivateUsage]
        load = found.load

        async def counting(run_id: str, after_seq: int = 0, stamp: int | None = None) -> Loaded | None:
            loaded: Loaded | None = await load(run_id, after_seq, stamp)
            self.loaded += len(loaded.events) if loaded else 0
            return loaded

        found.load = counting

    def on(self) -> None:
        self.calls = self.loaded = 0
        self._before = len(self._member.calls)
        sys.setprofile(self._count)

    def off(self) -> tuple[int, int, int]:
        """Function calls, events loaded, calls of the servers."""
        sys.setprofile(None)
        return self.calls, self.loaded, len(self._member.calls) - self._before

    def _count(self, frame: Any, what: str, argument: object) -> None:
        if what == "call" and "/worker/fencepost/" in frame.f_code.co_filename:
            self.calls += 1


async def signal_turn(world: World, counted: Counted) -> tuple[int, int, int]:
    """What one turn after a signal takes. The sender is not counted with it."""
    client = world.client()
    await asyncio.sleep(4)  # what is under way comes to rest
    counted.on()
    await client.resume("t", 0)
    await asyncio.sleep(0.5)
    return counted.off()


@pytest.mark.parametrize("wide", [False, True])
def test_a_warm_turn_costs_the_same_at_the_end_of_a_long_log(wide: bool) -> None:
    """3,000 steps, one after the other or 100 at once, each under a timeout of its own."""

    async def main() -> None:
        world = World(concurrency=128)

        @step(registry=world.registry)
        async def nothing() -> None: ...

        async def bounded() -> None:
            async with asyncio.timeout(3600):
                await nothing()

        @workflow(registry=world.registry)
        async def flow() -> None:
            async with hook(int, token="t") as numbers:
                async for number in numbers:
                    for _ in range(0, number, 100 if wide else 1):
                        await asyncio.gather(*(bounded() for _ in range(100 if wide else 1)))

        async with world.worker("A") as a:
            counted = Counted(a)
            started = await world.start(flow)
            await asyncio.sleep(1)
            client = world.client()
            costs: list[tuple[int, int, int]] = []
            for steps in (100, 3_000):
                await client.resume("t", steps)
                await asyncio.sleep(10)
                await signal_turn(world, counted)
                costs.append(await signal_turn(world, counted))
            assert (await started.status()).events > 9_000
            (calls, loaded, served), (then, loaded_then, served_then) = costs
            assert (loaded_then, served_then) == (loaded, served)
            assert 0 < then <= GROWTH_MAX * calls

    run(main)


def test_a_warm_turn_costs_the_same_however_much_is_open() -> None:
    """20 and 2,000 steps that run, waits beside them: a signal's turn, and a step's end, look at what has changed."""

    async def cost(width: int) -> tuple[int, int, int]:
        world = World(concurrency=4)

        @step(registry=world.registry)
        async def endless() -> None:
            await asyncio.sleep(1_000_000)

        @workflow(registry=world.registry)
        async def flow() -> None:
            async with hook(int, token="t") as numbers, asyncio.TaskGroup() as group:
                for n in range(width):
                    group.create_task(endless())
                    group.create_task(sleep(100_000 + n))
                async for _ in numbers:
                    continue

        async with world.worker("A") as a:
            counted = Counted(a)
            await world.start(flow)
            await asyncio.sleep(5)
            await signal_turn(world, counted)
            return await signal_turn(world, counted)

    few, many = run(lambda: cost(20)), run(lambda: cost(2_000))
    assert many[1:] == few[1:]
    assert many[0] <= GROWTH_MAX * few[0]


def test_a_backlog_is_warned_of_and_ends_that_run_alone_with_the_limit_s_name() -> None:
    """H84: its code takes none of its payloads; the neighbour, which takes each, goes on."""

    async def main() -> None:
        world = World(hook_backlog_max=10)
        logs: list[Any] = []

        @workflow(registry=world.registry)
        async def deaf() -> None:
            async with hook(int, token="deaf"):
                await sleep(100)

        @workflow(registry=world.registry)
        async def hears() -> int:
            async with hook(int, token="hears") as numbers:
                return sum([await numbers for _ in range(30)])

        async with world.worker("A"):
            client = world.client()
            one, other = await world.start(deaf), await world.start(hears)
            await asyncio.sleep(1)
            with captured() as logs:
                for n in range(10):
                    await client.resume("deaf", n)
                    await asyncio.sleep(0.1)
                assert (await one.status()).status == "running"
                await client.resume("deaf", 10)
                for n in range(30):
                    await client.resume("hears", n)
                assert await other.result(60) == sum(range(30))
                with pytest.raises(errors.RunFailed, match="11 is over hook_backlog_max = 10") as caught:
                    await one.result(60)
            assert caught.value.code == errors.LIMIT_EXCEEDED
            near = [(line["limit"], line["value"]) for line in logs if line["event"] == "limit_near"]
            assert near == [("hook_backlog_max", 9)]

    run(main)


def test_payloads_that_are_taken_are_no_backlog() -> None:
    """Late, by an awaiter that replaces a cancelled one, or given up with their hook: the count goes back to 0."""

    async def main() -> None:
        world = World(hook_backlog_max=5)

        @workflow(registry=world.registry)
        async def flow() -> int:
            total = 0
            for _ in range(4):
                async with hook(int, token="t") as numbers:
                    await sleep(5)
                    waiter = asyncio.ensure_future(_next(numbers))
                    await asyncio.sleep(0)
                    waiter.cancel()
                    total += await numbers + await numbers
            return total

        async def _next(numbers: Any) -> Any:
            return await numbers

        async with world.worker("A") as a:
            client = world.client()
            started = await world.start(flow)
            for n in range(4):
                await asyncio.sleep(1)
                for _ in range(5):
                    await client.resume("t", n)
                await asyncio.sleep(4.5)
                live = a.shell.runs._runs.get(started.id)  # pyright: ignore[reportPrivateUsage]
                assert live is None or live.instance is None or live.instance.backlog == 0
            assert await started.result(60) == 2 * sum(range(4))

    run(main)


def test_a_large_payload_is_warned_of() -> None:
    async def main() -> None:
        world = World(payload_bytes_max=1024)

        @step(registry=world.registry)
        async def take(text: str) -> None: ...

        @workflow(registry=world.registry)
        async def flow() -> None:
            await take("x" * 700)
            await take("x" * 900)
            await take("x" * 900)

        async with world.worker("A"):
            started = await world.start(flow)
            with captured() as logs:
                await started.result(60)
        near = [line["limit"] for line in logs if line["event"] == "limit_near"]
        assert near == ["payload_bytes_max"]

    run(main)


def test_a_log_that_is_full_refuses_signals_before_they_land() -> None:
    """No worker is there to end the run: the sender is told, the same delivery as before is answered as before."""

    async def main() -> None:
        world = World(events_max=100)

        @workflow(registry=world.registry)
        async def flow() -> None:
            async with hook(int, token="t", http=True) as numbers:
                async for _ in numbers:
                    continue

        started = None
        async with world.worker("A"):
            started = await world.start(flow)
            await asyncio.sleep(1)
        client = world.client()
        for n in range(95):
            await client.resume("t", n, id=f"d{n}")
        with pytest.raises(errors.HookFull, match=r"may have a log of 100 events \(events_max\)") as caught:
            await client.resume("t", 0)
        assert (caught.value.run_id, (await started.status()).events) == (started.id, 98)
        assert await client.resume("t", 3, id="d3") == started.id
        assert (await request(webhooks(client), "/t", b"1")).status == 429

    run(main)


def brute_deadline(waits: Iterable[int], now: int, rules: DeadlineRules) -> int | None:
    return min((timed_wake(due, now, rules) for due in waits), default=None)


def test_the_deadline_by_heaps_is_the_one_by_a_look_at_everything() -> None:
    """Random waits that come and go under a clock that moves on. FENCEPOST_SEED is printed."""
    seed = random.SystemRandom().getrandbits(32)
    print(f"FENCEPOST_SEED={seed}")
    chance = random.Random(seed)
    rules = DeadlineRules()
    for _ in range(20):
        work, now, seq = OpenWork(), 1_000 * SECOND, 0
        for _ in range(200):
            now += chance.randrange(100 * SECOND)
            batch: list[NewEvent] = []
            for n in range(chance.randrange(3)):
                batch.append(NewEvent(E.wait_created, f"w#{seq}.{n}", due=now + chance.randrange(2_000 * SECOND)))
            for entity in chance.sample(sorted(work.waits), min(len(work.waits), chance.randrange(3))):
                batch.append(NewEvent(E.wait_cancelled, entity))
            after = dict(work.waits)
            for event in batch:
                if event.due is None:
                    after.pop(event.entity)
                else:
                    after[event.entity] = event.due
            assert deadline(work, batch, now, rules, None) == brute_deadline(after.values(), now, rules)
            for event in batch:
                seq += 1
                work.apply(Event(seq, event.type, event.entity, 0, now, event.due, None, None, b""))
            assert work.wait_dues.first() == min(work.waits.values(), default=None)


def test_due_times_take_no_more_room_than_what_is_open() -> None:
    """A timeout around each of 10,000 steps, all given up before they are due."""
    dues = Dues()
    for n in range(10_000):
        dues.set(f"w#{n}", 10**12 + n)
        assert dues.first() == 10**12 + n
        dues.drop(f"w#{n}")
        dues.firsts(n)
    assert len(dues) == 0
    assert len(dues._near) + len(dues._far) <= SLACK + 2  # pyright: ignore[reportPrivateUsage]
