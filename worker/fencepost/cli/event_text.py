"""An event of a log in words and in JSON: its record is read, the user's values in it are decoded."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from fencepost import payload
from fencepost.attributes import value_of as value_of_text
from fencepost.attributes import values_of
from fencepost.cli.output import iso, moment, plain, shown, span
from fencepost.errors import PayloadCodecMissing, PayloadError, PayloadKeyMissing
from fencepost.failure import opened, told
from fencepost.records import (
    RECORD_TAG,
    CancelRequested,
    ChildCancelRequested,
    ChildCreated,
    ChildEnded,
    Failure,
    HookCreated,
    HookDisposed,
    RunContinued,
    RunCreated,
    RunFailed,
    RunStarted,
    RunStopped,
    StepCreated,
    StepEnded,
    StepStarted,
    WaitCreated,
    unpack,
)
from fencepost.tracebacks import frames_json, where
from fencepost_store.attributes import changes_in
from fencepost_store.events import Event, EventType

RECORDS: dict[EventType, type[msgspec.Struct]] = {
    EventType.run_created: RunCreated,
    EventType.run_started: RunStarted,
    EventType.run_failed: RunFailed,
    EventType.run_cancelled: RunStopped,
    EventType.run_terminated: RunStopped,
    EventType.step_created: StepCreated,
    EventType.step_started: StepStarted,
    EventType.step_retrying: StepEnded,
    EventType.step_failed: StepEnded,
    EventType.wait_created: WaitCreated,
    EventType.hook_created: HookCreated,
    EventType.hook_conflict: HookCreated,
    EventType.hook_inherited: HookCreated,
    EventType.hook_disposed: HookDisposed,
    EventType.child_created: ChildCreated,
    EventType.child_cancel_requested: ChildCancelRequested,
    EventType.child_failed: ChildEnded,
    EventType.run_continued: RunContinued,
    EventType.cancel_requested: CancelRequested,
}
"""What stands in an event's payload, where it is a record; else it is a user's value."""


SECRETS = frozenset({"secret"})
"""Fields that are not shown: who has a run's secret can compute the tokens of its hooks before they exist."""


def record_of(event: Event) -> msgspec.Struct | None:
    """The event's record; None if it has none, or one that this version cannot read."""
    kind = RECORDS.get(event.type)
    if kind is None or not event.payload:
        return None
    try:
        return unpack(event.payload, kind)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None


def value_of(data: bytes) -> Any:
    """A user's value in what JSON knows. What needs a key or a codec that is not configured here says which one;
    what cannot be read otherwise is shown as bytes.
    """
    try:
        return plain(payload.decode(data))
    except PayloadKeyMissing as missing:
        return {"encrypted_with_key": missing.key}
    except PayloadCodecMissing as missing:
        return {"written_by_codec": missing.codec}
    except PayloadError:
        return plain(data)


def event_json(event: Event) -> dict[str, Any]:
    """The event as docs/cli.md describes it."""
    return {
        "seq": event.seq,
        "type": event.type.name,
        "entity": event.entity,
        "attempt": event.attempt,
        "at": iso(moment(event.at)),
        "due": None if event.due is None else iso(moment(event.due)),
        "token": event.token,
        "dedupe": event.dedupe,
        "payload": _payload_json(event),
    }


def _payload_json(event: Event) -> object:
    if not event.payload:
        return None
    record = record_of(event)
    if record is not None:
        told = _record_json(record)
        if isinstance(record, RunCreated):
            told["attributes"] = values_of(record.attributes)
        return told
    if event.type is EventType.attributes_set:
        return _changes(event)
    if event.payload[:1] == RECORD_TAG:
        try:
            return plain(msgspec.msgpack.decode(event.payload[1:]))
        except msgspec.DecodeError:
            return plain(event.payload)
    return value_of(event.payload)


def _changes(event: Event) -> object:
    """What an attributes_set changes; null for what it takes away."""
    try:
        changes = changes_in(event.payload)
    except ValueError:
        return plain(event.payload)
    return {name: None if text is None else plain(value_of_text(text)) for name, text in changes.items()}


def _record_json(record: msgspec.Struct) -> dict[str, Any]:
    """A record's fields. What is ``bytes`` in a record is a user's value."""
    if isinstance(record, Failure):
        record = told(record)
    fields: dict[str, Any] = {}
    for name, value in msgspec.structs.asdict(record).items():
        fields[name] = _field_json(value) if name not in SECRETS or not value else "***"
    fields.pop("sealed", None)
    if isinstance(record, Failure):
        fields["frames"] = frames_json(record)
    return fields


def _field_json(value: Any) -> object:
    if isinstance(value, bytes):
        return value_of(value)
    if isinstance(value, msgspec.Struct):
        return _record_json(value)
    if isinstance(value, dict):
        return {str(key): _field_json(item) for key, item in cast(dict[object, object], value).items()}
    if isinstance(value, (list, tuple)):
        return [_field_json(item) for item in cast(list[object], value)]
    return plain(value)


def detail(event: Event) -> str:
    """One line for the timeline."""
    record = record_of(event)
    match record:
        case RunCreated(input=data):
            return call_text(data)
        case RunStarted(worker=worker, build=build, timeout=timeout, queue=queue):
            settled = "" if timeout is None else f", timeout {timeout:g} s"
            settled += "" if queue is None else f", queue {queue}"
            return f"worker {worker}" + (f", build {build}" if build else "") + settled
        case RunStopped(reason=reason):
            return reason
        case CancelRequested(reason=reason, grace=grace):
            limit = [] if grace is None else [f"terminated {span(grace / 1e6)} later"]
            return "; ".join([*([reason] if reason else []), *limit])
        case RunFailed(error=error) | StepEnded(error=error):
            due = f"; again {span((event.due - event.at) / 1e6)} later" if event.due is not None else ""
            return failure_text(error) + due
        case StepCreated(name=name, args=data):
            return name + call_text(data)
        case ChildCreated(name=name, args=data, run=run):
            return f"{name}{call_text(data)}, run {run}"
        case ChildEnded(status=status, error=error, reason=reason):
            return failure_text(error) if error is not None else status + (f": {reason}" if reason else "")
        case RunContinued(run=run, args=data, hooks=hooks):
            left = sum(len(hook.seqs) for hook in hooks)
            handed = f", which inherits {len(hooks)} hooks with {left} payloads" if hooks else ""
            return f"as run {run} with {call_text(data)}{handed}"
        case StepStarted(worker=worker):
            return f"attempt {event.attempt}, worker {worker}"
        case WaitCreated(name=name):
            return f"{name} until {iso(moment(event.due or 0))}"
        case HookDisposed(untaken=untaken):
            return f"{len(untaken)} payloads were not taken"
        case HookCreated(name=name):
            held = f", held by run {event.dedupe}" if event.type is EventType.hook_conflict else ""
            return f"token {event.token} ({name}){held}"
        case _:
            return shown(_payload_json(event)) if event.payload else (event.token or "")


def call_text(data: bytes) -> str:
    """``[args, kwargs]`` as a call is written."""
    value: object = value_of(data)
    call = cast(list[object], value) if isinstance(value, list) else []
    if len(call) != 2 or not isinstance(call[0], list) or not isinstance(call[1], dict):
        return shown(value_of(data))
    parts = [shown(arg) for arg in cast(list[object], call[0])]
    parts += [f"{name}={shown(arg)}" for name, arg in cast(dict[str, object], call[1]).items()]
    return f"({', '.join(parts)})"


def failure_text(error: Failure) -> str:
    """Type, message, the user's line and, unless it is the user's own, whose fault it was."""
    error = opened(error)
    code = "" if error.code == "USER_ERROR" else f" [{error.code}]"
    at = where(error)
    return f"{error.type}: {error.message}{code}" + (f" at {at}" if at else "")
