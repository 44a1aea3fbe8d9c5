"""Streams on Postgres: one statement and one round trip per call, on connections of their own, so that large chunks do
not hold up appends. They are made on first use."""

from __future__ import annotations

from typing import Any

from fencepost_store.connections import Connections
from fencepost_store.protocol import CorruptLog, StoreTrouble
from fencepost_store.rows import status_of
from fencepost_store.run_ids import admit_id, is_run_id
from fencepost_store.statements import Statements
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

_OUTCOMES = (
    StreamOutcome.ok,
    StreamOutcome.complete,
    StreamOutcome.closed,
    StreamOutcome.fenced,
    StreamOutcome.full,
    StreamOutcome.run_ended,
    StreamOutcome.run_not_found,
)
_GAP = 7


class PostgresStreams:
    """Implements ``Streams``; a part of PostgresStore."""

    def __init__(self, sql: Statements, connections: Connections) -> None:
        self._stream_sql = sql
        self._stream_connections = connections

    async def write_stream(self, write: StreamWrite) -> StreamVerdict:
        """See Streams.write_stream."""
        admit_write(write)
        admit_id(write.run_id)
        (row,) = await self._stream_connections.write(
            self._stream_sql["write_stream"],
            write.run_id,
            write.name,
            write.writer,
            write.attempt,
            write.first,
            write.chunks,
            write.close,
            write.bytes_max,
            write.stamp,
        )
        return _verdict(write, row)

    async def read_stream(self, run_id: str, name: str, start: int, *, limit: int, bytes_max: int) -> StreamPage | None:
        """See Streams.read_stream."""
        if not is_run_id(run_id) or "\0" in name:
            return None
        rows = await self._stream_connections.fetch(
            self._stream_sql["read_stream"], run_id, name, start, limit, bytes_max
        )
        return _page(rows[0], run_id, name) if rows else None

    async def settle_stream(self, run_id: str, name: str) -> None:
        """See Streams.settle_stream."""
        if is_run_id(run_id):
            await self._stream_connections.fetch(self._stream_sql["settle_stream"], run_id, name)

    async def list_streams(self, run_id: str) -> list[StreamInfo]:
        """See Streams.list_streams."""
        if not is_run_id(run_id):
            return []
        rows = await self._stream_connections.fetch(self._stream_sql["list_streams"], run_id)
        columns = StreamInfo.__struct_fields__
        return [StreamInfo(*(row[column] for column in columns)) for row in rows]


def _verdict(write: StreamWrite, row: Any) -> StreamVerdict:
    code: int = row["o_outcome"]
    if code == _GAP:
        raise ChunksLost(
            f"run {write.run_id}, stream {write.name!r}: the writer counts {write.first} chunks,"
            f" {row['o_sent']} are there"
        )
    if not 0 <= code < len(_OUTCOMES):
        raise StoreTrouble(f"Postgres answered a stream's write with outcome {code}")
    return StreamVerdict(_OUTCOMES[code], row["o_tail"], row["o_written"], row["o_sent"], row["o_closed"])


def _page(row: Any, run_id: str, name: str) -> StreamPage:
    """The page, which must begin at its start if there is anything to read there, and have no gap."""
    start, tail, found = row["start"], row["tail"], row["found"]
    dense = row["first"] == start and row["last"] - start + 1 == found if found else start >= tail
    if not dense or start + found > max(start, tail):
        raise CorruptLog(
            f"run {run_id}, stream {name!r}: {found} chunks found in {row['first']}..{row['last']} from index {start}"
            f" on, expected no gap and a tail of {tail}"
        )
    chunks: tuple[Chunk, ...] = ()
    if found:
        columns = zip(row["ats"], row["writers"], row["attempts"], row["payloads"], strict=True)
        chunks = tuple(Chunk(index, *rest) for index, rest in enumerate(columns, start))
    return StreamPage(status_of(row, run_id), start, tail, row["closed"], chunks)
