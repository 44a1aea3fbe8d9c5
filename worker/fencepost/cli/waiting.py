"""What a run waits for, as a fold of its log says: without the workflow's code, and without the queue."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from fencepost.cli.event_text import call_text, event_json, failure_text, record_of
from fencepost.cli.failures import traceback_lines
from fencepost.cli.output import iso, moment, span
from fencepost.failure import opened
from fencepost.records import ChildCreated, HookCreated, HookDisposed, RunFailed, RunStopped, StepCreated, StepEnded
from fencepost.replay.fold import ChildState, OpenWork, StepState
from fencepost.replay.interface import NOTHING_OPEN
from fencepost.replay.starting import put_off
from fencepost.tracebacks import failure_json
from fencepost_store.events import Event, EventType
from fencepost_store.protocol import Loaded, Parked, RunStatus


@dataclass(frozen=True, slots=True)
class Wait:
    """One thing that the run waits for. ``more``: lines below it."""

    text: str
    as_json: dict[str, Any]
    more: tuple[str, ...] = ()


def waiting(loaded: Loaded, *, full: bool = False) -> list[Wait]:
    """All that the run waits for, in the order in which it was asked for; or how it ended. ``full``: tracebacks with
    the frames that are not the user's."""
    work = OpenWork()
    for event in loaded.events:
        work.apply(event)
    if work.ended is not None:
        return [_ended(work.ended, full=full), *_untaken(work, loaded.events)]
    found: list[Wait] = []
    if loaded.run.parked is not None and loaded.run.status is RunStatus.parked:
        found.append(_parked(loaded.run.parked))
    starts_at = put_off(loaded.events, loaded.now)
    if starts_at is not None:
        text = f"its start: starts at {iso(moment(starts_at))}, in {span((starts_at - loaded.now) / 1e6)}"
        found.append(Wait(text, {"kind": "start", "due": iso(moment(starts_at))}))
    elif not work.started:
        text = f"its first turn: no worker has taken it up yet (queue {loaded.run.queue!r})"
        found.append(Wait(text, {"kind": "first_turn", "queue": loaded.run.queue}))
    retries = {e.entity: e for e in loaded.events if e.type is EventType.step_retrying}
    found += [_step(name, step, retries.get(name), loaded, full=full) for name, step in work.steps.items()]
    found += [_wait(name, due, loaded.now) for name, due in work.waits.items()]
    found += _hooks(work, loaded.events)
    found += _untaken(work, loaded.events)
    found += [_child(name, state) for name, state in work.children.items()]
    if work.terminate_at is not None:
        text = f"the end of its cancellation's grace: terminated {_when(work.terminate_at, loaded.now)}"
        found.append(Wait(text, {"kind": "grace", "due": iso(moment(work.terminate_at))}))
    if not found:
        text = "its next turn: nothing is open, so a worker has the workflow's code to run"
        found.append(Wait(text, {"kind": "turn"}))
    return found


def queues_of(loaded: Loaded) -> list[str]:
    """The queues that the run and its steps are in."""
    names = {loaded.run.queue: None}
    for event in loaded.events:
        record = record_of(event)
        if isinstance(record, StepCreated) and record.queue is not None:
            names[record.queue] = None
    return list(names)


def _ended(event: Event, *, full: bool) -> Wait:
    record = record_of(event)
    why = f": {failure_text(record.error)}" if isinstance(record, RunFailed) else ""
    if isinstance(record, RunStopped) and record.reason:
        why = f": {record.reason}"
    text = f"nothing: {event.type.name} at {iso(moment(event.at))}{why}"
    more = tuple(traceback_lines(record.error, full=full)) if isinstance(record, RunFailed) else ()
    return Wait(text, {"kind": "nothing", "ended": event_json(event)}, more)


def _parked(parked: Parked) -> Wait:
    vain = parked.recorded == NOTHING_OPEN
    what = "what can never come, and for other code" if vain else "code that fits its log"
    text = f"{what}: parked at seq {parked.seq} by build {parked.build!r}"
    told: dict[str, Any] = {
        "kind": "other_code" if vain else "fitting_code",
        "build": parked.build,
        "seq": parked.seq,
        "recorded": parked.recorded,
        "asked": parked.asked,
        "source": parked.source,
        "before": [msgspec.structs.asdict(one) | {"before": []} for one in parked.before],
    }
    more = list(_sides(parked))
    for one in parked.before:
        more += [f"build {one.build!r}, which has tried before, at seq {one.seq}:", *_sides(one)]
    more.append("a worker of another build (--build) takes it up by itself")
    return Wait(text, told, tuple(more))


def _sides(parked: Parked) -> Iterator[str]:
    yield f"the log has       {parked.recorded}"
    yield f"the code asks for {parked.asked}"
    yield f"at                {parked.source}"


def _step(entity: str, step: StepState, retrying: Event | None, loaded: Loaded, *, full: bool) -> Wait:
    record = record_of(step.created)
    name, call, queue = entity, "", loaded.run.queue
    if isinstance(record, StepCreated):
        name, call, queue = record.name, call_text(record.args), record.queue or queue
    told: dict[str, Any] = {
        "kind": "step",
        "entity": entity,
        "name": name,
        "queue": queue,
        "attempt": step.started,
        "failures": step.failures,
        "retry_at": None if step.retry_due is None else iso(moment(step.retry_due)),
        "error": None,
        "failure": None,
    }
    more: list[str] = [f"called as {name}{call}"] if call else []
    last = record_of(retrying) if retrying is not None else None
    if isinstance(last, StepEnded):
        error = opened(last.error)
        told["error"] = {"type": error.type, "code": error.code, "message": error.message}
        told["failure"] = failure_json(error)
        more.append(f"last error: {failure_text(last.error)}")
        more += traceback_lines(last.error, full=full)
    if step.retry_due is not None:
        state = f"attempt {step.started + 1} {_when(step.retry_due, loaded.now)}, after {step.failures} that failed"
    elif step.started:
        state = f"attempt {step.started} is running, or its worker has died"
    else:
        state = f"not started yet (queue {queue!r})"
    return Wait(f"step {entity}: {state}", told, tuple(more))


def _wait(entity: str, due: int, now: int) -> Wait:
    return Wait(f"time: {entity} ends {_when(due, now)}", {"kind": "time", "entity": entity, "due": iso(moment(due))})


def _hooks(work: OpenWork, events: tuple[Event, ...]) -> Iterator[Wait]:
    created = {e.entity: e for e in events if e.type is EventType.hook_created}
    for entity, token in work.hooks.items():
        record = record_of(created[entity]) if entity in created else None
        kind = record.name if isinstance(record, HookCreated) else ""
        received = sum(e.type is EventType.hook_received and e.entity == entity for e in events)
        told = {"kind": "hook", "entity": entity, "token": token, "payload": kind, "received": received}
        text = f"a signal: hook {entity}, token {token}" + (f", payload {kind}" if kind else "")
        got = (f"{received} received so far",) if received else ()
        yield Wait(text, told, (*got, f"send one: fencepost hooks resume {shlex.quote(token)} 'JSON'"))


def _untaken(work: OpenWork, events: tuple[Event, ...]) -> Iterator[Wait]:
    """Payloads that were accepted and that the code has not taken, or not yet."""
    tokens = {e.entity: e.token or "" for e in events if e.type is EventType.hook_created}
    for event in events:
        record = record_of(event) if event.type is EventType.hook_disposed else None
        if isinstance(record, HookDisposed) and record.untaken:
            token = tokens.get(event.entity, "")
            told = {"kind": "untaken", "entity": event.entity, "token": token, "count": len(record.untaken)}
            text = f"not for {len(record.untaken)} signals of hook {event.entity}, token {token}: it was closed before"
            text += f" they were taken, at {iso(moment(event.at))}"
            yield Wait(text, told)
    for token, entity in work.inherited.items():
        count = sum(e.type is EventType.hook_received and e.entity == entity for e in events)
        if count and (work.ended is None or work.ended.type is not EventType.run_continued):
            told = {"kind": "held", "entity": entity, "token": token, "count": count}
            text = f"a hook of token {token}: {count} signals are held for it, from the run before"
            if work.ended is not None:
                text = f"not for {count} signals that it was left for token {token}: it opened no hook of it"
            yield Wait(text, told)


def _child(entity: str, state: ChildState) -> Wait:
    record = record_of(state.created)
    name, run, queue = (record.name, record.run, record.queue) if isinstance(record, ChildCreated) else ("", "", None)
    told = {
        "kind": "child",
        "entity": entity,
        "workflow": name,
        "run": run,
        "queue": queue,
        "cancelling": state.cancel is not None,
        "created": event_json(state.created),
    }
    asked = ", asked to cancel" if state.cancel is not None else ""
    text = f"its child {entity}: {name} {run}{asked}"
    return Wait(text, told, (f"what that waits for: fencepost runs why {run}",))


def _when(due: int, now: int) -> str:
    seconds = (due - now) / 1e6
    at = iso(moment(due))
    return f"in {span(seconds)} ({at})" if seconds > 0 else f"due since {span(-seconds)} ({at})"
