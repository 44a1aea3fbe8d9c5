"""``transaction``: writes of a step that land together with its end, or not at all."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from fencepost.authoring.context import current_or_none
from fencepost.blocks import async_block
from fencepost.errors import NotInWorkflow, NotSupportedHere
from fencepost.replay import interface


@async_block
async def transaction() -> AsyncGenerator[Any]:
    """In an ``async def`` step: an asyncpg connection to the worker's own database, in an open transaction. What is
    written through it is exactly once.

    Leaving the block commits nothing. The commit comes when the body has returned, and carries the step's result: both
    are in Postgres, or neither is. If the body raises, or the step has ended meanwhile, everything is rolled back.
    Return from inside the block, or soon after it: the transaction is open until then. An exception that leaves the
    block rolls back at once, and another block may follow.

    A statement has ``call_timeout_seconds`` for its answer, or the ``timeout`` (seconds) that it is given. Then
    TimeoutError is raised, and one that leaves the block cuts the connection.

    READ COMMITTED. The fencepost tables are in a schema of their own; yours are found by your role's search_path.

    Raises NotInWorkflow outside a step that runs for a workflow, NotSupportedHere in a ``def`` or ``process=True``
    step, TransactionMisuse for a second block, or one that is open when the body returns, ServerUnavailable.
    """
    context = current_or_none()
    if context is None:
        where = "in a workflow: do it in a step" if interface.current() is not None else "here"
        raise NotInWorkflow(
            f"transaction() is for the body of an `async def` step that runs for a workflow, and there is none {where};"
            " a test gives one by fencepost.testing.step_context(connection=...)"
        )
    if context.transactions is None:
        raise NotSupportedHere(
            f"transaction() in step {context.step_id}: only an `async def` step has one, in a worker;"
            " a test gives one by fencepost.testing.step_context(connection=...)"
        )
    async with context.transactions.begin() as connection:
        yield connection
