"""What landed events oblige their writer to do next (duties), and the queue entries that do it. Pure but for reading
the shell's settings and clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fencepost.answers import PREFIX as ANSWERS
from fencepost.engine.live import LiveRun
from fencepost.engine.shell import Shell
from fencepost.records import CancelRequested, ChildCancelRequested, ChildCreated, StepCreated, pack, unpack
from fencepost.replay.fold import OpenWork
from fencepost_queue.protocol import Entry, step_key, tick_key
from fencepost_store.events import KINDS, Event, EventType, NewEvent

CHILD_DECISIONS = (EventType.child_created, EventType.child_cancel_requested, EventType.child_abandoned)
"""A tuple: an enum's own hash is a call into Python, and this is asked once per event."""


@dataclass(slots=True, eq=False)
class Owed:
    """Gathered over the rounds of one turn. ``steps``: created by it and landed, with ``stamps``. ``inline``: those
    that this worker will run itself, with a slot reserved for each. ``overdue``: steps whose time this turn found
    over. ``cancelled``: (queue, key) of step messages that are not wanted any more. ``ended``: the run's terminal
    event, if it landed. ``starts_at``: when the run may begin (microseconds), if it may not yet. ``answered``: an
    answer to a payload landed, for which somebody may wait. ``children``: created or asked to cancel by it;
    ``child_cancels``: the requests. ``over``: what was open at the run's end, whose duties are to be done.
    ``lack``: what this worker's code cannot do, so that nothing of the turn was done. ``moved``: the run's turns
    are done in another queue than its tick was in. ``epoch``: the store's, when the turn began."""

    steps: dict[str, StepCreated] = field(default_factory=dict[str, StepCreated])
    stamps: dict[str, int] = field(default_factory=dict[str, int])
    overdue: set[str] = field(default_factory=set[str])
    inline: set[str] = field(default_factory=set[str])
    cancelled: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    children: dict[str, ChildCreated] = field(default_factory=dict[str, ChildCreated])
    child_cancels: dict[str, NewEvent] = field(default_factory=dict[str, NewEvent])
    work: OpenWork | None = None
    ended: Event | None = None
    over: OpenWork | None = None
    landed: int = 0
    starts_at: int | None = None
    answered: bool = False
    lack: str = ""
    moved: bool = False
    epoch: int = 0

    def note(self, live: LiveRun, work: OpenWork, events: tuple[Event, ...], steps: Mapping[str, StepCreated]) -> None:
        """Take in what landed, before it is folded into ``work``. ``steps``: the new ones as they are recorded."""
        self.landed += len(events)
        self.work = work
        for event in events:
            if event.type is EventType.step_created:
                self.steps[event.entity] = steps[event.entity]
                self.stamps[event.entity] = event.stamp
            elif event.type is EventType.step_cancelled or event.entity in self.overdue:
                self.steps.pop(event.entity, None)
                self.cancelled.append((_queue_of(live, work, event.entity), step_key(live.run_id, event.entity)))
            elif event.type in CHILD_DECISIONS:
                self._note_child(work, event)
            elif event.type is EventType.marker:
                self.answered |= event.entity.startswith(ANSWERS)
            elif KINDS[event.type].ends_run:
                self.ended = event

    def _note_child(self, work: OpenWork, event: Event) -> None:
        if event.type is EventType.child_created:
            created = event
        elif event.entity in self.children:
            created = None
        else:
            created = work.children[event.entity].created
        if created is not None:
            self.children[event.entity] = unpack(created.payload, ChildCreated)
        if event.type is EventType.child_cancel_requested:
            reason = unpack(event.payload, ChildCancelRequested).reason
            self.child_cancels[event.entity] = cancelling(reason, event.entity)

    def end_steps(self, live: LiveRun, work: OpenWork) -> None:
        """The run has ended: every step still open is to be withdrawn."""
        for entity in work.steps:
            self.cancelled.append((_queue_of(live, work, entity), step_key(live.run_id, entity)))

    def repeat_cancelled(self, live: LiveRun, work: OpenWork) -> None:
        """A turn with ``recover``: who cancelled these steps may have died before it could say so (H101)."""
        assert live.run is not None
        for entity, created in work.cancelled_steps.items():
            queue = unpack(created.payload, StepCreated).queue or live.run.queue
            self.cancelled.append((queue, step_key(live.run_id, entity)))


def cancelling(reason: str, entity: str) -> NewEvent:
    """The request of a parent to its child: under one id, so that it counts once however often it is made."""
    return NewEvent(EventType.cancel_requested, dedupe=f"cancel:parent:{entity}", payload=pack(CancelRequested(reason)))


def _queue_of(live: LiveRun, work: OpenWork, entity: str) -> str:
    state = work.steps.get(entity)
    assert live.run is not None
    if state is None:
        return live.run.queue
    return unpack(state.created.payload, StepCreated).queue or live.run.queue


def delay_ms(due: int, now: int, floor_ms: int) -> int:
    """From an instant of the database to a delay for the queue: rounded up, never under the floor."""
    return max(floor_ms, -((now - due) // 1000))


def follow_ups(shell: Shell, live: LiveRun, owed: Owed, *, recover: bool) -> list[Entry]:
    """The messages that the settle must place: created steps, the near wait's tick, and with ``recover`` every open
    step.
    """
    run = live.run
    assert run is not None
    entries = [
        Entry(
            queue=record.queue or run.queue,
            key=step_key(live.run_id, entity),
            lease=entity in owed.inline,
            recover=recover and entity not in owed.inline,
        )
        for entity, record in owed.steps.items()
    ]
    if owed.starts_at is not None:
        return entries + _near_tick(shell, live, run.queue, owed.starts_at)
    instance = live.instance
    if instance is None or instance.work.ended is not None or owed.ended is not None:
        return entries
    work = instance.work
    now = shell.clock.now()
    floor = shell.settings.delay_floor_ms
    if recover:
        for entity, state in work.steps.items():
            if entity not in owed.steps:
                delay = 0 if state.retry_due is None else delay_ms(state.retry_due, now, floor)
                queue = unpack(state.created.payload, StepCreated).queue or run.queue
                entries.append(Entry(queue=queue, key=step_key(live.run_id, entity), delay_ms=delay, recover=True))
    instants = (work.wait_dues.first(), work.step_dues.first(), work.terminate_at)
    due = min((one for one in instants if one is not None), default=None)
    return entries + _near_tick(shell, live, run.queue, due)


def _near_tick(shell: Shell, live: LiveRun, queue: str, due: int | None) -> list[Entry]:
    """The run's delayed tick, if something is due within the near horizon: what is further stands in Postgres only."""
    now = shell.clock.now()
    if due is None or due - now >= shell.rules.near:
        return []
    delay = delay_ms(due, now, shell.settings.delay_floor_ms)
    return [Entry(queue=queue, key=tick_key(live.run_id), delay_ms=delay)]


def own_tick(live_run_id: str, queue: str, *, recover: bool = False) -> Entry:
    """The tick that whoever leaves owes the run (I5)."""
    return Entry(queue=queue, key=tick_key(live_run_id), recover=recover)
