"""A stream as its reader sees it: typed values in order, now and later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar, cast

from fencepost import chunks, payload_codecs
from fencepost.authoring.stream_port import Source
from fencepost_store.streams import Chunk

T = TypeVar("T")


class Call(Protocol):
    """Runs a coroutine in its loop, from a thread that is not that loop's, and waits for it."""

    def __call__(self, coroutine: Coroutine[Any, Any, T], /) -> T: ...


@dataclass(frozen=True, slots=True)
class StreamChunk(Generic[T]):
    """A chunk and where it comes from. ``index``: its place in the stream, 0, 1, 2 ... ``at``: when it was written, by
    the database's clock. ``step``: the id of the step that wrote it; ``attempt``: in which of its attempts.
    """

    index: int
    value: T
    at: datetime
    step: str
    attempt: int


class StreamReader(Generic[T]):
    """Reads a stream. Each ``async for`` begins at ``start`` anew: 0 is the first chunk, -1 the last one there is.

    Iterating yields the chunks that are there, then waits for more, and ends when the stream is closed, or the run has
    ended and all is read. Nothing is skipped and nothing comes twice, whatever connections are lost meanwhile. Raises
    RunNotFound, PayloadError for a chunk that is not of the type, ServerUnavailable after a minute without Postgres.
    """

    def __init__(
        self,
        source: Source,
        name: str,
        as_type: Any,
        start: int,
        codecs: payload_codecs.Codecs | None = None,
        call: Call | None = None,
    ) -> None:
        self.name = name
        self.start = start
        self._source = source
        self._type = as_type
        self._codecs = codecs
        self._call = call

    def __repr__(self) -> str:
        return f"<reader of stream {self.name!r} from {self.start}>"

    def __aiter__(self) -> AsyncIterator[T]:
        return self.values()

    def __iter__(self) -> Iterator[T]:
        """The same for code without an event loop: in a ``def`` step. Blocks its thread."""
        return blocking(self.values(), self._caller())

    async def chunks(self) -> AsyncGenerator[StreamChunk[T]]:
        """As iterating, with each chunk's index, time, step and attempt."""
        async for chunk in self._source.follow(self.start):
            at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=chunk.at)
            yield StreamChunk(chunk.index, self._decoded(chunk), at, chunk.writer, chunk.attempt)

    async def tail(self) -> int:
        """The index that the next chunk will have: how many there are. Raises RunNotFound, ServerUnavailable."""
        return await self._source.tail()

    async def values(self) -> AsyncGenerator[T]:
        """What iterating yields, as an async generator, which can be closed."""
        async for chunk in self._source.follow(self.start):
            yield self._decoded(chunk)

    def _decoded(self, chunk: Chunk) -> T:
        path = f"chunk {chunk.index} of stream {self.name!r}"
        if self._codecs is None:
            return cast(T, chunks.decode(chunk.payload, self._type, path))
        with payload_codecs.using(self._codecs):
            return cast(T, chunks.decode(chunk.payload, self._type, path))

    def _caller(self) -> Call:
        if self._call is None:
            raise TypeError(f"stream {self.name!r} is read with `async for` here; `for` is for def steps")
        return self._call


def caller(loop: asyncio.AbstractEventLoop) -> Call:
    """A Call into a loop. Called in that very loop's thread it raises RuntimeError, for it would wait for ever."""

    def call(coroutine: Coroutine[Any, Any, T], /) -> T:
        if asyncio._get_running_loop() is loop:
            coroutine.close()
            raise RuntimeError(
                "a blocking call on a stream in the event loop's own thread: use `async with` and `async for` there"
            )
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    return call


def blocking(values: AsyncGenerator[T], call: Call) -> Generator[T]:
    """An async generator's values, one by one, for a thread."""

    async def following() -> tuple[T] | None:
        async for value in values:
            return (value,)
        return None

    try:
        while (found := call(following())) is not None:
            yield found[0]
    finally:
        call(values.aclose())
