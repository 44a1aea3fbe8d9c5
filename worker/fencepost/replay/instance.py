"""A live run: log events in, decisions out. Pure; implements both faces of ``interface.py``.

Theory. The code is a function from the events delivered so far to the set of things it asks for. Each event is
delivered alone and the loop is drained to rest before the next one, so it does not matter how many events a worker
happened to load at once: every prefix of a log leads to the same state, and ``pending`` is read off that state. What
is asked and withdrawn between two looks leaves no trace.

The log in turn checks the code. Batches are atomic and ordered, so an event that the code caused must be the first
thing it asked for that has not landed: same type, same entity, same name; else ReplayDivergence. Facts need an entity
that is open. Facts that land after the code has returned and before its end has landed are noticed by nobody.

What became of a hook's creation the code hears when all that it had asked for by then has landed too. That was in one
batch with the hook, so it comes next in the log, whatever the news would have made the code withdraw.
"""

# The table at the end names the class's own private methods.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections import deque
from collections.abc import Callable, Sequence

from fencepost import payload_codecs
from fencepost.replay import asyncio_patches
from fencepost.replay.asking import EVICTING, RETURNED, AskingFace
from fencepost.replay.asks import Ask, State, same_call, same_name
from fencepost.replay.cancelling import request_of, stopped
from fencepost.replay.divergence import diverged
from fencepost.replay.endings import ending_of, is_escape
from fencepost.replay.eviction import wind_down
from fencepost.replay.fold import OpenWork
from fencepost.replay.glances import BEHIND_ANTICIPATED, CREATIONS, foreseen, last_decision
from fencepost.replay.hooks import Channel
from fencepost.replay.identity import PATH, secret_in
from fencepost.replay.interface import Driven, Program, ReplayDivergence
from fencepost.replay.starting import attributes_in, beginning, cancelled_before
from fencepost.replay.tasks import StepFuture, WorkflowTask
from fencepost.replay.timers import WorkflowTimer
from fencepost_store.events import Event, EventType, NewEvent

CHANGED_MAX = 100
"""How many entities with changed arguments are remembered: enough to tell a deploy from an accident."""


class Instance(AskingFace, Driven):
    """One live run.

    ``drain_limit``: callbacks that one event may lead to (ReplayLimit). Any exception out of ``deliver``,
    ``anticipate`` or ``fire_due`` leaves an instance that can only be evicted.
    """

    replaying: bool
    begun: bool

    def __init__(self, run_id: str, program: Program, *, queue: str = "default", drain_limit: int = 100_000) -> None:
        asyncio_patches.install()
        super().__init__(run_id, program, drain_limit)
        self.work: OpenWork = OpenWork()
        self.queue = queue
        self.changed_arguments: list[str] = []
        self._usable = True
        self._cancelled_for: str | None = None  # the first request's reason, once there is one
        self._root: WorkflowTask | None = None
        self._ending: NewEvent | None = None
        self._anticipated: deque[NewEvent] = deque()
        self._due: list[tuple[int, int, Ask]] = []
        self._due_count = 0
        self._news: deque[tuple[Ask | None, Channel, Event]] = deque()

    # What the engine calls.

    @property
    def ended(self) -> bool:
        """True when the code has returned or failed (whether or not the log knows)."""
        return self._ending is not None

    @property
    def ending(self) -> NewEvent | None:
        """The run's end as the code has it, if it has ended."""
        return self._ending

    def deliver(self, events: Sequence[Event]) -> None:
        """Events of the log, each to quiescence. Raises ReplayDivergence, ReplayLimit, and what the replay budget
        raises."""
        if events:
            self._drive(self._deliver, events)

    def _deliver(self, events: Sequence[Event]) -> None:
        repeated = last_decision(events)
        patches = self._patches
        patches.events = events
        try:
            for index, event in enumerate(events):
                patches.index = index
                self.replaying = index < repeated
                self.work.apply(event)
                if self._anticipated and event.type in BEHIND_ANTICIPATED:
                    raise self._overtaken(event)
                _HANDLERS[event.type](self, event)
                if self._news:
                    self._tell()
        finally:
            self.replaying = False
            patches.events = ()  # a live instance does not hold its log

    def anticipate(self, event: NewEvent) -> None:
        """Deliver a step's end that is not in the log yet. Raises ValueError if the step is not open in the log."""
        ask = self._open.get(event.entity)
        if ask is None or ask.type is not EventType.step_created or ask.state is State.asked:
            raise ValueError(f"{event.type.name} {event.entity} cannot be anticipated: the step is not open in the log")
        if event.at is None:
            raise ValueError(f"{event.type.name} {event.entity} cannot be anticipated without a time (at)")
        self._anticipated.append(event)
        self._drive(self._end_step, ask, foreseen(event))

    def fire_due(self, now: int) -> None:
        """Anticipate wait_completed for each wait of the log that is due by ``now`` and still awaited, by due time,
        each to quiescence."""
        due = self.next_due()
        if due is not None and due <= now:
            self._drive(self._fire_due, now)

    def _fire_due(self, now: int) -> None:
        while (due := self.next_due()) is not None and due <= now:
            ask = heapq.heappop(self._due)[2]
            at = max(now, self._now)
            self._anticipated.append(NewEvent(EventType.wait_completed, ask.entity, at=at))
            self._end_wait(ask, at)

    def next_due(self) -> int | None:
        """The due time (microseconds) of the earliest wait of the log that is still awaited."""
        heap = self._due
        while heap and heap[0][2].state is not State.created:
            heapq.heappop(heap)
        return heap[0][0] if heap and self._ending is None else None

    def pending(self) -> tuple[NewEvent, ...]:
        """What an append must carry now. Changes nothing."""
        self._refuse_unusable()
        events = [*self._anticipated, *(ask.event() for ask in self._outstanding)]
        if self._ending is not None and self.work.ended is None:
            events.append(self._ending)
        return tuple(events)

    def evict(self) -> None:
        """End the instance by cancellation; nothing leaves the loop. Idempotent, never raises."""
        if self.evicted:
            return
        self._evicting = True
        self._closed = EVICTING
        self.evicted = True
        self._usable = False
        wind_down(self.loop)
        self._outstanding.clear()
        self._open.clear()
        self._due.clear()
        self._anticipated.clear()
        self._news.clear()
        self._root = None

    # Events the code did not cause.

    def _start(self, event: Event) -> None:
        if self._root is not None:
            raise self._diverged(event)
        self._advance(beginning(event))
        if (early := cancelled_before(event, self._patches.events)) is not None:
            self.begun, self._ending = False, NewEvent(EventType.run_cancelled, payload=stopped(early))
            return
        self._secret, self._attributes = secret_in(event.payload), attributes_in(event.payload)
        context = contextvars.Context()
        context.run(PATH.set, self._path)
        payload_codecs.carry_into(context)
        self._root = root = self.loop.start_root(self._program.run(event.payload), context)
        root.add_done_callback(self._returned, context=context)
        self._rest()

    def _unseen(self, event: Event) -> None:
        """run_started, step_started, step_retrying: the code cannot notice them."""

    def _step_ended(self, event: Event) -> None:
        if self._landed(event):
            return
        ask = self._open.get(event.entity)
        if ask is None or ask.type is not EventType.step_created or ask.state is State.asked:
            raise self._diverged(event)
        self._end_step(ask, event)

    def _end_step(self, ask: Ask, event: Event) -> None:
        del self._open[ask.entity]
        future = ask.owner
        withdrawal = ask.withdrawal
        ask.finish()
        if withdrawal is not None:
            withdrawal.dropped = True  # the result came first: there is nothing left to cancel
        elif self._ending is None and isinstance(future, StepFuture):
            self._advance(event.at)
            future.set_result(event)
            self._rest()

    def _hook_received(self, event: Event) -> None:
        ask = self._open.get(event.entity)
        if ask is None or ask.type is not EventType.hook_created or ask.state is State.asked:
            raise self._diverged(event)
        if ask.state is State.created and self._ending is None and isinstance(ask.owner, Channel):
            self._advance(event.at)
            ask.owner.receive(event)
            self._rest()

    def _cancel(self, event: Event) -> None:
        if self._ending is None:
            if self._root is None:
                raise self._diverged(event)
            self._advance(event.at)
            reason = request_of(event).reason
            if self._cancelled_for is None:
                self._cancelled_for = reason
            self._root.cancel(reason or None)
            self._rest()

    # Events the code caused.

    def _created(self, event: Event) -> None:
        ask = self._expect(event)
        if event.payload != ask.payload or event.due != ask.due or event.token != ask.token:
            self._compare(event, ask)
        self._outstanding.take()
        ask.state = State.created
        if event.due is not None:
            ask.due = event.due
            self._due_count += 1
            heapq.heappush(self._due, (event.due, self._due_count, ask))
        elif isinstance(ask.owner, Channel):
            self._news.append((self._outstanding.last(), ask.owner, event))

    def _marker(self, event: Event) -> None:
        if not self._patches.retired(event.entity):
            self._expect(event)
            self._outstanding.take()

    def _withdrawn(self, event: Event) -> None:
        self._expect(event)
        self._outstanding.take()
        self._open.pop(event.entity).finish()

    def _conflict(self, event: Event) -> None:
        ask = self._outstanding.first()
        if ask is None or ask.type is not EventType.hook_created or ask.entity != event.entity:
            raise self._diverged(event)
        self._outstanding.take()
        del self._open[ask.entity]
        channel = ask.owner
        ask.finish()
        if isinstance(channel, Channel):
            self._news.append((self._outstanding.last(), channel, event))

    def _tell(self) -> None:
        """Tell hooks what became of their creations, in log order, as far as what stood beside them has landed."""
        while self._news:
            last, channel, event = self._news[0]
            if last is not None and not (last.landed or last.dropped):
                return
            self._news.popleft()
            if self._ending is None and channel.hear(event):
                self._advance(event.at)
                self._rest()

    def _wait_completed(self, event: Event) -> None:
        if self._landed(event):
            return
        ask = self._open.get(event.entity)
        if ask is None or ask.type is not EventType.wait_created or ask.state is not State.created or self._ending:
            raise self._diverged(event)
        self._end_wait(ask, event.at)

    def _end_wait(self, ask: Ask, at: int) -> None:
        del self._open[ask.entity]
        timer = ask.owner
        due = ask.due or 0
        ask.finish()
        if isinstance(timer, WorkflowTimer):
            # Never before the deadline the code has in its hands: anyio compares again and would arm another timer.
            self._advance(max(at, due), timer.when())
            self.loop.fire(timer)
            self._rest()

    def _run_ended(self, event: Event) -> None:
        if event.type is EventType.run_terminated or (event.type is EventType.run_failed and is_escape(event)):
            return  # an operator or a limit ended the run, wherever the code was
        if self._ending is None or self._ending.type is not event.type or self._outstanding.first() is not None:
            raise self._diverged(event)

    def _unknown(self, event: Event) -> None:
        raise self._diverged(event)

    # Shared steps.

    def _drive(self, action: Callable[..., None], *args: object) -> None:
        self._refuse_unusable()
        self._usable = False  # until the call has gone through
        self.loop.within(action, *args)
        self._usable = True

    def _refuse_unusable(self) -> None:
        if not self._usable:
            raise RuntimeError(f"run {self._run_id}: this instance has failed or was evicted")

    def _advance(self, at: int, seconds: float = 0.0) -> None:
        if at > self._now:
            self._now = at
        self.loop.seconds = max(self.loop.seconds, self._now / 1e6, seconds)

    def _rest(self) -> None:
        self.loop.drain()
        if self._closed == RETURNED and self._ending is None:
            self._finish()

    def _returned(self, root: asyncio.Task[bytes]) -> None:
        """The workflow's function is over: leftover tasks are cancelled, and may ask for nothing more."""
        if self._closed:
            return
        self._closed = RETURNED
        for task in self.loop.live_tasks():
            task.cancel()

    def _finish(self) -> None:
        assert self._root is not None
        for ask in self._outstanding:
            if ask.type in CREATIONS:
                ask.dropped = True  # nobody is left to await it
                self._open.pop(ask.entity).finish()
        self._ending = ending_of(self._root, self._program, cancelled_for=self._cancelled_for)

    def _landed(self, event: Event) -> bool:
        """True if this is the landed copy of the first anticipated event, which is then forgotten."""
        if not self._anticipated:
            return False
        first = self._anticipated[0]
        if (first.type, first.entity, first.at) != (event.type, event.entity, event.at):
            raise self._overtaken(event)
        self._anticipated.popleft()
        return True

    def _overtaken(self, event: Event) -> RuntimeError:
        first = self._anticipated[0]
        return RuntimeError(
            f"run {self._run_id}: seq {event.seq} is {event.type.name} {event.entity} at {event.at}, but "
            f"{first.type.name} {first.entity} at {first.at} was anticipated; after a conflict, drop the instance"
        )

    def _expect(self, event: Event) -> Ask:
        ask = self._outstanding.first()
        if ask is None or ask.type is not event.type or ask.entity != event.entity:
            raise self._diverged(event)
        return ask

    def _compare(self, event: Event, ask: Ask) -> None:
        if not same_name(ask, event):
            raise self._diverged(event)
        if same_call(ask, event):
            return  # encrypted anew: other bytes, the same arguments
        if len(self.changed_arguments) < CHANGED_MAX:
            self.changed_arguments.append(event.entity)

    def _diverged(self, event: Event) -> ReplayDivergence:
        waiting = None if self._root is None or self._root.done() else self._root.get_coro()
        return diverged(event, self._outstanding.first(), waiting)


_TABLE: dict[EventType, Callable[[Instance, Event], None]] = {
    EventType.run_created: Instance._start,
    EventType.run_started: Instance._unseen,
    EventType.step_started: Instance._unseen,
    EventType.step_retrying: Instance._unseen,
    EventType.step_completed: Instance._step_ended,
    EventType.step_failed: Instance._step_ended,
    EventType.hook_received: Instance._hook_received,
    EventType.cancel_requested: Instance._cancel,
    EventType.step_created: Instance._created,
    EventType.wait_created: Instance._created,
    EventType.hook_created: Instance._created,
    EventType.attributes_set: Instance._created,
    EventType.hook_conflict: Instance._conflict,
    EventType.marker: Instance._marker,
    EventType.step_cancelled: Instance._withdrawn,
    EventType.wait_cancelled: Instance._withdrawn,
    EventType.hook_disposed: Instance._withdrawn,
    EventType.wait_completed: Instance._wait_completed,
    EventType.run_completed: Instance._run_ended,
    EventType.run_failed: Instance._run_ended,
    EventType.run_cancelled: Instance._run_ended,
    EventType.run_terminated: Instance._run_ended,
}
_BY_NUMBER = {int(kind): handler for kind, handler in _TABLE.items()}
_HANDLERS = tuple(_BY_NUMBER.get(number, Instance._unknown) for number in range(max(EventType) + 1))
"""By number: an enum's own hash is a call into Python, and this is looked up once per event."""
