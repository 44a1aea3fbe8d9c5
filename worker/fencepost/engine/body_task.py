"""One attempt's user code, in a task of its own. However it ends, the engine receives a value or an error, never an
exception that was raised at it: asyncio raises SystemExit and KeyboardInterrupt out of the loop from any task, and a
CancelledError of the body's own must not look like one of the engine's.

The engine stops a body by ``stop``, which notes the reason before it cancels. A CancelledError without such a note is
the body's own error, whoever cancelled its task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from fencepost.authoring.context import StepContext
from fencepost.engine.forks import end_if_forked
from fencepost.engine.tasks import own
from fencepost.telemetry import note
from fencepost_store.events import NewEvent

if TYPE_CHECKING:
    from fencepost.engine.ports import Ports


DRAINING = "draining"

HURRY_SECONDS = 3.0
"""What a body has to leave when the worker drains: its drain_seconds are over by then."""


@dataclass(frozen=True, slots=True)
class Value:
    """User code returned this."""

    value: Any


@dataclass(frozen=True, slots=True)
class Raised:
    """User code raised this, of whatever class."""

    error: BaseException


Ended: TypeAlias = Value | Raised


class Carried(Exception):
    """The error of user code that ran in a thread, on its way through our coroutines: a StopIteration raised in one
    would become another error.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class BodyStopped(Exception):
    """The engine stopped the body, and the body has left or was left behind. ``why``: lost, withdrawn."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def contained(call: Callable[[], Any]) -> Ended:
    """What a call of user code came to. Never raises."""
    try:
        ended: Ended = Value(call())
    except BaseException as error:  # noqa: BLE001 - whatever user code raises
        ended = Raised(error)
    end_if_forked(ended.error if isinstance(ended, Raised) else None)
    return ended


class BodyTask:
    """``start``, then ``ended``. ``reasons``: why the engine has stopped it, empty while it has not. ``grace``: seconds
    that a stopped body has to leave; then it is left behind, and its attempt is over without it. ``overdue``: makes the
    fact for a body that blocks the loop beyond its time, so that nothing in the loop can.
    """

    def __init__(self, ports: Ports, grace: float) -> None:
        self.reasons: list[str] = []
        self.overdue: Callable[[], NewEvent] | None = None
        self._ports = ports
        self._grace = grace
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[Ended] = self._loop.create_future()
        self._task: asyncio.Task[None] | None = None
        self._context: StepContext | None = None
        self._begun = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self, code: Callable[[], Coroutine[Any, Any, Any]], name: str, context: StepContext) -> None:
        """Run ``code`` in a task that only the engine and this body itself can cancel."""
        self._context = context
        self._task = self._ports.spawn(self._run(code), name)
        own(self._task, context)
        if self.reasons:  # stopped before it was started
            self._abandon(context)
            self._cancel()

    def stop(self, why: str) -> None:
        """Stop the body; the first call counts. Call in the loop."""
        self.reasons.append(why)
        if self._context is not None:
            self._abandon(self._context)
        if len(self.reasons) == 1 and not self._end.done():
            self._timer = self._loop.call_later(self._grace, self._leave_behind)
            self._cancel()

    def end(self) -> NewEvent | None:
        """See LeaseKeeper; called by a thread."""
        return None if self.overdue is None or self._end.done() else self.overdue()

    async def ended(self) -> Ended:
        """What the body came to. Whoever is cancelled in here has stopped the body, waits until it has left, and gets
        the CancelledError.
        """
        try:
            return await self._end
        except asyncio.CancelledError:
            if self._end.cancelled():
                self._end = self._loop.create_future()
            self.stop("cancelled")
            hurry = self._loop.call_later(HURRY_SECONDS, self._leave_behind)
            try:
                await self._end
            finally:
                hurry.cancel()
            raise
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._task = self._context = self.overdue = None  # what has ended holds nothing of its attempt

    async def _run(self, code: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._begun = True
        try:
            ended: Ended = Value(await code())
        except Carried as carried:
            ended = Raised(carried.error)
        except BaseException as error:  # noqa: BLE001 - whatever user code raises, GeneratorExit among it
            ended = Raised(error)
        end_if_forked(ended.error if isinstance(ended, Raised) else None)
        if self._end.done():
            self._ports.lost.found(self)
        elif not self._loop.is_closed():
            self._end.set_result(ended)

    def _abandon(self, context: StepContext) -> None:
        why = self.reasons[0]
        context.abandoned.reason = (
            DRAINING if why == "cancelled" else why
        )  # before the flag: threads look at that first
        context.abandoned.raised = True

    def _cancel(self) -> None:
        if self._task is None:
            return
        if not self._begun:  # it never will
            self._end.set_result(Raised(asyncio.CancelledError()))
        try:
            self._task.cancel(self._context.abandoned.reason if self._context is not None else None)
        except Exception as error:  # noqa: BLE001 - what the body waits for has a cancel() of the user's own
            note("body_not_stopped", error=type(error).__qualname__)

    def _leave_behind(self) -> None:
        if self._end.done():
            return
        if self._context is not None:
            self._ports.lost.leave(self, self._context, "task")
        self._end.set_result(Raised(asyncio.CancelledError()))
        self._cancel()
