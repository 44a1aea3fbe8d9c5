"""What every log must look like, whatever happened: the audit's second opinion, used after each timeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fencepost.audit.legality import illegal
from fencepost.records import ChildCreated, RunContinued, RunCreated, unpack
from fencepost_store.events import KINDS, Event, EventType
from fencepost_store.lineage import parent_text
from fencepost_store.protocol import Run


def check(log: Sequence[Event], *, ended: bool = True) -> None:
    """Dense and legal by the event table; with ``ended``, up to the run's end."""
    assert [str(problem) for problem in illegal(log)] == []
    assert log, "an empty log"
    assert not ended or KINDS[log[-1].type].ends_run, "no end"


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
