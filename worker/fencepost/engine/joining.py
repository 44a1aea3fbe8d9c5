"""A body's own transaction (``transaction()``), from its begin to the commit that carries the step's end.

Points at which a test can end the worker: joint.begun, joint.sealed, joint.appended, joint.committed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fencepost import errors
from fencepost.log import RunLog, only_fact
from fencepost.telemetry import note
from fencepost_store.joint import Joint, TransactionEnded
from fencepost_store.protocol import Batch, FactOutcome, FactVerdict, StoreTrouble

Join = Callable[[], Awaitable[Joint]]


class Joining:
    """The transactions of one attempt: one at a time, and none after one that is to be committed. ``ready``: there is
    one to be committed. ``trouble``: there was none to be had, so whatever the body made of that is not its own
    failure. A connection that is lost later is an error of the body's, as one of its own would be: it has retries for
    that, and something that kills each session must come to an end.
    """

    def __init__(self, join: Join, fault: Callable[[str], None]) -> None:
        self._join = join
        self._fault = fault
        self._joint: Joint | None = None
        self.ready: bool = False
        self.trouble: StoreTrouble | None = None

    @asynccontextmanager
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
            yield joint.connection
        except TimeoutError as error:  # perhaps of a statement whose answer is lost, and then every other's would be
            self.close()
            if error.args:
                raise
            raise TimeoutError(
                "inside transaction(): a statement has call_timeout_seconds"
                f" ({joint.timeout_seconds:g} s) for its answer; give one that takes longer a timeout of its own,"
                " as in connection.execute(..., timeout=300)"
            ) from error
        except Exception:
            await self._give_up(joint)
            raise
        except BaseException:  # cancelled, by a timeout of the body's own for instance: nothing is awaited here
            self.close()
            raise
        self.ready = True

    async def seal(self) -> None:
        """The body has returned. Raises TransactionMisuse, and the driver's error for a broken deferred constraint."""
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
            raise errors.TransactionMisuse(
                "the transaction of transaction() was committed or rolled back inside the block: leave that to the"
                " step's end; for a part that may fail, use connection.transaction(), a savepoint"
            ) from None
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

    async def _give_up(self, joint: Joint) -> None:
        """The block was left by an exception, which stays the body's whatever happens here."""
        try:
            await joint.roll_back()
            await joint.clean()
        except StoreTrouble as trouble:  # the server rolls back when the connection is cut
            note("server_trouble", key="transaction()", error=str(trouble), delay_ms=0)
        finally:
            self._joint = None
            joint.close()
