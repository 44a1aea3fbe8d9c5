"""Whether a log is dense and each entity's history one that its table allows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Sequence

from fencepost_store.events import Event, EventType
from fencepost_store.protocol import Run

T = EventType
NEXT: dict[EventType | None, frozenset[EventType]] = {
    None: frozenset(
        {
            *(T.step_created, T.wait_created, T.hook_created, T.hook_conflict, T.marker, T.child_created),
            *(T.attributes_set, T.hook_inherited),
        }
    ),
    T.step_created: frozenset({T.step_started, T.step_cancelled, T.step_failed}),
    T.step_started: frozenset({T.step_started, T.step_retrying, T.step_completed, T.step_failed, T.step_cancelled}),
    # A late result of the attempt that was thought lost, or of one before it, still counts.
    T.step_retrying: frozenset({T.step_started, T.step_completed, T.step_cancelled, T.step_failed}),
    T.wait_created: frozenset({T.wait_completed, T.wait_cancelled}),
    T.hook_created: frozenset({T.hook_received, T.hook_disposed}),
    T.hook_inherited: frozenset({T.hook_received}),
    T.hook_received: frozenset({T.hook_received, T.hook_disposed}),
    T.child_created: frozenset({T.child_completed, T.child_failed, T.child_cancel_requested, T.child_abandoned}),
    T.child_cancel_requested: frozenset({T.child_completed, T.child_failed, T.child_abandoned}),
}
"""What may follow what, of one entity. What is not a key here is an end."""

ENDS = frozenset({T.run_completed, T.run_failed, T.run_cancelled, T.run_terminated, T.run_continued})
INVISIBLE = frozenset({T.step_started, T.step_retrying})
OF_THE_RUN = ENDS | {T.run_created, T.run_started, T.cancel_requested}


def check_history(run: Run, log: Sequence[Event], *, lost: bool = False) -> Generator[str]:
    """Violations, in words. ``lost``: the store has forgotten commits, so a step's start may be missing."""
    if [event.seq for event in log] != list(range(1, len(log) + 1)):
        yield f"log: not dense: {[event.seq for event in log]}"
        return
    if not log or log[0].type is not T.run_created:
        yield "log: it does not begin with run_created"
        return
    yield from _of_the_run(run, log)
    by_entity: dict[str, list[Event]] = defaultdict(list)
    for event in log:
        if event.type not in OF_THE_RUN:
            by_entity[event.entity].append(event)
    for entity, events in by_entity.items():
        yield from _of_an_entity(entity, events, lost=lost)


def _of_the_run(run: Run, log: Sequence[Event]) -> Generator[str]:
    for type_ in (T.run_created, T.run_started):
        if sum(event.type is type_ for event in log) > 1:
            yield f"log: {type_.name} twice"
    ends = [event for event in log if event.type in ENDS]
    if len(ends) > 1 or (ends and ends[0].seq != len(log)):
        yield f"log: ended by {[f'{event.seq} {event.type.name}' for event in ends]} of {len(log)} events"
    if bool(ends) is not run.status.ended:
        yield f"log: the row is {run.status.name}, ends in the log: {len(ends)}"
    begun = next((event for event in log if event.type is T.run_started), None)
    if begun is not None and begun.at < (log[0].due or 0):
        yield f"history: the run began {(log[0].due or 0) - begun.at} us before its start"
    fence = max(event.seq for event in log if event.type not in INVISIBLE)
    if (run.last_seq, run.fence) != (len(log), fence):
        yield f"log: the row has last_seq {run.last_seq}, fence {run.fence}; the log {len(log)}, {fence}"
    deliveries = [event.dedupe for event in log if event.type in (T.hook_received, T.cancel_requested)]
    if len(set(deliveries)) != len(deliveries):
        yield "log: a delivery id stands in it twice"


def _of_an_entity(entity: str, events: list[Event], *, lost: bool) -> Generator[str]:
    before: EventType | None = None
    started = failed = 0
    due = 0
    for event in events:
        where = f"{event.type.name} {entity} at seq {event.seq}"
        unstarted = lost and (before, event.type) == (T.step_created, T.step_completed)
        if event.type not in NEXT.get(before, frozenset()) and not unstarted:
            yield f"history: {where} after {before.name if before else 'nothing'}"
        if event.type is T.step_failed and before is not T.step_started and b"schedule_to_" not in event.payload:
            yield f"history: {where} after {before.name if before else 'nothing'}, and no time was over"
        match event.type:
            case T.step_started:
                if event.attempt != started + 1:
                    yield f"history: {where} is attempt {event.attempt} after {started}"
                if failed == started and event.at < due:
                    yield f"history: {where} is {due - event.at} us before the retry's time"
                started = event.attempt
            case T.step_retrying | T.step_failed:
                if event.attempt != started:
                    yield f"history: {where} is of attempt {event.attempt}, the newest is {started}"
                failed, due = event.attempt, event.due or 0
            case T.step_completed:
                if not (1 <= event.attempt <= started or lost):
                    yield f"history: {where} is of attempt {event.attempt}, started were {started}"
            case T.wait_created:
                due = event.due or 0
            case T.wait_completed if event.at < due:
                yield f"history: {where} is {due - event.at} us early"
            case _:
                pass
        before = event.type
