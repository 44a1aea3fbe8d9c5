"""A child run inside the workflow: one answer, for whoever awaits it, and what becomes of the child if nobody does.

Two ways to wait, as asyncio has them. A **call** (``await child(x)``) owns the child, as awaiting a coroutine does:
cancelling it asks the child to cancel, and the caller goes on when the child has ended, so that its cleanup is over. A
**handle** owns nothing: cancelling who awaits it leaves the child alone, as a shielded task.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fencepost import records
from fencepost.replay.tasks import WorkflowFuture
from fencepost_store.events import Event

if TYPE_CHECKING:
    from fencepost.replay.asking import AskingFace
    from fencepost.replay.asks import Ask

REASON_MAX = 1_000
"""Characters of a reason that are kept, as for a run that a client cancels."""


class ChildLink:
    """Implements ``interface.ChildLink``. ``ask`` is the child's creation (None: it has ended). ``cancelling``: the
    request to cancel, once made. ``kept``: made for a handle, and to outlive the code.
    """

    __slots__ = ("_end", "_instance", "_waiters", "abandons", "ask", "cancelling", "kept", "run_id")

    def __init__(self, instance: AskingFace, ask: Ask, record: records.ChildCreated, *, handle: bool) -> None:
        self._instance = instance
        self._end: Event | None = None
        self._waiters: list[WorkflowFuture] = []
        self.ask: Ask | None = ask
        self.abandons: bool = record.parent_close == records.ABANDON
        self.kept: bool = handle and self.abandons
        self.cancelling: Ask | None = None
        self.run_id: str = record.run

    @property
    def instance(self) -> AskingFace:
        """The live run that asked for the child."""
        return self._instance

    def called(self) -> ChildFuture:
        """The child's end, for the caller who owns it."""
        future = ChildFuture(loop=self._instance.loop)
        future.link = self
        future.gave_up = False
        self._wait(future)
        return future

    def end(self) -> WorkflowFuture:
        """The child's end, for somebody who only wants to know. Raises Evicted when nothing can be asked any more."""
        self._instance.refuse_when_closed()
        future = WorkflowFuture(loop=self._instance.loop)
        self._wait(future)
        return future

    def cancel(self, reason: str) -> None:
        """Ask the child to cancel, once; nothing if it has ended. A child that is not in the log yet is created and
        asked in one batch.
        """
        if self.ask is not None and self.cancelling is None and not self._instance.evicting:
            self.cancelling = self._instance.ask_to_cancel(self.ask, reason[:REASON_MAX])

    def give_up(self, message: object) -> bool:
        """The caller is cancelled. True: it has to wait until the child has ended."""
        ask = self.ask
        if ask is None or self._instance.evicting:
            return False
        if self.abandons or not self._instance.is_created(ask):
            self._instance.withdraw(ask)
            return False
        self.cancel(message if isinstance(message, str) else "")
        return True

    def recorded(self, event: Event) -> None:
        """The creation has landed: what the log says of the child counts."""
        self.run_id = records.unpack(event.payload, records.ChildCreated).run

    def ended(self, event: Event) -> bool:
        """The child's end is in the log. True if that woke anybody up."""
        self._end = event
        waiters, self._waiters = self._waiters, []
        woken = [waiter for waiter in waiters if not waiter.done()]
        for waiter in woken:
            waiter.set_result(event)
        return bool(woken)

    def _wait(self, future: WorkflowFuture) -> None:
        if self._end is not None:
            future.set_result(self._end)
        else:
            self._waiters.append(future)


class ChildFuture(WorkflowFuture):
    """Resolves to the child's terminal event. Cancelling it asks the child to cancel. ``gave_up``: somebody did."""

    __slots__ = ("gave_up", "link")
    link: ChildLink
    gave_up: bool

    def cancel(self, msg: Any | None = None) -> bool:
        if self.done():
            return False
        if self.link.give_up(msg):
            self.gave_up = True
            return True
        return super().cancel(msg)
