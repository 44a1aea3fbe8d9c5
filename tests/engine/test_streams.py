"""Streams in the engine, on the reference models with a virtual clock: what a reader has when, what a crash costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from engine_virtual import run
from engine_world import EPOCH, World

from fencepost import current, errors, sleep, step, stream, workflow
from fencepost.client.run import Run
from fencepost.streaming import POLL_SECONDS, channel_of
from fencepost_queue.protocol import QueueTrouble
from fencepost_store.protocol import StoreTrouble


class Producer:
    """A workflow whose step writes ``count`` numbers and waits for ``go_on`` before number ``hold``."""

    def __init__(self, world: World, count: int = 6, hold: int | None = None, **options: Any) -> None:
        self.held = asyncio.Event()
        self.go_on = asyncio.Event()
        self.attempts: list[tuple[int, int]] = []  # (attempt, chunks of earlier ones)

        @step(registry=world.registry, first_delay=1.0)
        async def produce() -> str:
            async with stream("numbers", int, **options) as out:
                self.attempts.append((current().attempt, out.written))
                for n in range(count):
                    if n == hold:
                        self.held.set()
                        await self.go_on.wait()
                    await out.write(n)
            return "done"

        @workflow(registry=world.registry)
        async def main() -> str:
            return await produce()

        self.main = main


async def all_of(started: Run[Any], start: int = 0) -> list[int]:
    """What a reader sees until the end."""
    return [n async for n in started.stream("numbers", int, start=start)]


async def begun(world: World, producer: Producer) -> tuple[Run[Any], AsyncIterator[int]]:
    """The run, and a reader of it that has the first chunk."""
    started = await world.start(producer.main)
    reading = aiter(started.stream("numbers", int))
    assert await anext(reading) == 0
    return started, reading


def test_the_first_chunk_does_not_wait_for_the_run() -> None:
    """It is read while the step that wrote it stands still, and the run has not ended."""

    async def main() -> None:
        world = World()
        producer = Producer(world, hold=1)
        async with world.worker("A"):
            started, reading = await begun(world, producer)
            assert not (await started.status()).ended
            producer.go_on.set()
            assert [n async for n in reading] == [1, 2, 3, 4, 5]
            assert await started.result(60) == "done"

    run(main)


def test_two_readers_and_a_late_one_see_the_same() -> None:
    """Live, live from an index, afterwards, and from the tail."""

    async def main() -> None:
        world = World()
        producer = Producer(world, hold=3)
        async with world.worker("A"):
            started = await world.start(producer.main)
            await producer.held.wait()
            live = [asyncio.ensure_future(all_of(started, start)) for start in (0, 2)]
            await asyncio.sleep(5)
            producer.go_on.set()
            assert await asyncio.gather(*live) == [[0, 1, 2, 3, 4, 5], [2, 3, 4, 5]]
            await started.result(60)
            assert [await all_of(started, start) for start in (0, 4, -2, -99, 6, 50)] == [
                [0, 1, 2, 3, 4, 5],
                [4, 5],
                [4, 5],
                [0, 1, 2, 3, 4, 5],
                [],
                [],
            ]
            assert await started.stream("numbers", int).tail() == 6
            (info,) = await started.streams()
            assert (info.name, info.tail, info.closed) == ("numbers", 6, True)

    run(main)


def test_a_reader_of_a_stream_that_nobody_closes_ends_with_the_run_at_once() -> None:
    """Told by the hint of the run's end, and not by a poll; also if nothing was ever written."""

    async def main() -> None:
        world = World()
        loop = asyncio.get_running_loop()

        @step(registry=world.registry)
        async def produce() -> None:
            async with stream("numbers", int, shared=True) as out:
                await out.write(1)

        @workflow(registry=world.registry)
        async def flow() -> None:
            await produce()
            await sleep(10.5)

        async with world.worker("A"):
            await asyncio.sleep(1)
            started = await world.start(flow)
            empty = asyncio.ensure_future(_collected(started, "nobody's"))
            assert await all_of(started) == [1]
            assert await empty == []
            ended = (await world.log(started))[-1].at
            assert loop.time() - (ended - EPOCH) / 1e6 < 0.01

    run(main)


async def _collected(started: Run[Any], name: str) -> list[Any]:
    return [chunk async for chunk in started.stream(name)]


@pytest.mark.parametrize("way", ["lost", "refused"])
def test_without_hints_a_reader_polls(way: str) -> None:
    """Redis swallows what is published, or cannot be subscribed to: a chunk is late by the poll, and none is missed."""

    async def main() -> None:
        world = World()
        producer = Producer(world, hold=1)
        loop = asyncio.get_running_loop()
        async with world.worker("A") as a:
            if way == "lost":

                async def nothing(channel: str, message: bytes) -> None:
                    return None

                a.queue.publish = nothing  # type: ignore[attr-defined]
            started = await world.start(producer.main)
            if way == "refused":
                connected = started._connected  # pyright: ignore[reportPrivateUsage]
                connected.queue.subscribe = _refusing  # type: ignore[method-assign]
            reading = aiter(started.stream("numbers", int))
            assert await anext(reading) == 0
            following = asyncio.ensure_future(anext(reading))  # type: ignore[arg-type]
            await asyncio.sleep(7.3)
            wrote = loop.time()
            producer.go_on.set()
            assert await following == 1
            assert 0 < loop.time() - wrote <= POLL_SECONDS
            assert [n async for n in reading] == [2, 3, 4, 5]
            assert loop.time() - wrote <= POLL_SECONDS

    run(main)


def _refusing(channel: str) -> Any:
    raise QueueTrouble("no pub/sub here")


def test_hints_wake_a_reader_at_once() -> None:
    """No virtual time passes between the write and its reader."""

    async def main() -> None:
        world = World()
        producer = Producer(world, hold=1)
        loop = asyncio.get_running_loop()
        async with world.worker("A"):
            _, reading = await begun(world, producer)
            following = asyncio.ensure_future(anext(reading))  # type: ignore[arg-type]
            await asyncio.sleep(7.3)
            wrote = loop.time()
            producer.go_on.set()
            assert await following == 1
            assert loop.time() == wrote

    run(main)


def test_hints_of_what_a_reader_has_do_not_make_it_look() -> None:
    """Twenty hints for twenty chunks that came in one page: no look at the store for any of them."""

    async def main() -> None:
        world = World()
        producer = Producer(world, hold=3)
        async with world.worker("A"):
            started = await world.start(producer.main)
            client = started._connected  # pyright: ignore[reportPrivateUsage]
            reading = aiter(started.stream("numbers", int))
            assert [await anext(reading) for _ in range(3)] == [0, 1, 2]
            following = asyncio.ensure_future(anext(reading))  # type: ignore[arg-type]
            await asyncio.sleep(0.1)
            looks = 0
            real = world.memory.read_stream

            async def counted(*args: Any, **more: Any) -> Any:
                nonlocal looks
                looks += 1
                return await real(*args, **more)

            world.memory.read_stream = counted  # type: ignore[method-assign]
            for _ in range(20):
                await client.queue.publish(channel_of(started.id, "numbers"), b"3")
            await asyncio.sleep(0.1)
            assert looks == 0
            await client.queue.publish(channel_of(started.id, "numbers"), b"4")
            await asyncio.sleep(0.1)
            assert looks == 1
            producer.go_on.set()
            assert await following == 3

    run(main)


@pytest.mark.parametrize(
    ("on_retry", "seen", "told"),
    [
        ("append", [(0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2), (3, 2)], [(1, 0), (2, 3)]),
        ("continue", [(0, 1), (1, 1), (2, 1), (3, 2)], [(1, 0), (2, 3)]),
    ],
)
def test_h114_a_writer_dies_and_a_reader_that_is_attached_sees_no_gap(
    on_retry: str, seen: list[tuple[int, int]], told: list[tuple[int, int]]
) -> None:
    """What was read stays. The next attempt's chunks come behind it, or continue it."""

    async def main() -> None:
        world = World()
        producer = Producer(world, 4, hold=3, on_retry=on_retry)
        async with world.worker("A") as a:
            started = await world.start(producer.main)
            chunks: list[tuple[int, int, int]] = []

            async def read() -> None:
                async for chunk in started.stream("numbers", int).chunks():
                    chunks.append((chunk.index, chunk.value, chunk.attempt))

            reading = asyncio.ensure_future(read())
            await producer.held.wait()
            await asyncio.sleep(0.1)
            assert len(chunks) == 3
            await a.end()
            producer.go_on.set()
            async with world.worker("B"):
                await reading
                assert await started.result(60) == "done"
            assert chunks == [(index, *one) for index, one in enumerate(seen)]
            assert producer.attempts == told

    run(main)


@pytest.mark.parametrize(
    ("on_retry", "seen"), [("append", [0, 1, 2, 0, 1, 2, 3]), ("continue", [0, 1, 2, 3])], ids=["append", "continue"]
)
def test_h114_a_frozen_writer_s_late_chunks_are_refused(on_retry: str, seen: list[int]) -> None:
    """A freezes before it sends a chunk; B takes the step over and completes it; A wakes up."""

    async def main() -> None:
        world = World()
        producer = Producer(world, 4, hold=3, on_retry=on_retry)
        async with world.worker("A") as a:
            started = await world.start(producer.main)
            await producer.held.wait()
            await asyncio.sleep(0.1)
            a.freeze_at("stream.before", a.seen["stream.before"] + 1)
            producer.go_on.set()
            await a.crashed.wait()
            async with world.worker("B"):
                assert await started.result(60) == "done"
                a.thaw()
                await asyncio.sleep(30)
            assert await all_of(started) == seen
            assert [number for number, _ in producer.attempts] == [1, 2]

    run(main)


def test_h113_a_lost_reply_doubles_no_chunk() -> None:
    """The chunk has landed, its reply is lost: the writer sends it again, and the step knows nothing of it."""

    async def main() -> None:
        world = World()
        producer = Producer(world)
        async with world.worker("A") as a:

            def lose() -> None:
                raise StoreTrouble("lost")

            for n in (1, 2, 3):
                a.at("stream.after", n, lose)
            started = await world.start(producer.main)
            assert await all_of(started) == [0, 1, 2, 3, 4, 5]
            assert await started.result(60) == "done"
            assert producer.attempts == [(1, 0)]

    run(main)


def test_h115_a_write_that_was_under_way_when_the_run_ended_is_read() -> None:
    """The reader has seen the run's end and all chunks; then the write commits that it has to wait for."""

    async def main() -> None:
        world = World()
        producer = Producer(world, 2, shared=True)
        async with world.worker("A"):
            started = await world.start(producer.main)
            await started.result(60)
            page = await world.memory.read_stream(started.id, "numbers", 0, limit=9, bytes_max=99)
            assert page is not None
            late = msgspec.structs.replace(page.chunks[1], index=2)
            waited = 0

            async def settle(run_id: str, name: str) -> None:
                nonlocal waited
                waited += 1
                stored = world.memory._streams[run_id, name]  # pyright: ignore[reportPrivateUsage] - as if it had committed
                stored.chunks.append(late)

            world.memory.settle_stream = settle  # type: ignore[method-assign]
            assert await all_of(started) == [0, 1, 1]
            assert waited == 1

    run(main)


def test_a_reader_bears_with_a_store_that_is_away() -> None:
    """It goes on with the next index; after a minute without an answer it gives up."""

    async def main() -> None:
        world = World()
        producer = Producer(world)
        async with world.worker("A"):
            started = await world.start(producer.main)
            await started.result(60)
            real = world.memory.read_stream
            reading = aiter(started.stream("numbers", int))
            assert await anext(reading) == 0
            failures = 3

            async def flaky(*args: Any, **more: Any) -> Any:
                nonlocal failures
                failures -= 1
                if failures >= 0:
                    raise StoreTrouble("away")
                return await real(*args, **more)

            world.memory.read_stream = flaky  # type: ignore[method-assign]
            assert await all_of(started) == [0, 1, 2, 3, 4, 5]
            failures = 10**6
            with pytest.raises(errors.ServerUnavailable, match="away"):
                await all_of(started)
            assert [n async for n in reading] == [1, 2, 3, 4, 5]

    run(main)
