"""The buffer between a step that writes a stream and the store: counted, never timed. On a real loop, no threads."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fencepost import step, stream, stream_errors
from fencepost.authoring.registry import Registry
from fencepost.engine.aids import Aids
from fencepost.engine.bodies import Attempt, run_attempt
from fencepost.engine.ports import real_ports
from fencepost.engine.streams import AttemptStreams, StreamLimits, Writing
from fencepost.records import StepCreated
from fencepost_store.events import EventType, NewEvent
from fencepost_store.memory import MemoryStore
from fencepost_store.protocol import Batch, NewRun
from fencepost_store.streams import StreamVerdict, StreamWrite

RUN = "01900000-0000-7000-8000-000000000000"


class Held(MemoryStore):
    """A store whose writes to streams wait for leave, one by one. ``sizes``: chunks of each."""

    def __init__(self) -> None:
        super().__init__()
        self.leave = asyncio.Semaphore(0)
        self.sizes: list[int] = []

    async def write_stream(self, write: StreamWrite) -> StreamVerdict:
        """Wait, then write."""
        self.sizes.append(len(write.chunks))
        await self.leave.acquire()
        return await super().write_stream(write)


class Deaf:
    """A queue that takes hints."""

    async def publish(self, channel: str, message: bytes) -> None:
        """Nobody listens."""


async def streams_of(store: MemoryStore, limits: StreamLimits) -> AttemptStreams:
    """The first attempt of a step w#1 that is under way."""
    await store.start(NewRun(RUN, "flow", "default", b"\x01", 10**7))
    events = (
        NewEvent(EventType.run_started),
        NewEvent(EventType.step_created, "w#1"),
        NewEvent(EventType.step_started, "w#1", attempt=1, dedupe="t"),
    )
    await store.append([Batch(RUN, 1, events, seen=1)])
    queue: Any = Deaf()
    return AttemptStreams(
        Writing(ports=real_ports(), store=store, queue=queue, limits=limits, run_id=RUN, entity="w#1", attempt=1)
    )


async def until_stuck(task: asyncio.Task[Any]) -> None:
    """Let the loop run until nothing moves: a bounded number of rounds, each with all that is ready."""
    for _ in range(50):
        await asyncio.sleep(0)
    assert not task.done(), task


@pytest.mark.parametrize(
    ("limits", "size", "taken"),
    [
        (StreamLimits(buffer_chunks_max=3), 1, 3),
        (StreamLimits(buffer_bytes_max=25), 10, 2),
        (StreamLimits(buffer_bytes_max=5), 10, 1),  # a chunk larger than the buffer goes alone
    ],
)
async def test_a_writer_that_is_faster_than_the_store_waits(limits: StreamLimits, size: int, taken: int) -> None:
    """Counted: so many writes return while the store has not answered, and one more for each that it takes."""
    store = Held()
    streams = await streams_of(store, limits)
    channel = await streams.open("s", continues=False)
    returned = 0

    async def body() -> None:
        nonlocal returned
        for n in range(7):
            await channel.write(bytes([n]) * size)
            returned += 1

    writing = asyncio.ensure_future(body())
    await until_stuck(writing)
    assert (returned, store.sizes) == (taken, [1])  # the first left at once, alone
    store.leave.release()
    await until_stuck(writing)
    assert returned == taken + 1
    assert store.sizes == [1, max(1, taken - 1)]  # what had gathered meanwhile left together
    for _ in range(7):
        store.leave.release()
    await writing
    await streams.finish()
    page = await store.read_stream(RUN, "s", 0, limit=100, bytes_max=10**6)
    assert page is not None
    assert [chunk.payload for chunk in page.chunks] == [bytes([n]) * size for n in range(7)]


async def test_a_body_that_never_waits_sends_its_first_chunk_at_once() -> None:
    """``write`` gives way once, so that the chunk is on its way when it returns."""
    store = Held()
    streams = await streams_of(store, StreamLimits())
    channel = await streams.open("s", continues=False)
    await channel.write(b"a")
    assert store.sizes == [1]
    streams.stop()


async def test_what_is_written_after_the_attempt_is_refused() -> None:
    """A thread that nothing can stop goes on writing: it is told, and nothing of it is sent."""
    store = Held()
    streams = await streams_of(store, StreamLimits())
    channel = await streams.open("s", continues=False)
    await channel.write(b"a")
    streams.stop()
    for call in (channel.write(b"b"), channel.flush(), channel.close()):
        with pytest.raises(stream_errors.StreamFenced):
            await call
    assert store.sizes == [1]


async def test_an_attempt_that_is_cancelled_sends_nothing_more() -> None:
    """Its lease is lost, or the worker drains, while the store does not answer: the call under way is given up."""
    store = Held()
    streams = await streams_of(store, StreamLimits())
    registry = Registry()

    @step(registry=registry)
    async def produce() -> None:
        async with stream("s", int) as out:
            await out.write(1)

    created = StepCreated("produce", produce.arguments.encode((), {}))
    attempt = Attempt(
        run_id=RUN,
        workflow="flow",
        entity="w#1",
        number=1,
        failures=0,
        token="t",
        created=created,
        payload_bytes_max=1000,
    )
    ports = real_ports()
    aids = Aids(ports, "default", 0, write=_never, write_seconds=1, streams=streams)
    body = asyncio.ensure_future(run_attempt(ports, registry, attempt, aids))
    await until_stuck(body)
    assert store.sizes == [1]
    body.cancel()
    with pytest.raises(asyncio.CancelledError):
        await body
    await aids.close()
    store.leave.release()
    for _ in range(50):
        await asyncio.sleep(0)
    page = await store.read_stream(RUN, "s", 0, limit=1, bytes_max=1)
    assert page is not None
    assert page.tail == 0


async def _never(details: bytes) -> bool:
    raise AssertionError("this body does not beat")
