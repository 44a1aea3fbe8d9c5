"""Records of errors that are too large for a payload, made to fit it: what the engine writes down of an exception must
land, for nobody else can say it.

What is given up, in this order, until the record fits: what is known of the causes beyond their class and message; the
traceback's middle; attributes; args; the causes; the rest of the traceback; the message's middle; the message. Class
and code stay. The traceback ends by saying what was left out, and a text that was cut says so where it was cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from fencepost import payload_codecs
from fencepost.failure import cut, opened, sealed
from fencepost.records import CancelRequested, ChildEnded, Failure, RunFailed, RunStopped, StepEnded, pack, unpack
from fencepost_store.events import EventType, NewEvent

TYPE_CHARS_MAX = 200
"""What is kept of a class name that does not fit by itself; such a class is not found again."""

LAST_WORDS = "<left out: too large for payload_bytes_max>"
"""The message of an error of which nothing fits, whatever the codecs make of it."""

_CUTS = (4_096, 1_024, 256, 64)


def fitted(event: NewEvent, bound: int) -> NewEvent:
    """The event with a payload of at most ``bound`` bytes, if it tells of an error or carries a reason; every other
    event as it is. Whoever delivers an event before it lands must have it fitted before.
    """
    fit = _FITS.get(event.type) if len(event.payload) > bound else None
    return event if fit is None else msgspec.structs.replace(event, payload=fit(event.payload, bound))


def fit_failure(error: Failure, bound: int, packed: Callable[[Failure], bytes]) -> bytes:
    """The first of ever shorter records that fits, or else the last. ``packed``: the payload that it goes into."""
    data = packed(error)
    if len(data) <= bound:
        return data
    seals = error.sealed is not None or payload_codecs.current().hides
    for shorter, gone in _ever_shorter(opened(error)):
        note = f"(shortened to fit payload_bytes_max = {bound}; left out: {', '.join(gone)})"
        noted = _with(shorter, traceback=f"{shorter.traceback.rstrip()}\n{note}".lstrip())
        data = packed(_sealed(noted) if seals else noted)
        if len(data) <= bound:
            return data
    return packed(_with(_bare(error), type=error.type[:TYPE_CHARS_MAX], message=LAST_WORDS, bases=()))


def _ever_shorter(error: Failure) -> Iterator[tuple[Failure, list[str]]]:
    gone: list[str] = []
    if error.cause is not None or error.context is not None or error.exceptions or error.held:
        gone.append("what the causes carried")
        error = _with(
            error,
            cause=_slight(error.cause),
            context=_slight(error.context),
            exceptions=tuple(_bare(member) for member in error.exceptions),
            held={name: _bare(one) for name, one in error.held.items()},
        )
        yield error, gone
    for room in _CUTS[:2]:
        if len(error.traceback) > room:
            error = _with(error, traceback=cut(error.traceback, room))
            yield error, [*gone, "the traceback's middle"]
    if error.attributes:
        gone.append("attributes")
        error = _with(error, attributes={})
        yield error, gone
    if error.args is not None:
        gone.append("args")
        error = _with(error, args=None)
        yield error, gone
    if "what the causes carried" in gone:
        gone[0] = "causes"
        error = _with(error, cause=None, context=None, exceptions=(), held={})
        yield error, gone
    gone.append("the traceback")
    error = _with(error, traceback="", frames=error.frames[-1:])
    yield error, gone
    for room in _CUTS:
        if len(error.message) > room:
            error = _with(error, message=cut(error.message, room))
            yield error, [*gone, "the message's middle"]
    yield _with(error, message="", type=error.type[:TYPE_CHARS_MAX], frames=(), bases=()), [*gone, "the message"]


def _slight(error: Failure | None) -> Failure | None:
    """A link of the chain with its class and message alone."""
    if error is None:
        return None
    return _with(_bare(error), cause=_slight(error.cause), context=_slight(error.context))


def _bare(error: Failure) -> Failure:
    return Failure(
        error.type,
        cut(error.message, _CUTS[2]),
        error.code,
        retryable=error.retryable,
        retry_after=error.retry_after,
        suppress_context=error.suppress_context,
        bases=error.bases,
        number=error.number,
        ref=error.ref,
    )


def _sealed(error: Failure) -> Failure:
    """The reverse, with the codecs in force."""
    return _with(
        sealed(error),
        cause=None if error.cause is None else _sealed(error.cause),
        context=None if error.context is None else _sealed(error.context),
        exceptions=tuple(_sealed(member) for member in error.exceptions),
        held={name: _sealed(one) for name, one in error.held.items()},
    )


def _with(record: Failure, **changes: Any) -> Failure:
    return msgspec.structs.replace(record, **changes)


def _fit_step(data: bytes, bound: int) -> bytes:
    return fit_failure(unpack(data, StepEnded).error, bound, lambda error: pack(StepEnded(error)))


def _fit_run(data: bytes, bound: int) -> bytes:
    return fit_failure(unpack(data, RunFailed).error, bound, lambda error: pack(RunFailed(error)))


def _fit_child(data: bytes, bound: int) -> bytes:
    ended = unpack(data, ChildEnded)
    reason = _cut_bytes(ended.reason, bound // 2)
    if ended.error is None:
        return pack(ChildEnded(ended.status, None, reason))
    return fit_failure(ended.error, bound, lambda error: pack(ChildEnded(ended.status, error, reason)))


def _fit_request(data: bytes, bound: int) -> bytes:
    request = unpack(data, CancelRequested)
    return pack(CancelRequested(_cut_bytes(request.reason, bound // 2), request.grace))


def _fit_stop(data: bytes, bound: int) -> bytes:
    return pack(RunStopped(_cut_bytes(unpack(data, RunStopped).reason, bound // 2)))


def _cut_bytes(text: str, room: int) -> str:
    """The text in at most about ``room`` bytes, whatever its characters are."""
    return text if len(text.encode()) <= room else cut(text, room // 8)


_FITS: dict[EventType, Callable[[bytes, int], bytes]] = {
    EventType.step_failed: _fit_step,
    EventType.step_retrying: _fit_step,
    EventType.run_failed: _fit_run,
    EventType.child_failed: _fit_child,
    EventType.cancel_requested: _fit_request,
    EventType.run_cancelled: _fit_stop,
    EventType.run_terminated: _fit_stop,
}
