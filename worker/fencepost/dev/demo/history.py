"""A run's log as the demo reads it: kept up to date from the store, and folded into steps."""

from __future__ import annotations

from typing import Any

import msgspec

from fencepost.client import Run
from fencepost.records import StepCreated, StepStarted, unpack
from fencepost_store.events import KINDS, Event, EventType


class Start(msgspec.Struct, frozen=True):
    """One step_started. ``at``: microseconds."""

    attempt: int
    owner: str
    at: int


class StepHistory(msgspec.Struct):
    """All that the log says about one step. Instants in microseconds. ``ends``: how many terminal events it has."""

    entity: str
    name: str
    created_at: int
    starts: list[Start] = msgspec.field(default_factory=list[Start])
    retries: int = 0
    ends: int = 0
    ended_attempt: int = 0
    ended_at: int | None = None


class History:
    """The log of one run, read again and again from where the last reading ended."""

    def __init__(self, run: Run[Any]) -> None:
        self._run = run
        self.run_id: str = run.id
        self.events: list[Event] = []
        self.steps: dict[str, StepHistory] = {}
        self.ended: bool = False

    async def read(self) -> None:
        """Take in what has landed since."""
        async for event in self._run.events(len(self.events)):
            self.apply(event)

    def apply(self, event: Event) -> None:
        """Take in the next event."""
        self.events.append(event)
        self.ended = self.ended or KINDS[event.type].ends_run
        step = self.steps.get(event.entity)
        match event.type:
            case EventType.step_created:
                name = unpack(event.payload, StepCreated).name
                self.steps[event.entity] = StepHistory(event.entity, name, event.at)
            case EventType.step_started if step is not None:
                owner = unpack(event.payload, StepStarted).worker
                step.starts.append(Start(event.attempt, owner, event.at))
            case EventType.step_retrying if step is not None:
                step.retries += 1
            case EventType.step_completed | EventType.step_failed | EventType.step_cancelled if step is not None:
                step.ends += 1
                step.ended_at = event.at
                step.ended_attempt = event.attempt
            case _:
                pass

    def named(self, name: str) -> list[StepHistory]:
        """The steps of one name."""
        return [step for step in self.steps.values() if step.name == name]

    def lost(self, owner: str) -> list[StepHistory]:
        """The steps whose body this worker has begun and which another start of theirs has ended."""
        return [
            step
            for step in self.steps.values()
            if step.ends and any(start.owner == owner and start.attempt != step.ended_attempt for start in step.starts)
        ]

    def in_flight(self, owner: str) -> list[StepHistory]:
        """The steps whose body this worker has begun, by the log, and whose end is not in the log."""
        return [s for s in self.steps.values() if s.ends == 0 and s.starts and s.starts[-1].owner == owner]
