"""Writes an exception tree down: what it says, what it carries, what it came from. Everything is bounded here: depth,
number, size, cycles.

An exception that is met twice (a member of a group that is its context, too) is written once, and referred to: it comes
back as one object.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, cast

from fencepost import payload, payload_codecs
from fencepost.errors import StepFailed
from fencepost.failure_classes import (
    ORIGIN,
    OWN,
    TEXT,
    TOLD,
    bases_of,
    has_form,
    hints_of,
    is_absent,
    name_of,
    natives_of,
    slots_of,
)
from fencepost.failure_seals import cut, sealed
from fencepost.pydantic_errors import KEY, data_of
from fencepost.records import Failure, Frame
from fencepost.tracebacks import bounded, folded, own_frames

NODES_MAX = 256
"""Exceptions in one record, chains and group members together."""
TEXT_CHARS_MAX = 16_384
"""Of a message, and of a traceback: head and tail are kept."""
STATE_BYTES_MAX = 65_536
"""Of the encoded args, and of each attribute; larger ones are left out."""
RECORD_BYTES_MAX = 262_144
"""Of the whole record, roughly: a quarter of the payload limit. What comes first (the exception itself) is kept
best."""
TEXT_CHARS_LEAST = 256
"""What is kept of a message or traceback when the record is full: NODES_MAX of each still fit a payload."""
PATHS = "filename"
"""Among what is typed: an OSError's file names were paths, and are texts in the record."""
LEFT_OUT_MAX = 16
"""Names of what was not recorded of one exception."""


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


def members_of(exc: BaseException) -> tuple[BaseException, ...]:
    """The members of a group; of no group none. Runs no code of the class's, for anything may come of that."""
    if not issubclass(type(exc), BaseExceptionGroup):
        return ()
    return cast("tuple[BaseException, ...]", cast(Any, BaseExceptionGroup.exceptions).__get__(exc))


def writable(text: str) -> str:
    """Lone surrogates cannot be written as UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class Writer:
    """Writes one tree. ``traceback``: the text of an exception's own traceback."""

    def __init__(self, traceback: Callable[[BaseException], str]) -> None:
        self._traceback = traceback
        self._numbers: dict[int, int] = {}
        self._open: set[int] = set()  # what is being written: it is not referred to, for a reader has not got it yet
        self._bytes_left = RECORD_BYTES_MAX

    def write(self, exc: BaseException, depth: int) -> Failure:
        """The exception, and below it what is ``depth`` deep."""
        number = self._numbers[id(exc)] = len(self._numbers)
        self._open.add(id(exc))
        lost: list[str] = []
        absent = is_absent(exc)
        message, trace = self._text(_message(exc)), self._text(self._traceback(exc))
        args, typed, classes = self._args(exc)
        members = members_of(exc)
        if args is None and exc.args and not members:
            lost.append("args")
        attributes, more, held_ones = self._attributes(exc, lost, classes)
        exceptions = tuple(one for member in members if (one := self._next(member, depth)) is not None)
        if len(exceptions) < len(members):
            lost.append(f"{len(members) - len(exceptions)} of its {len(members)} exceptions")
        context = exc.__context__ if exc.__context__ is not exc.__cause__ else None
        cause, context_record = self._next(exc.__cause__, depth), self._next(context, depth)
        held = {name: one for name, value in held_ones.items() if (one := self._next(value, depth)) is not None}
        lost += [f"{name} ({name_of(type(value))})" for name, value in held_ones.items() if name not in held]
        record = Failure(
            type=exc.__dict__["type"] if absent else name_of(type(exc)),
            message=message,
            traceback=trace,
            args=args,
            attributes=attributes,
            suppress_context=exc.__suppress_context__,
            exceptions=exceptions,
            cause=cause,
            context=context_record,
            held=held,
            frames=_frames(exc),
            bases=() if type(exc) is StepFailed else bases_of(type(exc)),
            typed=(*typed, *more),
            left_out=tuple(writable(name)[:100] for name in lost[:LEFT_OUT_MAX]),
            number=number,
            classes=classes,
        )
        self._open.discard(id(exc))
        return sealed(record) if payload_codecs.current().hides else record  # a message may quote what the values say

    def _next(self, exc: BaseException | None, depth: int) -> Failure | None:
        if exc is None or id(exc) in self._open:
            return None
        known = self._numbers.get(id(exc))
        if known is not None:
            message = "" if payload_codecs.current().hides else cut(writable(_message(exc)), TEXT_CHARS_LEAST)
            return Failure(type=name_of(type(exc)), message=message, ref=known)
        if depth <= 1 or len(self._numbers) >= NODES_MAX:
            return None
        return self.write(exc, depth - 1)

    def _text(self, text: str) -> str:
        text = writable(text)
        room = max(TEXT_CHARS_LEAST, min(TEXT_CHARS_MAX, self._bytes_left))
        text = cut(text, room)
        self._bytes_left -= len(text)
        return text

    def _state(self, value: object, hint: object) -> tuple[bytes | None, bool]:
        """The value by its annotation, which is True then, or as it is; None if it cannot be encoded."""
        limit = min(STATE_BYTES_MAX, max(0, self._bytes_left))
        for as_type in (Any,) if hint is Any else (hint, Any):
            try:
                data = payload.encode(value, as_type, limit=limit)
            except BaseException:  # noqa: BLE001, S112 - PayloadError, and what a model of the user's raises
                continue
            self._bytes_left -= len(data)
            return data, as_type is not Any
        return None, False

    def _args(self, exc: BaseException) -> tuple[bytes | None, list[str], dict[str, str]]:
        args = _arguments(exc)
        positional = hints_of(type(exc)).positional
        hints = positional[: len(args)] if len(args) <= len(positional) else []
        hints += [Any] * (len(args) - len(hints))
        classes: dict[str, str] = {}
        for at, one in enumerate(args):
            if has_form(type(one)):
                classes[f"args[{at}]"] = name_of(type(one))
                hints[at] = type(one) if hints[at] is Any else hints[at]
        hint: Any = Any
        if any(one is not Any for one in hints):
            hint = tuple[tuple(hints)]  # type: ignore[misc]
        data, typed = self._state(args, hint)
        paths = isinstance(exc, OSError) and isinstance(exc.filename, os.PathLike)
        return data, [*(["args"] if typed else []), *([PATHS] if paths else [])], classes if typed else {}

    def _attributes(
        self, exc: BaseException, lost: list[str], classes: dict[str, str]
    ) -> tuple[dict[str, bytes], list[str], dict[str, BaseException]]:
        kept: dict[str, bytes] = {}
        typed: list[str] = []
        held: dict[str, BaseException] = {}
        hints = hints_of(type(exc)).attributes
        for name, value in _carried(exc):
            if isinstance(value, BaseException):
                held[name] = value
                continue
            hint, own = hints.get(name, Any), has_form(type(value))
            data, by_hint = self._state(value, type(value) if own and hint is Any else hint)
            if data is None:
                lost.append(f"{name} ({name_of(type(value))})")
                continue
            kept[name] = data
            if own and by_hint:
                classes[name] = name_of(type(value))
            typed += [name] if by_hint else []
        found = data_of(exc)
        if found is not None and (data := self._state(found, Any)[0]) is not None:
            kept[KEY] = data
        return kept, typed, held


def _carried(exc: BaseException) -> list[tuple[str, object]]:
    """The attributes of the instance, those in slots, too; of its notes those that are its own."""
    found: list[tuple[str, object]] = []
    state = cast("dict[object, object]", getattr(exc, "__dict__", {}))  # its keys may be anything
    if is_absent(exc):
        told = cast("dict[object, object]", state.get(OWN, {}))
        first = state.get("traceback")
        state = {**{name: value for name, value in state.items() if name not in (*TOLD, OWN)}, **told, ORIGIN: first}
    for name, value in list(state.items()):
        if not isinstance(name, str) or writable(name) != name or name == TEXT:
            continue
        if name == "__notes__":
            # Those that carry a recorded traceback are part of this record's own traceback text already.
            notes = cast("list[object]", value) if isinstance(value, list) else []
            own = [note for note in notes if isinstance(note, str) and not isinstance(note, RemoteTraceback)]
            found += [(name, own)] if own else []
        else:
            found.append((name, value))
    for name, native in natives_of(type(exc)).items():
        value = native.__get__(exc)
        if value is not None and name not in state and not any(value is one for one in exc.args):
            found.append((name, value))
    for name in slots_of(type(exc)):
        try:
            found.append((name, object.__getattribute__(exc, name)))
        except AttributeError:  # was never set
            continue
    return found


def _arguments(exc: BaseException) -> tuple[object, ...]:
    """What the class is called with: ``args``, with two exceptions.

    A group's members travel beside it, and an OSError keeps its file names elsewhere.
    """
    if isinstance(exc, BaseExceptionGroup):
        return (cast("BaseExceptionGroup[BaseException]", exc).message,)
    if isinstance(exc, OSError) and len(exc.args) == 2 and exc.filename is not None:
        return (*exc.args, _file(exc.filename), None, _file(exc.filename2))
    return exc.args


def _file(name: object) -> object:
    return os.fspath(cast("os.PathLike[str]", name)) if isinstance(name, os.PathLike) else name


def _message(exc: BaseException) -> str:
    if is_absent(exc):
        return str(exc.__dict__.get("message", ""))
    try:
        return str(exc)
    except BaseException as error:  # noqa: BLE001 - a broken __str__ of the user's must not hide the failure
        return f"<str() of {type(exc).__qualname__} raised {type(error).__qualname__}>"


def _frames(exc: BaseException) -> tuple[Frame, ...]:
    """The user's, and behind them those of where it came from, if it came through a log."""
    notes: object = getattr(exc, "__notes__", None)
    found = list(own_frames(exc.__traceback__))
    for note in cast("list[object]", notes) if isinstance(notes, list) else []:
        if isinstance(note, RemoteTraceback):
            found += note.frames
    return bounded(found)
