"""A hook inside the workflow: payloads in log order, each to one awaiter, first come first served."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fencepost.records import HookDisposed, pack
from fencepost.replay.tasks import HookFuture, WorkflowFuture
from fencepost_store.events import Event, EventType

if TYPE_CHECKING:
    from fencepost.replay.asking import AskingFace
    from fencepost.replay.asks import Ask


class Channel:
    """Implements ``interface.HookChannel``. ``ask`` is the hook's creation (None: it has ended)."""

    __slots__ = (
        "_buffer",
        "_closed",
        "_conflict",
        "_created",
        "_handed_over",
        "_instance",
        "_waiters",
        "_watchers",
        "ask",
    )

    def __init__(self, instance: AskingFace, ask: Ask) -> None:
        self._instance = instance
        self.ask: Ask | None = ask
        self._buffer: deque[Event] = deque()
        self._waiters: deque[HookFuture] = deque()
        self._watchers: deque[WorkflowFuture] = deque()
        self._conflict: Event | None = None
        self._created = False
        self._closed = False
        self._handed_over = False

    def next(self) -> HookFuture:
        """The next hook_received event, or hook_conflict, now and for ever after. Raises RuntimeError after close,
        Evicted when nothing can be asked any more."""
        self._instance.refuse_when_closed()
        if self._closed:
            raise RuntimeError("the hook is closed: await it inside its `async with` block, or make another one")
        future = HookFuture(loop=self._instance.loop)
        future.channel = self
        if self._conflict is not None:
            future.set_result(self._conflict)
        else:
            self._waiters.append(future)
            self._pump()
        return future

    def settled(self) -> WorkflowFuture:
        """None once the hook is in the log, or its hook_conflict event. Raises as ``next`` does."""
        self._instance.refuse_when_closed()
        if self._closed:
            raise RuntimeError("the hook is closed: ask it inside its `async with` block")
        future = WorkflowFuture(loop=self._instance.loop)
        if self._created or self._conflict is not None:
            future.set_result(self._conflict)
        else:
            self._watchers.append(future)
        return future

    def close(self) -> None:
        """Dispose. Whoever still awaits gets a RuntimeError, for nothing will ever come."""
        if self._closed:
            return
        self._closed = True
        self._instance.backlog -= len(self._buffer)
        ask = self.ask
        if ask is not None:
            self._instance.withdraw(ask)
            self.account(ask)
        for waiter in (*self._waiters, *self._watchers):
            if not waiter.done():
                waiter.set_exception(RuntimeError("the hook was closed while it was awaited"))
        self._waiters.clear()
        self._watchers.clear()

    def receive(self, event: Event) -> None:
        """A payload from the log. (After a close the ask is withdrawn, and the instance does not come here.)"""
        self._buffer.append(event)
        self._instance.backlog += 1
        self._pump()

    def take_back(self, event: Event) -> None:
        """A payload whose awaiter was cancelled before it woke up. It was the oldest, so it goes first again."""
        if self._conflict is not None:
            return
        self._buffer.appendleft(event)
        if not self._closed:
            self._instance.backlog += 1
            self._pump()
        elif self.ask is not None:
            self.account(self.ask)

    @property
    def untaken(self) -> Sequence[Event]:
        """The payloads that nobody has taken, also after the close, in the order in which they are to be taken."""
        return tuple(self._buffer)

    def leave(self, event: Event) -> None:
        """A payload that nobody will take here."""
        self._buffer.append(event)
        if not self._closed:
            self._instance.backlog += 1

    def inherit(self, events: Sequence[Event]) -> None:
        """Payloads that the run before has handed over, to be given with the news that the hook is open."""
        self._buffer.extend(events)
        self._instance.held -= len(events)
        self._instance.backlog += len(events)

    def account(self, ask: Ask) -> None:
        """Have hook_disposed say which payloads are left. ``ask``: the hook's creation, withdrawn."""
        if ask.withdrawal is not None and not ask.withdrawal.landed:
            left = () if self._handed_over else tuple(event.seq for event in self._buffer)
            ask.withdrawal.payload = pack(HookDisposed(left)) if left else b""

    def hand_over(self) -> None:
        """The run that goes on inherits what is left."""
        self._handed_over = True
        if self.ask is not None:
            self.account(self.ask)

    def hear(self, event: Event) -> bool:
        """What became of the creation: hook_created, or hook_conflict as another hook holds the token. True if that
        woke anybody up."""
        woken = list(self._watchers)
        self._watchers.clear()
        if event.type is EventType.hook_conflict:
            self._conflict = event
            woken += self._waiters
            self._waiters.clear()
        else:
            self._created = True
        woken = [future for future in woken if not future.done()]
        for future in woken:
            future.set_result(self._conflict)
        given = bool(self._buffer and self._waiters)
        self._pump()
        return bool(woken) or given

    def _pump(self) -> None:
        waiters, buffer = self._waiters, self._buffer
        while waiters and (waiters[0].done() or buffer):
            waiter = waiters.popleft()
            if not waiter.done():  # cancelled ones are withdrawn: they swallow nothing
                self._instance.backlog -= 1
                waiter.set_result(buffer.popleft())
