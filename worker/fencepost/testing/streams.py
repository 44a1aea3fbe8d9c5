"""The streams that a step's body sees in a test: in memory, each chunk as the log would have it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any

from fencepost import chunks
from fencepost.stream_errors import StreamClosed
from fencepost_store.streams import Chunk

PAYLOAD_BYTES_MAX = 1_048_576
"""The default of ``payload_bytes_max``."""


class TestStreams:
    """See StepStreams. ``given``: streams that are there and closed already, for a body that reads."""

    def __init__(self, step_id: str, attempt: int, given: Mapping[str, Iterable[object]]) -> None:
        self._step_id = step_id
        self._attempt = attempt
        self._loop: asyncio.AbstractEventLoop | None = None
        self.payload_bytes_max: int = PAYLOAD_BYTES_MAX
        self.codecs: None = None
        self.chunks: dict[str, list[bytes]] = {}
        self.closed: set[str] = set()
        for name, values in given.items():
            path = f"streams[{name!r}]"
            written = [chunks.plain(value, Any, f"{path}[{index}]") for index, value in enumerate(values)]
            self.chunks[name] = [
                chunks.coded(data, PAYLOAD_BYTES_MAX, f"{path}[{index}]") for index, data in enumerate(written)
            ]
            self.closed.add(name)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """For ``def`` bodies, which a test calls in its own thread: a loop in another one, made when it is needed."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="fencepost-test-streams", daemon=True).start()
        return self._loop

    def stop(self) -> None:
        """The test's block is left."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None

    async def open(self, name: str, *, continues: bool) -> TestChannel:
        """See StepStreams."""
        return TestChannel(self, name)

    def source(self, name: str) -> TestSource:
        """See StepStreams."""
        return TestSource(self, name)

    async def finish(self) -> None:
        """Nothing is under way."""

    def recorded(self, name: str) -> list[Chunk]:
        """The chunks of a stream."""
        written = enumerate(self.chunks.get(name, ()))
        return [Chunk(index, 0, self._step_id, self._attempt, data) for index, data in written]


class TestChannel:
    """See Channel."""

    written: int = 0
    complete: bool = False

    def __init__(self, streams: TestStreams, name: str) -> None:
        self._streams = streams
        self._name = name

    async def write(self, data: bytes) -> None:
        """See Channel. Raises StreamClosed."""
        if self._name in self._streams.closed:
            raise StreamClosed(self._name)
        self._streams.chunks.setdefault(self._name, []).append(data)

    async def flush(self) -> None:
        """Nothing is under way."""

    async def close(self) -> None:
        """See Channel."""
        self._streams.chunks.setdefault(self._name, [])
        self._streams.closed.add(self._name)


class TestSource:
    """See Source. What is there is all that will be."""

    def __init__(self, streams: TestStreams, name: str) -> None:
        self._streams = streams
        self._name = name

    async def tail(self) -> int:
        """See Source."""
        return len(self._streams.recorded(self._name))

    async def follow(self, start: int) -> AsyncGenerator[Chunk]:
        """See Source."""
        for chunk in self._streams.recorded(self._name)[start:]:
            yield chunk
