"""``stream``: chunks that a run's steps write and anybody reads, live or later."""

from __future__ import annotations

from types import TracebackType, UnionType
from typing import Any, Generic, Literal, TypeVar, overload

from fencepost import chunks, payload
from fencepost.authoring.context import current_or_none
from fencepost.authoring.stream_port import Channel, StepStreams
from fencepost.authoring.stream_reader import Call, StreamReader, caller
from fencepost.authoring.stream_step import WorkflowChannel
from fencepost.errors import NotInWorkflow
from fencepost.replay import interface
from fencepost.signal_checks import check_start
from fencepost.stream_errors import StreamClosed
from fencepost_store.stream_admission import name_problem

T = TypeVar("T")

OnRetry = Literal["append", "continue"]


@overload
def stream(name: str, as_type: type[T], *, on_retry: OnRetry = ..., shared: bool = ...) -> Stream[T]: ...
@overload
def stream(name: str, as_type: UnionType, *, on_retry: OnRetry = ..., shared: bool = ...) -> Stream[Any]: ...
@overload
def stream(name: str, *, on_retry: OnRetry = ..., shared: bool = ...) -> Stream[Any]: ...
def stream(name: str, as_type: Any = Any, *, on_retry: OnRetry = "append", shared: bool = False) -> Stream[Any]:
    """The run's stream of that name, to write to (``async with``) or to read (``read``). Sends nothing yet.

    ``on_retry``: what an attempt's chunks are when an earlier attempt of the step has written some. "append": they
    come behind those. "continue": the step writes the same chunks in the same order each time, so that the first ones
    are the ones that are there, and only what is new is written. ``shared``: several steps write to it, so that
    leaving the block does not close it; it ends with ``close()``, or with the run.

    Raises ValueError for a name that is not 1 to 100 characters, PayloadError for a type that cannot be decoded.
    """
    problem = name_problem(name)
    if problem is not None:
        raise ValueError(f"stream({name!r}): {problem}")
    if on_retry not in ("append", "continue"):
        raise ValueError(f"stream({name!r}, on_retry={on_retry!r}): must be 'append' or 'continue'")
    payload.codec_of(as_type, f"stream {name!r}")
    return Stream(name, as_type, on_retry, shared)


class Stream(Generic[T]):
    """A stream of the run.

    ``async with`` (in a ``def`` step: ``with``) to write: what was written is in Postgres when the block is left, and
    the stream is closed unless it is ``shared`` or an exception has left the block. ``read()`` to read what other steps
    of the run write.
    """

    def __init__(self, name: str, as_type: Any, on_retry: OnRetry, shared: bool) -> None:
        self.name = name
        self._type = as_type
        self._on_retry = on_retry
        self._shared = shared
        self._writer: StreamWriter[T] | None = None
        self._call: Call | None = None

    def __repr__(self) -> str:
        return f"<stream {self.name!r}>"

    def read(self, start: int = 0) -> StreamReader[T]:
        """Read, in a step, what is written to the stream: ``async for chunk in stream("labels", Label).read()``, in a
        ``def`` step ``for``. Negative: from the tail. Waits for chunks to come until the stream is closed or the run
        ends, and holds the step's slot meanwhile. Raises NotInWorkflow elsewhere.
        """
        check_start(start)
        streams = _streams(self.name, "read")
        return StreamReader(
            streams.source(self.name), self.name, self._type, start, streams.codecs, caller(streams.loop)
        )

    async def __aenter__(self) -> StreamWriter[T]:
        asking = interface.current()
        if asking is not None:
            self._writer = StreamWriter(self.name, self._type, WorkflowChannel(asking, self.name), None)
        else:
            self._writer = await self._opened(_streams(self.name, "written to"))
        return self._writer

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        writer, self._writer = self._writer, None
        assert writer is not None, "left before it was entered"
        await self._leave(writer, error)

    def __enter__(self) -> BlockingWriter[T]:
        if interface.current() is not None:
            raise NotInWorkflow(f"stream {self.name!r}: in a workflow write with `async with`")
        streams = _streams(self.name, "written to")
        self._call = caller(streams.loop)
        self._writer = self._call(self._opened(streams))
        return BlockingWriter(self._writer, self._call)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        writer, self._writer = self._writer, None
        call, self._call = self._call, None
        assert writer is not None, "left before it was entered"
        assert call is not None, "entered with `async with`"
        call(self._leave(writer, error))

    async def _opened(self, streams: StepStreams) -> StreamWriter[T]:
        channel = await streams.open(self.name, continues=self._on_retry == "continue")
        return StreamWriter(self.name, self._type, channel, streams)

    async def _leave(self, writer: StreamWriter[T], error: BaseException | None) -> None:
        if error is None and not self._shared:
            await writer.close()
        elif isinstance(error, Exception) or error is None:
            await writer.flush()
        # A cancelled body has no time to wait: what is buffered goes out if the attempt lives on, else it is lost.


class StreamWriter(Generic[T]):
    """Writes to a stream. ``written``: how many chunks of earlier attempts of this step are in it; a step can go on
    from there, or with ``on_retry="continue"`` let the first writes be dropped. ``complete``: an earlier attempt has
    closed it, what is written is dropped.
    """

    def __init__(self, name: str, as_type: Any, channel: Channel, streams: StepStreams | None) -> None:
        self.name = name
        self._type = as_type
        self._channel = channel
        self._streams = streams
        self._closed = False
        self._count = 0

    @property
    def written(self) -> int:
        """Chunks that earlier attempts of this step have written."""
        return self._channel.written

    @property
    def complete(self) -> bool:
        """True if an earlier attempt of this step has closed the stream."""
        return self._channel.complete

    async def write(self, chunk: T) -> None:
        """Write a chunk. Returns when it is taken, not when it is written: batches go out in the background, at once if
        none is under way. Waits while more than stream_buffer_bytes_max are on their way. In a workflow it is a step,
        and returns when the chunk is written.

        Raises PayloadError, PayloadTooLarge; and what earlier chunks came to: StreamClosed, StreamLimitExceeded,
        StreamFenced.
        """
        if self._closed:
            raise StreamClosed(self.name)
        path = f"chunk {self._count} for stream {self.name!r}"
        data = chunks.plain(chunk, self._type, path)
        if self._streams is not None:
            data = chunks.coded(data, self._streams.payload_bytes_max, path, self._streams.codecs)
        await self._channel.write(data)
        self._count += 1

    async def flush(self) -> None:
        """Return when all that was written is in Postgres. Raises as ``write``."""
        await self._channel.flush()

    async def close(self) -> None:
        """Flush and end the stream for its readers; nothing can follow. Idempotent. Raises as ``write``."""
        if not self._closed:
            self._closed = True
            await self._channel.close()


class BlockingWriter(Generic[T]):
    """A StreamWriter for a ``def`` step, whose thread it blocks."""

    def __init__(self, writer: StreamWriter[T], call: Call) -> None:
        self._writer = writer
        self._call = call

    @property
    def written(self) -> int:
        """See StreamWriter."""
        return self._writer.written

    @property
    def complete(self) -> bool:
        """See StreamWriter."""
        return self._writer.complete

    def write(self, chunk: T) -> None:
        """See StreamWriter.write."""
        self._call(self._writer.write(chunk))

    def flush(self) -> None:
        """See StreamWriter.flush."""
        self._call(self._writer.flush())

    def close(self) -> None:
        """See StreamWriter.close."""
        self._call(self._writer.close())


def _streams(name: str, what: str) -> StepStreams:
    """The way of the step that runs here. Raises NotInWorkflow with the way out."""
    if interface.current() is not None:
        raise NotInWorkflow(f"stream {name!r} cannot be {what} in a workflow: do it in a step")
    context = current_or_none()
    if context is None:
        raise NotInWorkflow(
            f"stream {name!r} can be {what} in a step that runs for a workflow; elsewhere read it with "
            f"`async for chunk in client.run(run_id).stream({name!r})`"
        )
    if context.streams is None:
        raise NotInWorkflow(
            f"stream {name!r} cannot be {what} here: the process of a process=True step has no connection to Postgres. "
            "Make it a def or async def step that hands the computing to a process, or return the data"
        )
    return context.streams
