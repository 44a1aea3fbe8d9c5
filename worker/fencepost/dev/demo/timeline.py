"""A run's log as a few lines for people: one per step, wait and hook, parallel steps of one name drawn as one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fencepost.dev.demo.history import History, StepHistory
from fencepost_store.events import Event, EventType

WIDTH = 44
GROUP_MIN = 4
"""So many steps of one name and more share a line."""


@dataclass(frozen=True, slots=True)
class Span:
    """One line: from begin to end (microseconds)."""

    label: str
    begin: int
    end: int
    remark: str


def draw(history: History, marks: Sequence[tuple[int, str]] = ()) -> list[str]:
    """The timeline. ``marks``: instants (microseconds) with a remark, drawn as a point of their own."""
    first, last = history.events[0].at, history.events[-1].at
    spans = [*_steps(history), *_others(history.events, last), *(Span("", at, at, text) for at, text in marks)]
    spans.sort(key=lambda span: (span.begin, span.end))
    label_width = max(len(span.label) for span in spans)
    length = max(1, last - first)
    lines = [f"{'':{label_width}}  0 s{f'{length / 1e6:.2f} s':>{WIDTH - 3}}"]
    for span in spans:
        begin = min(WIDTH - 1, max(0, (span.begin - first) * WIDTH // length))
        end = min(WIDTH, max(begin + 1, -(-(span.end - first) * WIDTH // length)))
        drawn = "=" * (end - begin) if span.label else "X"
        bar = f"{' ' * begin}{drawn}".ljust(WIDTH)
        lines.append(f"{span.label:{label_width}}  {bar}  {span.remark}".rstrip())
    return lines


def _steps(history: History) -> list[Span]:
    by_name: dict[str, list[StepHistory]] = {}
    for step in history.steps.values():
        by_name.setdefault(step.name, []).append(step)
    spans: list[Span] = []
    for name, steps in by_name.items():
        if len(steps) >= GROUP_MIN:
            spans.append(_group(name, steps))
        else:
            spans.extend(Span(s.entity, *_reach([s]), _remark(s)) for s in steps)
    return spans


def _group(name: str, steps: list[StepHistory]) -> Span:
    again = sum(len(step.starts) > 1 for step in steps)
    remark = f"{len(steps)} steps in parallel" + (f", {again} begun twice" if again else "")
    return Span(f"{name} x {len(steps)}", *_reach(steps), remark)


def _reach(steps: list[StepHistory]) -> tuple[int, int]:
    begins = [step.starts[0].at if step.starts else step.created_at for step in steps]
    ends = [step.ended_at if step.ended_at is not None else step.created_at for step in steps]
    return min(begins), max(ends)


def _remark(step: StepHistory) -> str:
    if step.retries:
        return f"retried {step.retries} times, done at attempt {step.starts[-1].attempt}"
    return "begun twice" if len(step.starts) > 1 else ""


REMARKS = {
    EventType.wait_completed: "came due",
    EventType.wait_cancelled: "not needed any more",
    EventType.hook_received: "received",
    EventType.hook_disposed: "closed",
}


def _others(events: Sequence[Event], last: int) -> list[Span]:
    """Waits and hooks."""
    created: dict[str, Event] = {}
    ends: dict[str, int] = {}
    remarks: dict[str, list[str]] = {}
    for event in events:
        if event.type in (EventType.wait_created, EventType.hook_created):
            created[event.entity] = event
        elif event.entity in created and event.type in REMARKS:
            ends[event.entity] = event.at
            remarks.setdefault(event.entity, []).append(REMARKS[event.type])
    return [
        Span(entity, event.at, ends.get(entity, last), ", then ".join(remarks.get(entity, ["never ended"])))
        for entity, event in created.items()
    ]
