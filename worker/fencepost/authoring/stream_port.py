"""What a stream needs of the engine, as protocols: one attempt's way to write, and anybody's way to read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Protocol

from fencepost.payload_codecs import Codecs
from fencepost_store.streams import Chunk


class Channel(Protocol):
    """One stream, as one attempt writes to it. ``written``: chunks in it of the step's earlier attempts. ``complete``:
    one of those has closed it; what is written is dropped.
    """

    @property
    def written(self) -> int: ...

    @property
    def complete(self) -> bool: ...

    async def write(self, data: bytes) -> None:
        """Take a chunk, coded; waits while the buffer is full. Raises what an earlier one came to: StreamClosed,
        StreamLimitExceeded, StreamFenced.
        """
        ...

    async def flush(self) -> None:
        """Return when everything taken is in Postgres. Raises as ``write``."""
        ...

    async def close(self) -> None:
        """Flush, and end the stream. Raises as ``write``."""
        ...


class Source(Protocol):
    """One stream, to be read."""

    async def tail(self) -> int:
        """The index that the next chunk will have."""
        ...

    def follow(self, start: int) -> AsyncGenerator[Chunk]:
        """Chunks from an index on, as they come."""
        ...


class StepStreams(Protocol):
    """The streams of the run, as an attempt of one of its steps sees them. ``loop``: where all of this runs; threads
    have to call into it. ``payload_bytes_max``: of one chunk. ``codecs``: what chunks are written and read with (None:
    those in force where it is done).
    """

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def payload_bytes_max(self) -> int: ...

    @property
    def codecs(self) -> Codecs | None: ...

    async def open(self, name: str, *, continues: bool) -> Channel:
        """Take up writing. ``continues``: the first writes, as many as earlier attempts have brought in, are taken for
        the same chunks and dropped.
        """
        ...

    def source(self, name: str) -> Source:
        """Read."""
        ...

    async def finish(self) -> None:
        """The body has returned: flush all. Raises what no call of the body's has been told yet."""
        ...
