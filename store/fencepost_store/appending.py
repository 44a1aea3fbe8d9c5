"""The call of the one function that writes events."""

from __future__ import annotations

from collections.abc import Sequence

from fencepost_store.admission import Unstorable
from fencepost_store.connections import Held
from fencepost_store.driver import UniqueViolationError
from fencepost_store.protocol import Batch, Verdict
from fencepost_store.statements import Statements
from fencepost_store.wire import COMPARED, arguments, compared, successors, verdicts


async def append_on(held: Held, sql: Statements, batches: Sequence[Batch], stamp: int) -> list[Verdict]:
    """Call ``append`` on a connection. Creations are left to the unique index, so a duplicate fails the call as a
    whole; then it is made again with look-ups, which give the duplicate its verdict."""
    inside = held.connection.is_in_transaction()
    more = (*successors(batches), *compared(batches, stamp))
    statement = sql["append_continued" if len(more) > COMPARED else "append"]
    try:
        # Inside a transaction a failed statement would be the end of it, so there the look-ups are made at once.
        (row,) = await held.write(statement, *arguments(batches, careful=inside), *more)
    except Unstorable as error:
        if inside or not isinstance(error.__cause__, UniqueViolationError):
            raise
        (row,) = await held.write(statement, *arguments(batches, careful=True), *more)
    return verdicts(row, batches, stamp)
