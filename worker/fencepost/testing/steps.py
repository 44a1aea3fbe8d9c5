"""Step bodies that call ``current()`` or ``transaction()``, run in a test."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from fencepost import chunks, payload
from fencepost.authoring.context import StepContext, use_step_context
from fencepost.blocks import async_block, block
from fencepost.testing.streams import TestStreams


class StepTest:
    """What a body sees, and what it has told. ``context``: what ``current()`` answers. ``heartbeats``: the details of
    each ``heartbeat()`` in order, as the next attempt would have them; None for one without.
    """

    def __init__(self, streams: TestStreams) -> None:
        self.context: StepContext
        self.heartbeats: list[Any] = []
        self._streams = streams

    def stream(self, name: str, as_type: Any = Any) -> list[Any]:
        """The chunks of a stream so far, as a reader of the type would get them. Raises PayloadError."""
        path = f"chunk of stream {name!r}"
        return [chunks.decode(chunk.payload, as_type, path) for chunk in self._streams.recorded(name)]

    def cancel(self, reason: str = "withdrawn") -> None:
        """From now on ``current().cancelled`` is True, for this reason."""
        self.context.abandoned.reason = reason
        self.context.abandoned.raised = True


@block
def step_context(
    *,
    run_id: str = "run-1",
    step_id: str = "step#1",
    workflow: str = "workflow",
    attempt: int = 1,
    queue: str = "default",
    deadline: datetime | None = None,
    heartbeat_details: object = msgspec.UNSET,
    connection: Any = None,
    streams: Mapping[str, Iterable[object]] | None = None,
) -> Generator[StepTest]:
    """Inside the block, ``current()`` answers an attempt of this kind: call ``some_step.fn(...)``.

    ``heartbeat_details``: what an earlier attempt has left. ``connection``: an asyncpg connection for
    ``transaction()``; here each block commits, or rolls back, by itself. ``streams``: chunks by name that a body finds
    when it reads; what it writes is in ``stream(name)`` of what the block gets. Raises PayloadError.
    """
    written = TestStreams(step_id, attempt, streams or {})
    test = StepTest(written)

    def pulse(details: bytes | None) -> None:
        test.heartbeats.append(None if details is None else payload.decode(details))

    left = heartbeat_details is not msgspec.UNSET
    test.context = StepContext(
        run_id=run_id,
        step_id=step_id,
        workflow=workflow,
        attempt=attempt,
        queue=queue,
        deadline=deadline,
        pulse=pulse,
        previous=payload.encode(heartbeat_details, path="heartbeat_details") if left else None,
        transactions=None if connection is None else _Given(connection),
        streams=written,
    )
    try:
        with use_step_context(test.context):
            yield test
    finally:
        written.stop()


class _Given:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @async_block
    async def begin(self) -> AsyncGenerator[Any]:
        """See Transactions."""
        async with self._connection.transaction():
            yield self._connection
