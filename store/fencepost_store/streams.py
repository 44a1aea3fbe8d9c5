"""What the store promises of streams, as types: chunks under a run and a name, numbered 0, 1, 2 ... without a gap.

A chunk that somebody has read never changes and never goes away while its run is kept. Chunks are appended behind the
lock of their stream's row, which is not the run's: a stream moves no fence and writes no event. Who may write is asked
of the log behind that lock: the newest start of a step that has not ended. A write that is sent again because its reply
was lost is recognised by the writer's own counter and lands once.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from fencepost_store.protocol import RunStatus  # whose Store is a Streams too


class StreamOutcome(enum.Enum):
    """What became of a write."""

    ok = "ok"
    complete = "complete"  # an earlier attempt of this step has closed the stream: not written, and not needed
    closed = "closed"  # somebody else, or this attempt itself, has closed it
    fenced = "fenced"  # a later attempt has started, or the step has ended, or has not started
    full = "full"  # what fitted has landed, the rest would go over ``bytes_max``
    run_ended = "run_ended"
    run_not_found = "run_not_found"


class StreamWrite(msgspec.Struct, frozen=True):
    """What one attempt of one step (``writer``: its entity) appends to a stream.

    ``first``: how many chunks this attempt has written to this stream before, by its own count: a write that is sent
    again says the same. ``close``: nothing may follow. ``bytes_max``: of all the stream's payloads together. Without
    chunks and without ``close`` it asks whether the writer may write, makes its attempt the newest, and tells
    ``written``. ``stamp``: that of the attempt's start (None: not compared).
    """

    run_id: str
    name: str
    writer: str
    attempt: int
    first: int
    chunks: tuple[bytes, ...] = ()
    close: bool = False
    bytes_max: int = 268_435_456
    stamp: int | None = None


class StreamVerdict(msgspec.Struct, frozen=True):
    """``tail``: the index of the stream's next chunk. ``written``: chunks of this writer in it, of all its attempts.
    ``sent``: those of this attempt.
    """

    outcome: StreamOutcome
    tail: int = 0
    written: int = 0
    sent: int = 0
    closed: bool = False


class Chunk(msgspec.Struct, frozen=True):
    """``at``: database clock, microseconds. ``writer``: the step's entity; ``attempt``: which of its attempts."""

    index: int
    at: int
    writer: str
    attempt: int
    payload: bytes


class StreamPage(msgspec.Struct, frozen=True):
    """A part of a stream from one snapshot. ``start``: the index of its first chunk, or where that would be.
    ``status``: the run's.
    """

    status: RunStatus
    start: int
    tail: int
    closed: bool
    chunks: tuple[Chunk, ...] = ()


class StreamInfo(msgspec.Struct, frozen=True):
    """A stream of a run. ``size``: bytes of its payloads as they are stored."""

    name: str
    tail: int
    size: int
    closed: bool
    created_at: int
    updated_at: int


class Streams(Protocol):
    """The streams of one namespace."""

    async def write_stream(self, write: StreamWrite) -> StreamVerdict:
        """Append, close, or take up writing. One round trip, one commit; the stream is made if it is not there. Raises
        Unstorable, StoreTrouble (unknown: send the same again).
        """
        ...

    async def read_stream(self, run_id: str, name: str, start: int, *, limit: int, bytes_max: int) -> StreamPage | None:
        """The chunks from index ``start`` on: at most ``limit``, and no more than ``bytes_max`` bytes unless the first
        one alone is larger. A negative start counts from the tail. None: no such run. A stream that was never written
        to reads as empty. Raises CorruptLog if a chunk is missing.
        """
        ...

    async def settle_stream(self, run_id: str, name: str) -> None:
        """Return when every write that was under way has landed or not. After the run's end nothing lands later, so
        what is read then is all.
        """
        ...

    async def list_streams(self, run_id: str) -> list[StreamInfo]:
        """The run's streams, by name."""
        ...
