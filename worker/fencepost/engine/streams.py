"""Streams as an attempt of a step writes them: buffered, sent in the background, fenced by its attempt.

One call to the store is under way per stream; what is written meanwhile goes with the next, so that the first chunk
leaves at once and a fast writer's chunks share commits. The buffer is bounded in bytes and in chunks, and counts what
is under way: a writer that is faster than Postgres waits. Trouble with the servers is nobody's failure: the same chunks
are sent again until the attempt is over, and the store recognises those that had landed.
"""

from __future__ import annotations

import asyncio
from collections import deque

import msgspec

from fencepost import payload_codecs, stream_errors
from fencepost.engine.ports import Ports
from fencepost.payload_codecs import Codecs
from fencepost.streaming import StreamSource, announce
from fencepost.telemetry import note
from fencepost_queue.protocol import Queue
from fencepost_store.protocol import StoreTrouble
from fencepost_store.streams import StreamOutcome, Streams, StreamVerdict, StreamWrite
from fencepost_store.trouble import ChunksLost

AGAIN_SECONDS = 1.0
"""Upper end of the jittered pause before chunks are sent again: a second of a stream is what the buffer may hold."""


class StreamLimits(msgspec.Struct, frozen=True):
    """Bounds on streams, in bytes but for ``buffer_chunks_max``. One call carries a buffer at most, or one larger
    chunk.
    """

    payload_bytes_max: int = 1_048_576
    stream_bytes_max: int = 268_435_456
    buffer_bytes_max: int = 1_048_576
    buffer_chunks_max: int = 1_000


class Writing(msgspec.Struct, frozen=True):
    """Whose streams these are, and what they are written with."""

    ports: Ports
    store: Streams
    queue: Queue
    limits: StreamLimits
    run_id: str
    entity: str
    attempt: int
    stamp: int | None = None


class AttemptStreams:
    """Implements ``authoring.stream_port.StepStreams`` for one attempt. Whoever runs the body calls ``finish`` when it
    has returned, and ``stop`` in any case.
    """

    def __init__(self, writing: Writing) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.payload_bytes_max: int = writing.limits.payload_bytes_max
        self.codecs: Codecs | None = payload_codecs.current()
        self._writing = writing
        self._channels: dict[str, AttemptChannel] = {}

    async def open(self, name: str, *, continues: bool) -> AttemptChannel:
        """See StepStreams.open. Within one attempt a stream is one channel, however often it is opened."""
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = AttemptChannel(self._writing, name)
        await channel.begin(continues=continues)
        return channel

    def source(self, name: str) -> StreamSource:
        """See StepStreams.source."""
        return StreamSource(self._writing.store, self._writing.queue, self._writing.run_id, name)

    async def finish(self) -> None:
        """Bring everything that was written into Postgres. Raises what a stream came to, unless the body has been told
        and has gone on.
        """
        for channel in list(self._channels.values()):
            await channel.finish()

    @property
    def trouble(self) -> StoreTrouble | None:
        """What was written is not there any more, so whatever the body makes of it is no failure of its own (H195)."""
        return next((one.lost for one in self._channels.values() if one.lost is not None), None)

    def stop(self) -> None:
        """The attempt is over: nothing more is sent. What is still buffered is dropped."""
        for channel in self._channels.values():
            channel.stop()


class AttemptChannel:
    """One stream of an attempt, see ``authoring.stream_port.Channel``."""

    def __init__(self, writing: Writing, name: str) -> None:
        self.written: int = 0
        self.complete: bool = False
        self._writing = writing
        self._name = name
        self._begun = False
        self._beginning = asyncio.Lock()
        self._skip = 0
        self._buffer: deque[bytes] = deque()  # with what is under way, which is its head
        self._bytes = 0
        self._sent = 0
        self._closing = False
        self._closed = False
        self._failed: Exception | None = None
        self.lost: ChunksLost | None = None
        self._told = False
        self._turn = asyncio.Lock()  # first come, first served, while the buffer is full
        self._moved = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None

    async def begin(self, *, continues: bool) -> None:
        """Before the first write: a later attempt asks what is there. A first attempt has none before it."""
        async with self._beginning:
            if self._begun:
                return
            if self._writing.attempt > 1:
                verdict = await self._send((), close=False)
                self._judge(verdict)
                self._raise()
                self.written = verdict.written
            self._skip = self.written if continues else 0
            self._begun = True

    async def write(self, data: bytes) -> None:
        """See Channel.write."""
        async with self._turn:
            self._raise()
            if self._closing and not self.complete:
                raise stream_errors.StreamClosed(self._name)
            if self._skip:
                self._skip -= 1
                return
            while self._full(len(data)):
                await self._movement()
                self._raise()
            if self.complete:
                return
            self._buffer.append(data)
            self._bytes += len(data)
            await self._start()

    async def flush(self) -> None:
        """See Channel.flush."""
        await self._at_rest()
        self._raise()

    async def finish(self) -> None:
        """As ``flush``, but an error that has been raised once is not raised again."""
        await self._at_rest()
        if not self._told or self.lost is not None:
            self._raise()

    async def close(self) -> None:
        """See Channel.close."""
        self._raise()
        self._closing = True
        if not self.complete and not self._closed:
            await self._start()
        await self.flush()

    def stop(self) -> None:
        """Drop what is buffered; whoever writes from now on (a thread that nothing can stop) is told."""
        if self._failed is None:
            self._failed = stream_errors.StreamFenced(self._name)
        if self._pump is not None:
            self._pump.cancel()
            self._pump = None
        self._moved.set()

    async def _at_rest(self) -> None:
        while self._pump is not None:
            await self._movement()

    def _full(self, more: int) -> bool:
        limits = self._writing.limits
        over = self._bytes + more > limits.buffer_bytes_max or len(self._buffer) >= limits.buffer_chunks_max
        return over and bool(self._buffer)  # a single chunk larger than the buffer goes alone

    async def _start(self) -> None:
        if self._pump is None:
            self._pump = self._writing.ports.spawn(self._run(), f"stream {self._name}")
            await asyncio.sleep(0)  # let it send: a body that never waits would keep its first chunk to itself

    async def _movement(self) -> None:
        self._moved.clear()
        await self._moved.wait()

    def _raise(self) -> None:
        if self._failed is not None:
            self._told = True
            raise self._failed

    async def _run(self) -> None:
        try:
            while self._failed is None and (self._buffer or (self._closing and not self._closed)):
                batch = tuple(self._buffer)
                close = self._closing
                verdict = await self._send(batch, close=close)
                self._take(batch)
                self._judge(verdict)
                self._closed = self._closed or (close and verdict.outcome is StreamOutcome.ok)
                self._moved.set()
                await announce(
                    self._writing.queue, self._writing.run_id, self._name, verdict.tail, closed=verdict.closed
                )
        except Exception as error:  # noqa: BLE001 - the writer's next call raises it
            self._failed = error
        finally:
            self._pump = None
            self._moved.set()

    def _take(self, batch: tuple[bytes, ...]) -> None:
        for data in batch:
            self._buffer.popleft()
            self._bytes -= len(data)
        self._sent += len(batch)

    def _judge(self, verdict: StreamVerdict) -> None:
        match verdict.outcome:
            case StreamOutcome.ok:
                return
            case StreamOutcome.complete:
                self.complete = self._closed = True
                self._buffer.clear()
                self._bytes = 0
            case StreamOutcome.closed:
                self._failed = stream_errors.StreamClosed(self._name)
            case StreamOutcome.full:
                self._failed = stream_errors.StreamLimitExceeded(self._name, self._writing.limits.stream_bytes_max)
            case _:  # fenced, or the run has ended or is gone
                self._failed = stream_errors.StreamFenced(self._name)

    async def _send(self, batch: tuple[bytes, ...], *, close: bool) -> StreamVerdict:
        """One call, made again for as long as its outcome is unknown. Raises Unstorable."""
        writing = self._writing
        write = StreamWrite(
            run_id=writing.run_id,
            name=self._name,
            writer=writing.entity,
            attempt=writing.attempt,
            first=self._sent,
            chunks=batch,
            close=close,
            bytes_max=writing.limits.stream_bytes_max,
            stamp=writing.stamp,
        )
        told = False
        while True:
            try:
                writing.ports.fault("stream.before")
                verdict = await writing.store.write_stream(write)
                writing.ports.fault("stream.after")
            except ChunksLost as lost:
                self.lost = lost
                raise stream_errors.StreamFenced(self._name) from lost
            except StoreTrouble as trouble:
                if not told:
                    told = True
                    note("stream_delayed", run=writing.run_id, stream=self._name, error=str(trouble))
                await writing.ports.sleep(AGAIN_SECONDS * writing.ports.uniform())
            else:
                return verdict
