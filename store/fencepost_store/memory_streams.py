"""The streams of the reference model: every rule of a write in plain Python, in the order in which the SQL has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from fencepost_store.events import TERMINAL_ORDINAL
from fencepost_store.ledger import Ledger
from fencepost_store.stream_admission import admit_write
from fencepost_store.streams import (
    Chunk,
    StreamInfo,
    StreamOutcome,
    StreamPage,
    StreamVerdict,
    StreamWrite,
)
from fencepost_store.trouble import ChunksLost


@dataclass(slots=True)
class _Writer:
    """What a step has written to one stream. ``sent``: by its attempt ``attempt``; ``written``: by all of them."""

    attempt: int = 0
    sent: int = 0
    written: int = 0


@dataclass(slots=True)
class _Stream:
    """One stream. ``closed_by``: the writer and the attempt that closed it."""

    created_at: int
    updated_at: int
    size: int = 0
    chunks: list[Chunk] = field(default_factory=list[Chunk])
    closed_by: tuple[str, int] | None = None
    writers: dict[str, _Writer] = field(default_factory=dict[str, _Writer])


class MemoryStreams:
    """Implements ``Streams`` over the ledgers of a MemoryStore. ``row``: waits for a run's lock, which only the making
    of a stream does.
    """

    def __init__(
        self,
        clock: Callable[[], int],
        ledgers: Callable[[], Mapping[str, Ledger]],
        row: Callable[[str], AbstractAsyncContextManager[None]],
    ) -> None:
        self._stream_clock = clock
        self._stream_ledgers = ledgers
        self._stream_row = row
        self._streams: dict[tuple[str, str], _Stream] = {}

    async def write_stream(self, write: StreamWrite) -> StreamVerdict:
        """See Streams.write_stream."""
        admit_write(write)
        if (write.run_id, write.name) in self._streams:
            return self._write(write)
        async with self._stream_row(write.run_id):
            return self._write(write)

    async def read_stream(self, run_id: str, name: str, start: int, *, limit: int, bytes_max: int) -> StreamPage | None:
        """See Streams.read_stream."""
        ledger = self._stream_ledgers().get(run_id)
        if ledger is None:
            return None
        stream = self._streams.get((run_id, name))
        chunks = [] if stream is None else stream.chunks
        first = max(0, len(chunks) + start) if start < 0 else start
        found: list[Chunk] = []
        size = 0
        for chunk in chunks[first : first + limit]:
            size += len(chunk.payload)
            if found and size > bytes_max:
                break
            found.append(chunk)
        closed = stream is not None and stream.closed_by is not None
        return StreamPage(ledger.run.status, first, len(chunks), closed, tuple(found))

    async def settle_stream(self, run_id: str, name: str) -> None:
        """See Streams.settle_stream. A write is one step here, so none is ever under way."""

    async def list_streams(self, run_id: str) -> list[StreamInfo]:
        """See Streams.list_streams."""
        return [
            StreamInfo(
                name,
                len(stream.chunks),
                stream.size,
                stream.closed_by is not None,
                stream.created_at,
                stream.updated_at,
            )
            for (owner, name), stream in sorted(self._streams.items())
            if owner == run_id
        ]

    def forget_streams(self, run_id: str) -> int:
        """The run was pruned. Returns how many rows of chunks and writers there were."""
        gone = [self._streams.pop(key) for key in [key for key in self._streams if key[0] == run_id]]
        return sum(len(stream.chunks) + len(stream.writers) for stream in gone)

    def _write(self, write: StreamWrite) -> StreamVerdict:
        stream = self._streams.get((write.run_id, write.name))
        known = stream or _Stream(self._stream_clock(), 0)
        writer = known.writers.get(write.writer, _Writer())
        sent = writer.sent if writer.attempt == write.attempt else 0
        outcome = self._judge(write, known, writer, sent)
        if outcome is None:
            outcome = self._land(write, known, writer, sent)
            self._streams[write.run_id, write.name] = known
            sent = writer.sent
        return StreamVerdict(outcome, len(known.chunks), writer.written, sent, known.closed_by is not None)

    def _judge(self, write: StreamWrite, stream: _Stream, writer: _Writer, sent: int) -> StreamOutcome | None:
        """Why nothing is to be written; None if it is."""
        me = (write.writer, write.attempt)
        sent_again = bool(write.chunks or write.close) and writer.attempt == write.attempt
        if sent_again and sent >= write.first + len(write.chunks) and (not write.close or stream.closed_by == me):
            return StreamOutcome.ok  # all of it is there: as good as landed, whatever has happened since
        ledger = self._stream_ledgers().get(write.run_id)
        if ledger is None:
            return StreamOutcome.run_not_found
        if ledger.run.status.ended:
            return StreamOutcome.run_ended
        newest = max((place for entity, place in ledger.places if entity == write.writer), default=0)
        start = ledger.places.get((write.writer, newest))
        another = start is None or write.stamp not in (None, start.stamp)
        if newest == TERMINAL_ORDINAL or newest != write.attempt or another:
            return StreamOutcome.fenced
        if stream.closed_by is not None:
            earlier = stream.closed_by[0] == write.writer and stream.closed_by[1] < write.attempt
            return StreamOutcome.complete if earlier else StreamOutcome.closed
        if write.first > sent:
            raise ChunksLost(
                f"run {write.run_id}, stream {write.name!r}: the writer counts {write.first} chunks, {sent} are there"
            )
        return None

    def _land(self, write: StreamWrite, stream: _Stream, writer: _Writer, sent: int) -> StreamOutcome:
        now = self._stream_clock()
        outcome = StreamOutcome.ok
        count = 0
        for payload in write.chunks[sent - write.first :]:
            if stream.size + len(payload) > write.bytes_max:
                outcome = StreamOutcome.full
                break
            stream.chunks.append(Chunk(len(stream.chunks), now, write.writer, write.attempt, payload))
            stream.size += len(payload)
            count += 1
        stream.updated_at = now
        if write.close and outcome is StreamOutcome.ok:
            stream.closed_by = (write.writer, write.attempt)
        writer.attempt, writer.sent = write.attempt, sent + count
        writer.written += count
        stream.writers[write.writer] = writer
        return outcome
