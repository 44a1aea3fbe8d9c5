"""A body's own transaction (``transaction()``), from its begin to the commit that carries the step's end.

Points at which a test can end the worker: joint.begun, joint.sealed, joint.appended, joint.committed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from fencepost import errors
from fencepost.blocks import async_block
from fencepost.log import RunLog, only_fact
from fencepost.telemetry import note
from fencepost_store.driver import PostgresError
from fencepost_store.joint import Joint, MadeReadOnly, TransactionEnded
from fencepost_store.protocol import Batch, FactOutcome, FactVerdict, StoreTrouble

Join = Callable[[], Awaitable[Joint]]


ENDED_BY_HAND = (
    "the transaction of transaction() was committed or rolled back inside the block, perhaps with another one begun"
    " behind it (COMMIT, END, ROLLBACK, COMMIT AND CHAIN, PREPARE TRANSACTION), or RESET ALL was called in it: leave"
    " that to the step's end; for a part that may fail, use connection.transaction(), a savepoint"
)
READ_ONLY = (
    "the transaction of transaction() was made READ ONLY inside the block, and its commit is to write the step's end:"
    " leave SET TRANSACTION out"
)
NOT_INSIDE = {
    "25001": "cannot be done inside the transaction of transaction(), which is READ COMMITTED and under way",
    "25006": READ_ONLY,
    "2D000": "COMMIT and ROLLBACK in a procedure need to be outside of a transaction, and transaction() is one",
}
"""SQLSTATE: what user code wants of its transaction that it cannot have, however often it tries."""


class Joining:
    """The transactions of one attempt: one at a time, and none after one that is to be committed. ``ready``: there is
    one to be committed. ``trouble``: there was none to be had, or its session was out of date, so whatever the body
    made of that is not its own failure. A connection that is lost later is an error of the body's, as one of its own
    would be: it has retries for that, and something that kills each session must come to an end. ``misuse``: what the
    attempt comes to, whatever the body made of it.
    """

    def __init__(self, join: Join, fault: Callable[[str], None]) -> None:
        self._join = join
        self._fault = fault
        self._joint: Joint | None = None
        self.ready: bool = False
        self.trouble: StoreTrouble | None = None
        self.misuse: errors.TransactionMisuse | None = None

    @async_block
    async def begin(self) -> AsyncGenerator[Any]:
        """See fencepost.transaction."""
        if self._joint is not None:
            told = (
                "another one was left without an error, and is committed with the step's end"
                if self.ready
                else ("another one is open")
            )
            raise errors.TransactionMisuse(f"transaction() twice in one attempt: {told}; write everything in one block")
        try:
            self._joint = joint = await self._join()
        except StoreTrouble as trouble:
            self.trouble = trouble
            raise errors.ServerUnavailable(f"Postgres: {trouble}") from trouble
        self._fault("joint.begun")
        try:
            yield joint.lend(_used_later)
        except TimeoutError as error:  # perhaps of a statement whose answer is lost, and then every other's would be
            joint.revoke()
            self.close()
            if error.args:
                raise
            raise TimeoutError(
                "inside transaction(): a statement has call_timeout_seconds"
                f" ({joint.timeout_seconds:g} s) for its answer; give one that takes longer a timeout of its own,"
                " as in connection.execute(..., timeout=300)"
            ) from error
        except Exception as error:
            await self._give_up(joint, error)
            raise
        except BaseException:  # cancelled, by a timeout of the body's own for instance: nothing is awaited here
            joint.revoke()
            if not joint.ours:
                self._misused(ENDED_BY_HAND)
            self.close()
            raise
        if joint.revoke():
            self.close()
            raise self._misused(
                "a statement on the connection of transaction() is still under way at the end of its block, in another"
                " task: await it inside"
            )
        self.ready = True

    async def seal(self) -> None:
        """The body has returned. Raises TransactionMisuse, and the driver's error for a broken deferred constraint."""
        if self.misuse is not None:
            raise self.misuse
        if self._joint is None:
            return
        if not self.ready:
            raise errors.TransactionMisuse(
                "the body has returned, and its transaction() block is still open: leave the block before, also where a"
                " task of the body's has it"
            )
        try:
            await self._joint.seal()
        except TransactionEnded:
            raise errors.TransactionMisuse(ENDED_BY_HAND) from None
        except MadeReadOnly:
            raise errors.TransactionMisuse(READ_ONLY) from None
        self._fault("joint.sealed")

    async def end(self, log: RunLog, batch: Batch) -> tuple[FactVerdict, int]:
        """Append the step's end and commit; where it is refused, roll back. Raises StoreTrouble: then it may or may not
        have landed. Answers the verdict and the database clock.
        """
        joint = self._joint
        assert joint is not None
        written = await log.append(batch, via=joint.append)
        self._fault("joint.appended")
        fact = only_fact(written)
        if fact.outcome is FactOutcome.landed:
            await joint.commit()
        else:
            await joint.roll_back()
        self._fault("joint.committed")
        return fact, written.now

    async def clean(self) -> None:
        """After a commit: make the connection fit for another step, or throw it away."""
        assert self._joint is not None
        try:
            await self._joint.clean()
        except StoreTrouble as trouble:
            note("server_trouble", key="transaction()", error=str(trouble), delay_ms=0)
        finally:
            self.close()

    def close(self) -> None:
        """Whatever is open is rolled back by the server. Idempotent."""
        joint, self._joint = self._joint, None
        self.ready = False
        if joint is not None:
            joint.close()

    async def _give_up(self, joint: Joint, error: Exception) -> None:
        """The block was left by an exception, which stays the body's, unless the transaction was misused: what was
        committed by hand would be written again by every retry. Raises TransactionMisuse then.
        """
        at_work, stale = joint.revoke(), joint.is_stale(error)
        self._joint = None
        try:
            if not at_work:
                await joint.roll_back()
                await joint.clean()
        except StoreTrouble as trouble:  # the server rolls back when the connection is cut
            note("server_trouble", key="transaction()", error=str(trouble), delay_ms=0)
        finally:
            joint.close()
        if stale:
            self.trouble = StoreTrouble(f"a session's statements were out of date: {error}")
        state = error.sqlstate if isinstance(error, PostgresError) else None
        if state in NOT_INSIDE:
            raise self._misused(f"{error}: {NOT_INSIDE[state]}") from error
        if not joint.ours:
            raise self._misused(ENDED_BY_HAND) from error

    def _misused(self, message: str) -> errors.TransactionMisuse:
        self.misuse = errors.TransactionMisuse(message)
        return self.misuse


def _used_later() -> errors.TransactionMisuse:
    return errors.TransactionMisuse(
        "the connection of transaction(), or something made from it, is used after its block: await every task that has"
        " it inside the block"
    )
