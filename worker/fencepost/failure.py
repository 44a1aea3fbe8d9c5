"""Exceptions on their way through the log: ``failure_of`` writes one down, ``exception_of`` raises it from the grave.

What survives: type, message, traceback text, args and plain instance attributes (``__notes__`` among them) as far as
they can be encoded, the cause and context chain, the members of exception groups. Everything is bounded, so that no
exception can poison a log.

A class is found again only among modules that are already imported; nothing is imported because a log says so. Its
``__init__`` is not called again if it is written in Python, for it was written to be called with something else than
``args``: the instance is made, and args and attributes are put back, as ``copy`` does it. What cannot be rebuilt
becomes StepFailed with the type's name, message and traceback.

Retries: ``Fatal`` (not retryable) and ``Retry`` (own delay) count if the exception that left the body is one, or is a
group with such a member. Deeper in the cause chain they are history: ``except Fatal: raise Other() from fatal`` is the
user's decision to raise something else.
"""

from __future__ import annotations

import sys
import traceback
import types
from collections.abc import Iterator
from typing import Any, cast

import msgspec

from fencepost import errors, payload, payload_codecs
from fencepost.child_errors import ChildFailed
from fencepost.records import Failure, Frame
from fencepost.tracebacks import bounded, folded, own_frames

DEPTH_MAX = 16
"""Exceptions in one cause chain; what is deeper is cut. Python's own chains are rarely longer than 5."""
NODES_MAX = 64
"""Exceptions in one record, chains and group members together."""
TEXT_CHARS_MAX = 16_384
"""Of a message, and of a traceback: head and tail are kept."""
STATE_BYTES_MAX = 65_536
"""Of the encoded args, and of each attribute; larger ones are left out."""
RECORD_BYTES_MAX = 262_144
"""Of the whole record, roughly: a quarter of the payload limit. What comes first (the exception itself) is kept
best."""
RETRY_SECONDS_MAX = 100 * 366 * 24 * 3600.0
"""Of a Retry's delay: a hundred years, which the store can still add to an instant."""
TEXT_CHARS_LEAST = 512
"""What is kept of a message or traceback when the record is full: NODES_MAX of each still fit a payload."""


class RemoteTraceback(str):
    """The note that carries the recorded traceback. A type of its own, so that it is not recorded a second time.
    ``frames``: the user's in it."""

    __slots__ = ("frames",)
    frames: tuple[Frame, ...]

    @classmethod
    def of(cls, record: Failure) -> RemoteTraceback:
        """For the exception that the readable record stands for."""
        note = cls(f"Recorded where it happened:\n{folded(record)}")
        note.frames = record.frames
        return note


def failure_of(exc: BaseException, *, code: str = errors.USER_ERROR) -> Failure:
    """The exception as a record.

    ``code`` says whose fault it is; under some codes nothing is retryable. Never raises for what exc is made of.
    """
    try:
        record = _Writer().write(exc, DEPTH_MAX)
    except BaseException as error:  # noqa: BLE001 - a class of the user's whose own attributes raise: the failure is told
        record = Failure(_type_name(exc), f"<writing it down raised {type(error).__qualname__}>")
    leaves = list(_leaves(exc))
    fatal = code in errors.NOT_RETRYABLE_CODES or any(isinstance(leaf, errors.Fatal) for leaf in leaves)
    delays = [delay for leaf in leaves if isinstance(leaf, errors.Retry) and (delay := _delay(leaf)) is not None]
    return _with(record, code=code, retryable=not fatal, retry_after=max(delays, default=None))


def exception_of(record: Failure) -> BaseException:
    """The exception that the record stands for, with its chain, and the recorded traceback as a note. Never raises."""
    return _rebuild(record, DEPTH_MAX)


def told(record: Failure) -> Failure:
    """The record with its message and traceback readable; where the key is missing, the message says which. Its causes
    and members are as they were. Never raises.
    """
    if record.sealed is None:
        return record
    try:
        message, trace = payload.decode(record.sealed, list[str], path="the error's message")
    except payload.PayloadKeyMissing as missing:
        return _with(record, message=f"<encrypted with key {missing.key!r}, which is not here>", sealed=None)
    except payload.PayloadCodecMissing as missing:
        return _with(record, message=f"<written by codec {missing.codec!r}, which is not here>", sealed=None)
    except (payload.PayloadError, ValueError) as error:
        return _with(record, message=f"<{error}>", sealed=None)
    return _with(record, message=message, traceback=trace, sealed=None)


def opened(error: Failure) -> Failure:
    """The whole tree readable; where the key is missing, its messages say so."""
    error = told(error)
    return _with(
        error,
        cause=None if error.cause is None else opened(error.cause),
        context=None if error.context is None else opened(error.context),
        exceptions=tuple(opened(member) for member in error.exceptions),
    )


def sealed(record: Failure) -> Failure:
    """The reverse, with the codecs in force. What a codec does not take is left out: the error itself must be told."""
    try:
        data = payload.encode([record.message, record.traceback], list[str])
    except payload.PayloadError:
        return _with(record, message="<left out: the codec did not take it>", traceback="", sealed=None)
    return _with(record, message="", traceback="", sealed=data)


def run_code(exc: BaseException) -> str:
    """The code under which an exception that left a workflow ends its run: what the engine itself caused keeps its
    name, the rest is USER_ERROR.
    """
    if isinstance(exc, (errors.StepFailed, ChildFailed)) and exc.code in errors.CODES:
        return exc.code
    return errors.PAYLOAD_ERROR if isinstance(exc, errors.PayloadError) else errors.USER_ERROR


def _leaves(exc: BaseException) -> Iterator[BaseException]:
    stack = [exc]
    for _ in range(10_000):  # a group cannot contain itself, but may be wide
        if not stack:
            return
        top = stack.pop()
        if members := _members(top):
            stack.extend(members)
        else:
            yield top


def _delay(leaf: errors.Retry) -> float | None:
    """The delay that it asks for, as far as one can be kept: ``after`` is an attribute, and may have been set since."""
    after: object = leaf.after
    if not isinstance(after, (int, float)) or not after >= 0:
        return None
    return float(min(after, RETRY_SECONDS_MAX))


def _type_name(exc: BaseException) -> str:
    return _writable(f"{type(exc).__module__}.{type(exc).__qualname__}")


def cut(text: str, room: int) -> str:
    """The text without its middle, if it has more than ``room`` characters; it says so where it was cut."""
    if len(text) <= room:
        return text
    half = room // 2
    return f"{text[:half]}\n... {len(text) - 2 * half:,} characters left out ...\n{text[-half:]}"


def _writable(text: str) -> str:
    """Lone surrogates cannot be written as UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _members(exc: BaseException) -> tuple[BaseException, ...]:
    is_group = isinstance(exc, BaseExceptionGroup)
    return cast("BaseExceptionGroup[BaseException]", exc).exceptions if is_group else ()


def _arguments(exc: BaseException) -> tuple[object, ...]:
    """What the class is called with: ``args``, with two exceptions.

    A group's members travel beside it, and an OSError keeps its file names elsewhere.
    """
    if isinstance(exc, BaseExceptionGroup):
        return exc.args[:1]
    if isinstance(exc, OSError) and len(exc.args) == 2 and isinstance(exc.filename, (str, bytes)):
        return (*exc.args, exc.filename, None, exc.filename2)
    return exc.args


def _with(record: Failure, **changes: Any) -> Failure:
    return msgspec.structs.replace(record, **changes)


def _message(exc: BaseException) -> str:
    try:
        return str(exc)
    except BaseException as error:  # noqa: BLE001 - a broken __str__ of the user's must not hide the failure
        return f"<str() of {type(exc).__qualname__} raised {type(error).__qualname__}>"


def _traceback(exc: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(exc), exc, exc.__traceback__, chain=False))
    except BaseException as error:  # noqa: BLE001 - as above
        return "".join(traceback.format_tb(exc.__traceback__)) + f"<not formatted: {type(error).__qualname__}>"


def _frames(exc: BaseException) -> tuple[Frame, ...]:
    """The user's, and behind them those of where it came from, if it came through a log."""
    notes: object = getattr(exc, "__notes__", None)
    remote = (
        [note for note in cast("list[object]", notes) if isinstance(note, RemoteTraceback)]
        if isinstance(notes, list)
        else []
    )
    return bounded([*own_frames(exc.__traceback__), *(frame for note in remote for frame in note.frames)])


class _Writer:
    """Writes one exception tree down. Cycles, depth, width and size are cut here."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.bytes_left = RECORD_BYTES_MAX

    def write(self, exc: BaseException, depth: int) -> Failure:
        self.seen.add(id(exc))
        members = _members(exc)
        message, trace = self.text(_message(exc)), self.text(_traceback(exc))
        record = Failure(
            type=_type_name(exc),
            message=message,
            traceback=trace,
            args=self.state(_arguments(exc)),
            attributes=self.attributes(exc),
            suppress_context=exc.__suppress_context__,
            cause=self.next(exc.__cause__, depth),
            context=self.next(exc.__context__, depth) if exc.__context__ is not exc.__cause__ else None,
            exceptions=tuple(found for member in members if (found := self.next(member, depth)) is not None),
            frames=_frames(exc),
        )
        return sealed(record) if payload_codecs.current().hides else record  # a message may quote what the values say

    def next(self, exc: BaseException | None, depth: int) -> Failure | None:
        if exc is None or depth <= 1 or id(exc) in self.seen or len(self.seen) >= NODES_MAX:
            return None
        return self.write(exc, depth - 1)

    def text(self, text: str) -> str:
        text = _writable(text)
        room = max(TEXT_CHARS_LEAST, min(TEXT_CHARS_MAX, self.bytes_left))
        text = cut(text, room)
        self.bytes_left -= len(text)
        return text

    def state(self, value: object) -> bytes | None:
        try:
            data = payload.encode(value, limit=min(STATE_BYTES_MAX, max(0, self.bytes_left)))
        except payload.PayloadError:
            return None  # the message and the traceback say what it was
        except BaseException:  # noqa: BLE001 - user code that writes values, such as a codec or a pydantic serializer
            return None
        self.bytes_left -= len(data)
        return data

    def attributes(self, exc: BaseException) -> dict[str, bytes]:
        kept: dict[str, bytes] = {}
        state = cast("dict[object, object]", exc.__dict__)  # its keys may be anything
        for name, value in state.items():
            if not isinstance(name, str) or _writable(name) != name:
                continue
            if name == "__notes__":
                # Those that carry a recorded traceback are part of this record's own traceback text already.
                notes = [note for note in exc.__notes__ if not isinstance(note, RemoteTraceback)]
                data = self.state(notes) if notes else None
            else:
                data = self.state(value)
            if data is not None:
                kept[name] = data
        return kept


# --- back again -------------------------------------------------------------------------------------------------------


def _rebuild(record: Failure, depth: int) -> BaseException:
    record = told(record)
    kind = _find_class(record.type)
    exc = _instance(kind, record, depth) if kind is not None else None
    if exc is None:
        fallback = _BY_CODE.get(record.code, errors.StepFailed)
        exc = fallback(record.message, type=record.type, traceback=record.traceback, code=record.code)
    if record.traceback:
        exc.add_note(RemoteTraceback.of(record))
    if depth > 1:
        # __context__ first: setting __cause__ also sets __suppress_context__.
        exc.__context__ = _rebuild(record.context, depth - 1) if record.context is not None else None
        exc.__cause__ = _rebuild(record.cause, depth - 1) if record.cause is not None else None
    exc.__suppress_context__ = record.suppress_context
    return exc


_BY_CODE: dict[str, type[errors.StepFailed]] = {
    errors.STEP_TIMEOUT: errors.StepTimeout,
    errors.STEP_CRASHED: errors.StepCrashed,
}

_NEVER_RAISED: tuple[type[BaseException], ...] = (StopIteration, StopAsyncIteration)
"""A coroutine cannot raise these as they are."""


def _find_class(name: str) -> type[Exception] | None:
    """The class, if its module is imported.

    Only Exception's family: raising a SystemExit or CancelledError from a log would act on the loop.
    """
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:cut]))
        if found is None:
            continue
        for part in parts[cut:]:
            found = getattr(found, part, None)
        if isinstance(found, type) and issubclass(found, Exception) and not issubclass(found, _NEVER_RAISED):
            return found
        return None
    return None


def _instance(kind: type[Exception], record: Failure, depth: int) -> Exception | None:
    """An instance with the recorded args and attributes, or None if the class does not allow it."""
    try:
        args: tuple[Any, ...] = tuple(payload.decode(record.args)) if record.args is not None else (record.message,)
        if issubclass(kind, BaseExceptionGroup):
            members = [_rebuild(member, depth - 1) for member in record.exceptions] if depth > 1 else []
            if not members:
                return None
            args = (*args[:1], members)
        exc: Any = cast(Any, kind).__new__(kind, *args)
        if not isinstance(exc, kind):
            return None
        _native_init(kind)(exc, *args)
        if issubclass(kind, errors.StepFailed):
            # The engine writes some of these itself, without an exception at hand, hence without attributes.
            exc.__dict__.update(message=record.message, type="", traceback=record.traceback)
        for name, data in record.attributes.items():
            exc.__dict__[name] = payload.decode(data)
        if issubclass(kind, errors.StepFailed):
            # Whose fault it is, is for the record to say: a step's body may raise one of these that it got elsewhere.
            exc.__dict__["code"] = record.code
    except BaseException:  # noqa: BLE001 - whatever the user's class raises: the wrapper tells the same
        return None
    return exc


def _native_init(kind: type[Exception]) -> Any:
    """The first ``__init__`` of the ancestors that is not written in Python: it fills built-in exceptions' fields."""
    for ancestor in kind.__mro__:
        init = ancestor.__dict__.get("__init__")
        if init is not None and not isinstance(init, types.FunctionType):
            return init
    return BaseException.__init__
