"""A workflow called in a workflow: a run of its own, whose result comes back as a step's does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from fencepost.child_errors import ChildCancelled, ChildFailed, ChildTerminated
from fencepost.failure import exception_of, told
from fencepost.records import ChildCreated, ChildEnded, unpack
from fencepost.replay import interface
from fencepost.replay.identity import stable_hash
from fencepost_store.events import Event, EventType

R = TypeVar("R")
Decode = Callable[[bytes], R]


class ChildHandle(Generic[R]):
    """A child run that was started with ``child.start(...)``. ``id``: its run id, known at once.

    Nobody has to await it. When the parent ends, the child's ``parent_close`` says what becomes of it.
    """

    def __init__(self, link: interface.ChildLink, workflow: str, decode: Decode[R]) -> None:
        self._link = link
        self._workflow = workflow
        self._decode = decode

    @property
    def id(self) -> str:
        """The child's run id."""
        return self._link.run_id

    def __hash__(self) -> int:
        return stable_hash(self.id)

    def __repr__(self) -> str:
        return f"<child {self._workflow} {self.id}>"

    async def result(self) -> R:
        """The child's return value; waits for it. May be asked often, by several tasks. Cancelling who waits leaves the
        child alone.

        Raises ChildFailed (the child's exception is its cause), ChildCancelled, ChildTerminated.
        """
        return outcome(await self._link.end(), self._link.run_id, self._workflow, self._decode)

    def cancel(self, reason: str = "") -> None:
        """Ask the child to end, as ``run.cancel`` does: its code gets a CancelledError and may clean up. Idempotent;
        nothing if it has ended. ``result()`` says how it ended.
        """
        self._link.cancel(reason)


async def called(asking: interface.Asking, entity: str, record: ChildCreated, decode: Decode[R]) -> R:
    """``await child(...)``: the child's return value, or its failure. Cancelled, it asks the child to cancel and goes
    on when the child has ended.
    """
    link = asking.child(entity, record, handle=False)
    call = link.called()
    event = await call
    if call.gave_up and event.type is EventType.child_failed:
        ended = unpack(event.payload, ChildEnded)
        if ended.status == "cancelled":
            raise asyncio.CancelledError(*([ended.reason] if ended.reason else []))
    return outcome(event, link.run_id, record.name, decode)


def outcome(event: Event, run_id: str, workflow: str, decode: Decode[R]) -> R:
    """The value of child_completed; of child_failed the exception is raised."""
    if event.type is EventType.child_completed:
        return decode(event.payload)
    ended = unpack(event.payload, ChildEnded)
    if ended.error is None:
        kind = ChildTerminated if ended.status == "terminated" else ChildCancelled
        raise kind(run_id, ended.reason, workflow=workflow)
    failure = told(ended.error)
    raise ChildFailed(
        run_id,
        failure.message,
        workflow=workflow,
        code=failure.code,
        type=failure.type,
        traceback=failure.traceback,
    ) from exception_of(failure)
