"""What a log says is open: a fold over events, without the workflow's code.

Pure. Used by live instances, by the executor's look-up of one step, by ``runs why`` and by the oracle's first check.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fencepost.replay.cancelling import sooner
from fencepost.replay.dues import Dues
from fencepost.replay.schedule import UNBOUND, Bounds, Overdue, bounds_in, first_bound
from fencepost_store.events import KINDS, Event, EventType

CANCELLED_MAX = 10_000
"""Cancelled steps, and abandoned children, that are remembered, the newest: as many as a run may have open and give up
in one turn."""


@dataclass(slots=True)
class StepState:
    """An open step. ``started`` is the newest attempt that was started (0: none). ``retry_due`` (microseconds,
    database clock): when attempt started+1 may start,
    if the newest attempt ended in step_retrying; else None. ``bounds``: by when it must start and end."""

    created: Event
    started: int = 0
    started_by: str | None = None
    retry_due: int | None = None
    failures: int = 0
    bounds: Bounds = UNBOUND

    @property
    def overdue(self) -> Overdue | None:
        """The bound that it comes to next; None: it has none."""
        if self.bounds is UNBOUND:
            return None
        return first_bound(self.created.at, self.bounds, self.started)


@dataclass(slots=True)
class ChildState:
    """An open child. ``cancel``: the request to cancel it, if there is one."""

    created: Event
    cancel: Event | None = None


@dataclass(slots=True)
class OpenWork:
    """Entities without a terminal event, by id, in creation order. ``seen``: the last seq folded in; ``size``: the
    bytes of all payloads; ``fence``: that of the last visible one; ``seen_stamp``, ``stamp``: what these two carry, by
    which a log is told from another with the same positions. ``wait_dues``, ``retry_dues``, ``step_dues``: the same
    waits, the retries that are waited
    for, and the bounds that open steps come to next, by due time, for questions that must cost the same however many
    are open. ``cancelled_steps``: the creations, by id, of steps that ended while their message was on its way: given
    up by the code, or out of time before an attempt. ``abandoned``: of children that were given up. ``inherited``: by
    token, what the run before has handed over and no hook of this run has taken. ``terminate_at``
    (microseconds, database clock): when the grace of
    the run's cancellation is over; None: there is none.
    """

    seen: int = 0
    size: int = 0
    seen_stamp: int = 0
    fence: int = 0
    stamp: int = 0
    last_at: int = 0
    steps: dict[str, StepState] = field(default_factory=dict[str, StepState])
    waits: dict[str, int] = field(default_factory=dict[str, int])
    hooks: dict[str, str] = field(default_factory=dict[str, str])
    inherited: dict[str, str] = field(default_factory=dict[str, str])
    children: dict[str, ChildState] = field(default_factory=dict[str, ChildState])
    wait_dues: Dues = field(default_factory=Dues)
    retry_dues: Dues = field(default_factory=Dues)
    step_dues: Dues = field(default_factory=Dues)
    cancelled_steps: dict[str, Event] = field(default_factory=dict[str, Event])
    abandoned: dict[str, Event] = field(default_factory=dict[str, Event])
    terminate_at: int | None = None
    created: Event | None = None
    begun: Event | None = None
    ended: Event | None = None

    @property
    def started(self) -> bool:
        """Whether the run has had its first turn."""
        return self.begun is not None

    def apply(self, event: Event) -> None:
        """Fold one event in. Events come in seq order; density is the store's promise."""
        self.seen = event.seq
        self.size += len(event.payload)
        self.seen_stamp = event.stamp
        self.last_at = event.at
        kind = KINDS[event.type]
        if kind.visible:
            self.fence = event.seq
            self.stamp = event.stamp
        if kind.ends_run:
            self.ended = event
            return
        match event.type:
            case EventType.step_completed:
                self._end_step(event.entity)
            case EventType.step_failed:
                step = self._end_step(event.entity)
                if step is not None and (event.attempt == 0 or step.retry_due is not None):
                    self._withdrawn(step)
            case EventType.step_started:
                if (step := self.steps.get(event.entity)) is not None:
                    step.started = event.attempt
                    step.started_by = event.dedupe
                    step.retry_due = None
                    self.retry_dues.drop(event.entity)
                    self._bound(event.entity, step)
            case EventType.step_created:
                step = self.steps[event.entity] = StepState(event, bounds=bounds_in(event.payload))
                self._bound(event.entity, step)
            case EventType.step_retrying:
                if (step := self.steps.get(event.entity)) is not None:
                    step.retry_due = event.due
                    step.failures += 1
                    self.retry_dues.set(event.entity, event.due)
            case EventType.step_cancelled:
                if (step := self._end_step(event.entity)) is not None:
                    self._withdrawn(step)
            case EventType.wait_created:
                self.waits[event.entity] = event.due or 0
                self.wait_dues.set(event.entity, event.due or 0)
            case EventType.wait_completed | EventType.wait_cancelled:
                self.waits.pop(event.entity, None)
                self.wait_dues.drop(event.entity)
            case EventType.hook_created:
                self.hooks[event.entity] = event.token or ""
                if self.inherited:
                    self.inherited.pop(event.token or "", None)
            case EventType.hook_inherited:
                self.inherited[event.token or ""] = event.entity
            case EventType.hook_disposed:
                self.hooks.pop(event.entity, None)
            case EventType.child_created:
                self.children[event.entity] = ChildState(event)
            case EventType.child_cancel_requested:
                if (child := self.children.get(event.entity)) is not None:
                    child.cancel = event
            case EventType.child_completed | EventType.child_failed:
                self.children.pop(event.entity, None)
            case EventType.child_abandoned:
                if (child := self.children.pop(event.entity, None)) is not None:
                    _remember(self.abandoned, child.created)
            case EventType.run_created:
                self.created = event
            case EventType.run_started:
                self.begun = event
            case EventType.cancel_requested:
                self.terminate_at = sooner(self.terminate_at, event)
            case _:
                pass

    def _withdrawn(self, step: StepState) -> None:
        _remember(self.cancelled_steps, step.created)

    def _bound(self, entity: str, step: StepState) -> None:
        if step.bounds is not UNBOUND:
            overdue = step.overdue
            self.step_dues.set(entity, None if overdue is None else overdue.due)

    def _end_step(self, entity: str) -> StepState | None:
        self.retry_dues.drop(entity)
        self.step_dues.drop(entity)
        return self.steps.pop(entity, None)


def _remember(given_up: dict[str, Event], created: Event) -> None:
    """Bounded: the oldest is forgotten."""
    given_up[created.entity] = created
    if len(given_up) > CANCELLED_MAX:
        del given_up[next(iter(given_up))]
