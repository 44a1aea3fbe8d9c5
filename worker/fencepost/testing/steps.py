"""Step bodies that call ``current()`` or ``transaction()``, run in a test."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from datetime import datetime
from typing import Any

import msgspec

from fencepost import payload
from fencepost.authoring.context import StepContext, use_step_context
from fencepost.blocks import async_block, block


class StepTest:
    """What a body sees, and what it has told. ``context``: what ``current()`` answers. ``heartbeats``: the details of
    each ``heartbeat()`` in order, as the next attempt would have them; None for one without.
    """

    def __init__(self) -> None:
        self.context: StepContext
        self.heartbeats: list[Any] = []

    def cancel(self) -> None:
        """From now on ``current().cancelled`` is True."""
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
) -> Generator[StepTest]:
    """Inside the block, ``current()`` answers an attempt of this kind: call ``some_step.fn(...)``.

    ``heartbeat_details``: what an earlier attempt has left. ``connection``: an asyncpg connection for
    ``transaction()``; here each block commits, or rolls back, by itself. Raises PayloadError.
    """
    test = StepTest()

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
    )
    with use_step_context(test.context):
        yield test


class _Given:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @async_block
    async def begin(self) -> AsyncGenerator[Any]:
        """See Transactions."""
        async with self._connection.transaction():
            yield self._connection
