"""Futures and tasks of the workflow loop: asyncio's own, with a hash that is the same in every process.

asyncio keeps tasks in sets, and iterates them (``wait``, ``TaskGroup``). The stock hash is an address, so the order
in which losers are cancelled would differ between processes. Here the hash is a per-run counter, given out at the
first use (a future that never meets a set pays nothing), spread by an odd constant and salted by the run id:
asyncio's registry of all tasks spans runs, and unsalted counters would collide there.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import re
import weakref
from collections.abc import Callable, Generator
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from fencepost_store.events import Event

if TYPE_CHECKING:
    from fencepost.replay.asking import AskingFace
    from fencepost.replay.asks import Ask
    from fencepost.replay.hooks import Channel
    from fencepost.replay.loop import WorkflowLoop

_ODD = 0x9E3779B97F4A7C15
_MASK = (1 << 60) - 1  # what int's own hash leaves alone

_ANYIO_CANCEL = "Cancelled via cancel scope "


class HashSeries:
    """The hashes of one run, in the order asked for."""

    __slots__ = ("_count", "_salt")

    def __init__(self, run_id: str) -> None:
        self._salt = int.from_bytes(blake2b(run_id.encode(), digest_size=8).digest(), "big")
        self._count = 0

    def next(self) -> int:
        """The next one."""
        self._count += 1
        return (self._salt ^ (self._count * _ODD)) & _MASK


class WorkflowFuture(asyncio.Future[Any]):
    """A future of the workflow loop."""

    __slots__ = ("_hash",)
    _loop: WorkflowLoop  # pyright: ignore[reportIncompatibleMethodOverride]
    _hash: int

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            self._hash = self._loop.hashes.next()
            return self._hash


class StepFuture(WorkflowFuture):
    """Resolves to a step's terminal event. Cancelling it withdraws the step."""

    __slots__ = ("ask", "instance")
    ask: Ask | None
    instance: AskingFace

    def cancel(self, msg: Any | None = None) -> bool:
        cancelled = super().cancel(msg)
        if cancelled and self.ask is not None:
            self.instance.withdraw(self.ask)
        return cancelled


class HookFuture(WorkflowFuture):
    """Resolves to the next event of a hook. Cancelling it, or closing a coroutine that awaits it, withdraws the
    awaiter."""

    __slots__ = ("channel",)
    channel: Channel | None

    def __await__(self) -> Generator[Any, None, Event]:
        try:
            event: Event = yield from super().__await__()
            return event
        finally:
            # Closing the awaiting coroutine (GeneratorExit) leaves without an answer and without cancelling: nobody
            # listens any more.
            if not self.done():
                self.cancel()

    def give_back(self) -> None:
        """The awaiter is cancelled between the payload's arrival and its waking up: the payload goes to the next
        one."""
        channel, self.channel = self.channel, None
        if channel is not None and not self.cancelled() and self.exception() is None:
            channel.take_back(self.result())


class WorkflowTask(asyncio.Task[Any]):
    """A task of the workflow loop."""

    __slots__ = ("_hash",)
    _loop: WorkflowLoop  # pyright: ignore[reportIncompatibleMethodOverride]
    _hash: int

    def __hash__(self) -> int:
        # asyncio's registry of tasks asks for it while the task is being made.
        try:
            return self._hash
        except AttributeError:
            self._hash = self._loop.hashes.next()
            return self._hash

    def cancel(self, msg: Any | None = None) -> bool:
        return super().cancel(prepared(self, msg))


def prepared(task: asyncio.Task[Any], msg: Any | None) -> Any | None:
    """What is to be done before a task is cancelled. Returns the message to cancel it with."""
    waiter: object = task._fut_waiter  # type: ignore[attr-defined]  # pyright: ignore
    if isinstance(waiter, HookFuture) and waiter.done():
        waiter.give_back()
    if type(msg) is str and msg.startswith(_ANYIO_CANCEL):
        # anyio writes addresses into the message, and a message may end up in the run's failure.
        _, mark, reason = msg.partition("; reason: ")
        msg = f"{_ANYIO_CANCEL}of the workflow{mark}{reason}"
    return msg


DEFAULT_NAME = re.compile(r"Task-\d+")
"""What asyncio calls a task without a name: it counts over the process."""


def cancels_as_ours(task: asyncio.Task[Any]) -> None:
    """Have a task of another class cancelled as a WorkflowTask is. asyncio finds the method by name."""
    known = weakref.ref(task)  # a task that holds itself would wait for the cyclic collector

    def cancel(msg: Any | None = None) -> bool:
        found = known()
        return found is not None and type(found).cancel(found, prepared(found, msg))

    task.cancel = cancel  # type: ignore[method-assign]


def context_of(task: asyncio.Task[Any]) -> contextvars.Context | None:
    """The context that a task runs in. None while it is a pure Python task without one."""
    get_context: Callable[[], contextvars.Context] | None = getattr(task, "get_context", None)  # from 3.12 on
    if get_context is not None:
        return get_context()
    held = [each for each in gc.get_referents(task) if type(each) is contextvars.Context]
    return held[0] if held else getattr(task, "_context", None)
