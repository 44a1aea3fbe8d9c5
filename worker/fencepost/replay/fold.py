"""What a log says is open: a fold over events, without the workflow's code.

Pure. Used by live instances, by the executor's look-up of one step, by ``runs why`` and by the oracle's first check.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fencepost.replay.cancelling import sooner
from fencepost.replay.dues import Dues
from fencepost_store.events import KINDS, Event, EventType

CANCELLED_MAX = 10_000
"""Cancelled steps that are remembered, the newest: as many as a run may have open and give up in one turn."""


@dataclass(slots=True)
class StepState:
    """An open step. ``started`` is the newest attempt that was started (0: none). ``retry_due`` (microseconds,
    database clock): when attempt started+1 may start,
    if the newest attempt ended in step_retrying; else None."""

    created: Event
    started: int = 0
    started_by: str | None = None
    retry_due: int | None = None
    failures: int = 0


@dataclass(slots=True)
class OpenWork:
    """Entities without a terminal event, by id, in creation order. ``seen``: the last seq folded in; ``fence``: that
    of the last visible one. ``wait_dues``, ``retry_dues``: the same waits, and the retries that are waited for, by due
    time, for questions that must cost the same however many are open. ``cancelled_steps``: their creations, by id.
    ``terminate_at`` (microseconds, database clock): when the grace of the run's cancellation is over; None: there is
    none.
    """

    seen: int = 0
    fence: int = 0
    last_at: int = 0
    steps: dict[str, StepState] = field(default_factory=dict[str, StepState])
    waits: dict[str, int] = field(default_factory=dict[str, int])
    hooks: dict[str, str] = field(default_factory=dict[str, str])
    children: dict[str, Event] = field(default_factory=dict[str, Event])
    wait_dues: Dues = field(default_factory=Dues)
    retry_dues: Dues = field(default_factory=Dues)
    cancelled_steps: dict[str, Event] = field(default_factory=dict[str, Event])
    terminate_at: int | None = None
    created: Event | None = None
    started: bool = False
    ended: Event | None = None

    def apply(self, event: Event) -> None:
        """Fold one event in. Events come in seq order; density is the store's promise."""
        self.seen = event.seq
        self.last_at = event.at
        kind = KINDS[event.type]
        if kind.visible:
            self.fence = event.seq
        if kind.ends_run:
            self.ended = event
            return
        match event.type:
            case EventType.step_completed | EventType.step_failed:
                self._end_step(event.entity)
            case EventType.step_started:
                if (step := self.steps.get(event.entity)) is not None:
                    step.started = event.attempt
                    step.started_by = event.dedupe
                    step.retry_due = None
                    self.retry_dues.drop(event.entity)
            case EventType.step_created:
                self.steps[event.entity] = StepState(event)
            case EventType.step_retrying:
                if (step := self.steps.get(event.entity)) is not None:
                    step.retry_due = event.due
                    step.failures += 1
                    self.retry_dues.set(event.entity, event.due)
            case EventType.step_cancelled:
                if (step := self._end_step(event.entity)) is not None:
                    self.cancelled_steps[event.entity] = step.created
                    if len(self.cancelled_steps) > CANCELLED_MAX:
                        del self.cancelled_steps[next(iter(self.cancelled_steps))]
            case EventType.wait_created:
                self.waits[event.entity] = event.due or 0
                self.wait_dues.set(event.entity, event.due or 0)
            case EventType.wait_completed | EventType.wait_cancelled:
                self.waits.pop(event.entity, None)
                self.wait_dues.drop(event.entity)
            case EventType.hook_created:
                self.hooks[event.entity] = event.token or ""
            case EventType.hook_disposed:
                self.hooks.pop(event.entity, None)
            case EventType.child_created:
                self.children[event.entity] = event
            case EventType.child_completed | EventType.child_failed | EventType.child_abandoned:
                self.children.pop(event.entity, None)
            case EventType.run_created:
                self.created = event
            case EventType.run_started:
                self.started = True
            case EventType.cancel_requested:
                self.terminate_at = sooner(self.terminate_at, event)
            case _:
                pass

    def _end_step(self, entity: str) -> StepState | None:
        self.retry_dues.drop(entity)
        return self.steps.pop(entity, None)
