"""What goes wrong with streams, see ``errors.py``."""

from __future__ import annotations

from fencepost.errors import Fatal, FencepostError


class _StreamError(FencepostError):
    """An error about one stream of the run, by its name."""

    wording = "{name}"

    def __init__(self, name: str, limit: int = 0) -> None:
        super().__init__(name, limit)
        self.name = name
        self.limit = limit

    def __str__(self) -> str:
        return self.wording.format(name=self.name, limit=self.limit)


class StreamClosed(_StreamError, Fatal):
    """The stream is closed: nothing can be written to it any more, by any attempt."""

    wording = "the stream {name!r} is closed; several steps that write to one stream say stream(..., shared=True)"


class StreamLimitExceeded(_StreamError, Fatal):
    """The stream has no room for the chunk. ``limit``: stream_bytes_max, in bytes. What fitted has been written."""

    wording = "the stream {name!r} would have more than stream_bytes_max = {limit} bytes: write references to the data"


class StreamFenced(_StreamError):
    """What this attempt writes does not count, and nor does its result: a later attempt has started, or it is over."""

    wording = "the stream {name!r} takes no more from this attempt: a later one has started, or the step or run is over"
