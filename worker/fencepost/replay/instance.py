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

# A live run's own parts, in files by concept.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import heapq
from collections.abc import Sequence

from fencepost.replay.asking import EVICTING
from fencepost.replay.asks import State
from fencepost.replay.core import Core, Handler
from fencepost.replay.decisions import DECISIONS, end_wait, tell
from fencepost.replay.divergence import waiting_line
from fencepost.replay.eviction import wind_down
from fencepost.replay.facts import FACTS, end_step
from fencepost.replay.glances import BEHIND_ANTICIPATED, foreseen, last_decision
from fencepost.replay.interface import IN_VAIN, NOTHING_OPEN, Driven, ReplayDivergence
from fencepost_store.events import Event, EventType, NewEvent

VAIN_LINES_MAX = 5
"""Lines that are named of tasks that wait for what cannot come."""


class Instance(Core, Driven):
    """One live run. Any exception out of ``deliver``, ``anticipate`` or ``fire_due`` leaves an instance that can only
    be evicted.
    """

    abandoned: list[str]  # Core's, and the next one
    replaying: bool  # AskingFace's; who assigns it has to say its type, or `pyright --verifytypes` infers one

    @property
    def ended(self) -> bool:
        """True when the code has returned or failed (whether or not the log knows)."""
        return self._ending is not None

    @property
    def ending(self) -> NewEvent | None:
        """The run's end as the code has it, if it has ended."""
        return self._ending

    def vain(self) -> ReplayDivergence | None:
        """The code waits and nothing is open, so no event but a cancellation can wake it: a future that nobody sets, a
        lock that another run holds. Says so with the lines at which it waits; None: that is not so.
        """
        awaited = self._open or self._news or self._outstanding.first() is not None
        if self._root is None or self._ending is not None or awaited:
            return None
        coros = [task.get_coro() for task in self.loop.live_tasks()]
        lines = dict.fromkeys(line for line in map(waiting_line, coros) if line)
        return ReplayDivergence(self.work.seen, NOTHING_OPEN, IN_VAIN, ", ".join([*lines][:VAIN_LINES_MAX]))

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
                    tell(self)
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
        self._drive(end_step, self, ask, foreseen(event))

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
            end_wait(self, ask, at)

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

    def evict(self, *, abandon: bool = False) -> None:
        """End the instance by cancellation; nothing leaves the loop. Idempotent, never raises. ``abandon``: without
        running any more of its code, which is known to swallow everything. ``abandoned`` is where such code stands.
        """
        if self.evicted:
            return
        self._evicting = True
        self._closed = EVICTING
        self.evicted = True
        self._usable = False
        self._refusals = 0
        self.abandoned = wind_down(self.loop, abandon=abandon)
        self._outstanding.clear()
        self._open.clear()
        self._due.clear()
        self._anticipated.clear()
        self._news.clear()
        self._root = None


def _unknown(run: Core, event: Event) -> None:
    raise run._diverged(event)


_BY_NUMBER: dict[int, Handler] = {int(kind): handler for kind, handler in {**FACTS, **DECISIONS}.items()}
_HANDLERS = tuple(_BY_NUMBER.get(number, _unknown) for number in range(max(EventType) + 1))
"""By number: an enum's own hash is a call into Python, and this is looked up once per event."""
