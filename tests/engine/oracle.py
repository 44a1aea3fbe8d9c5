"""What every log must look like, whatever happened: written apart from the engine, used after each timeline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from fencepost.records import ChildCreated, RunContinued, RunCreated, unpack
from fencepost_store.events import KINDS, Event, EventType, Role
from fencepost_store.lineage import parent_text
from fencepost_store.protocol import Run

CREATED = {
    EventType.step_started: EventType.step_created,
    EventType.step_retrying: EventType.step_created,
    EventType.step_completed: EventType.step_created,
    EventType.step_failed: EventType.step_created,
    EventType.step_cancelled: EventType.step_created,
    EventType.wait_completed: EventType.wait_created,
    EventType.wait_cancelled: EventType.wait_created,
    EventType.hook_received: EventType.hook_created,
    EventType.hook_disposed: EventType.hook_created,
    EventType.child_cancel_requested: EventType.child_created,
    EventType.child_completed: EventType.child_created,
    EventType.child_failed: EventType.child_created,
    EventType.child_abandoned: EventType.child_created,
}


def check(log: Sequence[Event], *, ended: bool = True) -> None:
    """Dense; each entity created once, before anything else of it, ended at most once, nothing after its end; starts
    1, 2, 3 ...; one end of the run, at the tail.
    """
    assert [event.seq for event in log] == list(range(1, len(log) + 1)), "not dense"
    assert log[0].type is EventType.run_created
    by_entity: dict[str, list[Event]] = defaultdict(list)
    for event in log[1:]:
        if event.entity:
            by_entity[event.entity].append(event)
    for entity, events in by_entity.items():
        _check_entity(entity, events)
    ends = [event for event in log if KINDS[event.type].ends_run]
    assert len(ends) <= 1, "more than one end"
    if ended:
        assert ends, "no end"
        assert ends[0].seq == len(log), "something follows the run's end"


def check_family(logs: Mapping[str, tuple[Run, Sequence[Event]]]) -> None:
    """Of all runs of a world, each ended: a child that a log creates is there, says whose it is, and ended as its
    parent was told; a run that was continued has its successor; nobody else is there; nobody owes anything.
    """
    expected: set[str] = set()
    for run_id, (row, log) in logs.items():
        check(log)
        assert row.wake_at is None, f"{row.workflow} {run_id} owes something for ever"
        if log[-1].type is EventType.run_continued:
            successor = unpack(log[-1].payload, RunContinued).run
            assert logs[successor][0].parent == row.parent
            expected.add(successor)
        for event in log:
            if event.type is EventType.child_created:
                child = unpack(event.payload, ChildCreated).run
                assert logs[child][0].parent == parent_text(run_id, event.entity), f"{child} is another one's child"
                expected.add(child)
            elif event.type in (EventType.child_completed, EventType.child_failed):
                end = logs[event.dedupe or ""][1][-1]
                completed = end.type is EventType.run_completed
                assert completed is (event.type is EventType.child_completed), f"{event.entity} was told wrongly"
                assert not completed or end.payload == event.payload
    started = {run_id for run_id, (_, log) in logs.items() if unpack(log[0].payload, RunCreated).origin is not None}
    assert started == expected, "a run that nobody asked for"


def _check_entity(entity: str, events: list[Event]) -> None:
    assert KINDS[events[0].type].role is Role.creation, f"{entity} begins with {events[0].type.name}"
    terminal = [event for event in events if KINDS[event.type].role is Role.terminal]
    assert len(terminal) <= 1, f"{entity} ended {len(terminal)} times"
    if terminal:
        assert events[-1] is terminal[0], f"{events[-1].type.name} after the end of {entity}"
    starts = [event.attempt for event in events if event.type is EventType.step_started]
    assert starts == list(range(1, len(starts) + 1)), f"{entity} was started as {starts}"
    for event in events[1:]:
        assert CREATED[event.type] is events[0].type, f"{event.type.name} of {entity}, a {events[0].type.name}"
