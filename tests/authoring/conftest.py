"""A live run driven by hand: what the code asks lands, and the test says what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fencepost import payload
from fencepost.authoring.workflow import Workflow
from fencepost.failure import failure_of
from fencepost.records import RunFailed, StepCreated, StepEnded, pack, unpack
from fencepost.replay.instance import Instance
from fencepost_store.events import Event, EventType, NewEvent

START = 1_700_000_000_000_000  # microseconds


class Run:
    """A log and its live instance. ``land`` plays the store: it appends what is pending, one second after the other."""

    def __init__(
        self,
        workflow: Workflow[..., Any],
        *args: Any,
        run_id: str = "run-1",
        tokens_held_by: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.workflow = workflow
        self.tokens_held_by = tokens_held_by
        self.log: list[Event] = []
        self.instance = Instance(run_id, workflow)
        self._deliver(NewEvent(EventType.run_created, payload=workflow.encode_input(args, kwargs)))
        self.land()

    def _deliver(self, new: NewEvent, event_type: EventType | None = None, dedupe: str | None = None) -> None:
        at = START + len(self.log) * 1_000_000
        kind = event_type or new.type
        event = Event(
            len(self.log) + 1, kind, new.entity, new.attempt, at, new.due, new.token, dedupe or new.dedupe, new.payload
        )
        self.log.append(event)
        self.instance.deliver([event])

    def land(self) -> None:
        """Append what the code asks for until it asks no more. A token held by another run is a conflict."""
        while (pending := self.instance.pending()) and self.instance.work.ended is None:
            new = pending[0]
            if new.type is EventType.hook_created and self.tokens_held_by is not None:
                self._deliver(new, EventType.hook_conflict, self.tokens_held_by)
            else:
                self._deliver(new)

    def asked(self) -> dict[str, StepCreated]:
        """The steps that were asked for, by id, in the order asked."""
        return {e.entity: unpack(e.payload, StepCreated) for e in self.log if e.type is EventType.step_created}

    def complete(self, entity: str, data: bytes) -> None:
        """The step's result."""
        self._deliver(NewEvent(EventType.step_completed, entity, 1, payload=data))
        self.land()

    def fail(self, entity: str, error: BaseException, **options: Any) -> None:
        """The step's error."""
        self._deliver(NewEvent(EventType.step_failed, entity, 1, payload=pack(StepEnded(failure_of(error, **options)))))
        self.land()

    def send(self, entity: str, value: object) -> None:
        """A payload for a hook."""
        self._deliver(NewEvent(EventType.hook_received, entity, payload=payload.encode(value)))
        self.land()

    def wake(self, entity: str) -> None:
        """The wait is over."""
        self._deliver(NewEvent(EventType.wait_completed, entity))
        self.land()

    def types(self) -> list[str]:
        """The log, for people."""
        return [event.type.name for event in self.log]

    @property
    def result(self) -> Any:
        """What the run returned."""
        last = self.log[-1]
        assert last.type is EventType.run_completed, self.failure
        return self.workflow.decode_result(last.payload)

    @property
    def failure(self) -> Any:
        """What the run failed with, None if it has not."""
        last = self.log[-1]
        return unpack(last.payload, RunFailed).error if last.type is EventType.run_failed else None


StartRun = Callable[..., Run]


@pytest.fixture
def start() -> Iterator[StartRun]:
    """Start runs that are evicted at the end of the test."""
    runs: list[Run] = []

    def begin(workflow: Workflow[..., Any], *args: Any, **options: Any) -> Run:
        runs.append(Run(workflow, *args, **options))
        return runs[-1]

    yield begin
    for run in runs:
        run.instance.evict()
