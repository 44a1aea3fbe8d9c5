"""Writing to a stream from workflow code: each write is a step of our own.

Workflow code is replayed, so it cannot write anywhere itself. A step is recorded, is run again if its worker dies, and
is known to the stream by its id: so its chunk is there once, behind those that were awaited before it.
"""

from __future__ import annotations

from fencepost import chunks
from fencepost.authoring.context import current
from fencepost.authoring.step import Step
from fencepost.records import Policy
from fencepost.replay.interface import Asking


async def stream_write(name: str, data: list[bytes], close: bool) -> None:
    """The body. ``data``: chunks without the codecs in force; its arguments had those around them."""
    streams = current().streams
    assert streams is not None, "the step runs in the worker's loop"
    channel = await streams.open(name, continues=True)
    for chunk in data:
        await channel.write(
            chunks.coded(chunk, streams.payload_bytes_max, f"chunk for stream {name!r}", streams.codecs)
        )
    if close:
        await channel.close()


WRITE = Step[[str, list[bytes], bool], None](stream_write, name="fencepost.stream_write", policy=Policy())


class WorkflowChannel:
    """A Channel of workflow code."""

    written = 0
    complete = False

    def __init__(self, asking: Asking, name: str) -> None:
        self._asking = asking
        self._name = name

    async def write(self, data: bytes) -> None:
        """A step that writes it."""
        await WRITE(self._name, [data], False)

    async def flush(self) -> None:
        """A step that has been awaited has written."""

    async def close(self) -> None:
        """A step that closes it."""
        await WRITE(self._name, [], True)
