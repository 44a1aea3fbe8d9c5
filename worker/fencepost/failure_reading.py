"""Makes the exception that a record stands for. Nothing of the user's runs but the ``str()`` of what was made, to see
whether it says what was recorded. Never raises.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, cast

from fencepost import errors, payload
from fencepost.failure_classes import (
    ORIGIN,
    OWN,
    TEXT,
    TOLD,
    find_class,
    find_kind,
    hints_of,
    native_init,
    native_new,
    natives_of,
    slots_of,
    standin_below,
    standin_for,
)
from fencepost.failure_seals import told
from fencepost.failure_writing import PATHS, RemoteTraceback, writable
from fencepost.pydantic_errors import KEY, error_of
from fencepost.records import Failure

SHORTENED = "(shortened to fit payload_bytes_max"
"""How a traceback ends whose record was shortened: what such an exception says may be other than what was recorded."""
NOT_RECORDED = "Not there, because it was not recorded"
"""How the note begins that names what an exception lacks."""
_CUT = "characters left out"

_BY_CODE: dict[str, type[errors.StepFailed]] = {
    errors.STEP_TIMEOUT: errors.StepTimeout,
    errors.STEP_CRASHED: errors.StepCrashed,
}


Held = dict[str, BaseException]
"""Attributes that are exceptions."""


class Reader:
    """Reads one tree. What was one object is one again."""

    def __init__(self) -> None:
        self._known: dict[int, BaseException] = {}

    def read(self, record: Failure, depth: int) -> BaseException:
        """The exception with its chain, and the recorded traceback as a note."""
        if record.ref in self._known:
            return self._known[record.ref]
        record = told(record)
        members = [self.read(one, depth - 1) for one in record.exceptions] if depth > 1 else []
        # All that it refers to first: its text may be made of it.
        cause = None if record.cause is None or depth <= 1 else self.read(record.cause, depth - 1)
        context = None if record.context is None or depth <= 1 else self.read(record.context, depth - 1)
        held = {name: self.read(one, depth - 1) for name, one in record.held.items()} if depth > 1 else {}
        exc = _made(record, cast("list[Exception]", members), held)
        if record.number:
            self._known[record.number] = exc
        _note(exc, record)
        if depth > 1:
            # __context__ first: setting __cause__ also sets __suppress_context__.
            _set(exc, "__context__", context)
            _set(exc, "__cause__", cause)
        _set(exc, "__suppress_context__", record.suppress_context)
        return exc


def _made(record: Failure, members: list[Exception], held: Held) -> BaseException:
    kind = find_class(record.type)
    if kind is None and members and record.type == "builtins.BaseExceptionGroup":
        kind = ExceptionGroup  # what its members are is Exception's family now
    if kind is not None:
        if KEY in record.attributes and (found := _pydantic(record)) is not None:
            return found
        exc = _instance(kind, record, members, held)
        if exc is not None and _says(exc, record, members):
            return _with_code(exc, record)
        standin = standin_for(kind)
        exc = None if standin is None else _instance(standin, record, members, held, text=record.message)
        if exc is not None:
            return _with_code(exc, record)
    return _below_a_base(record, members, held)


def _with_code(exc: Exception, record: Failure) -> Exception:
    """Whose fault it is, is for the record to say: a step's body may raise a StepFailed that it got elsewhere."""
    if isinstance(exc, errors.StepFailed):
        exc.__dict__["code"] = record.code
    return exc


def _below_a_base(record: Failure, members: list[Exception], held: Held) -> BaseException:
    """For a class that is not here, or has no instances but its own."""
    fallback = _BY_CODE.get(record.code)
    for name in () if fallback is not None else record.bases:
        base = find_class(name)
        standin = None if base is None else standin_below(base, record.type)
        text = ": ".join(filter(None, (record.type, record.message)))
        exc = None if standin is None else _instance(standin, record, members, held, text=text)
        if exc is not None:
            return _absent(exc, record)
    made = fallback or errors.StepFailed
    failed = made(record.message, type=record.type, traceback=record.traceback, code=record.code)
    if fallback is not None:
        return failed
    _fill(failed, made, record, held, lenient=True)
    failed.args = _args(made, record, lenient=True)
    return _absent(failed, record)


def _absent(exc: Exception, record: Failure) -> Exception:
    """It says whose fault it was, as each StepFailed; attributes of these names are kept for who writes it again."""
    own = {name: exc.__dict__[name] for name in TOLD if name in record.attributes}
    exc.__dict__.update(message=record.message, type=record.type, traceback=record.traceback, code=record.code)
    if ORIGIN in record.attributes:
        with contextlib.suppress(errors.PayloadError):  # a key that is missing here
            exc.__dict__["traceback"] = payload.decode(record.attributes[ORIGIN])
    if own:
        exc.__dict__[OWN] = own
    return exc


def _instance(
    kind: type[Exception], record: Failure, members: list[Exception], held: Held, text: str = ""
) -> Exception | None:
    """An instance with the recorded args and attributes, or None if the class does not allow it. ``text``: of a
    stand-in, which does with less."""
    standin = bool(text) or TEXT in kind.__dict__ or kind.__mro__[1].__name__ == "Standin"
    try:
        args = _args(kind, record, lenient=standin)
        if PATHS in record.typed and issubclass(kind, OSError):
            args = tuple(Path(arg) if at in (2, 4) and isinstance(arg, str) else arg for at, arg in enumerate(args))
        if issubclass(kind, BaseExceptionGroup):
            if not members:
                return None
            args = (str(args[0]) if args else record.message, members)
        exc = _bare(kind, args, lenient=standin)
        if standin:
            exc.__dict__[TEXT] = text or record.message
        if issubclass(kind, errors.StepFailed):
            # The engine writes some of these itself, without an exception at hand, hence without attributes.
            exc.__dict__.update(message=record.message, type="", traceback=record.traceback)
        _fill(exc, kind, record, held, lenient=standin)
    except BaseException:  # noqa: BLE001 - whatever the user's class raises: a stand-in tells the same
        return None
    return exc


def _args(kind: type[Exception], record: Failure, *, lenient: bool) -> tuple[Any, ...]:
    if record.args is None:
        return (record.message,)
    try:
        if "args" in record.typed:
            positional = hints_of(kind).positional
            count = len(cast("list[object]", payload.decode(record.args)))
            hints = positional[:count] if count <= len(positional) else []
            hints += [Any] * (count - len(hints))
            for at in range(count):
                if hints[at] is Any:
                    hints[at] = find_kind(record.classes.get(f"args[{at}]", ""))
            if count:
                with contextlib.suppress(errors.PayloadError):
                    return tuple(payload.decode(record.args, tuple[tuple(hints)]))  # type: ignore[misc]
        return tuple(payload.decode(record.args))
    except BaseException:
        if lenient:  # a key that is missing here
            return (record.message,)
        raise


def _bare(kind: type[Exception], args: tuple[Any, ...], *, lenient: bool) -> Exception:
    new, init = native_new(kind), native_init(kind)
    try:
        exc: Any = new(kind, *args)
        init(exc, *args)
    except BaseException:
        if not lenient:
            raise
        exc = BaseException.__new__(kind) if issubclass(kind, BaseExceptionGroup) else new(kind)
        BaseException.__setattr__(exc, "args", args)
    if not isinstance(exc, kind):
        raise TypeError(f"{kind.__qualname__} makes instances of another class")
    return exc


def _fill(exc: Exception, kind: type[Exception], record: Failure, held: Held, *, lenient: bool) -> None:
    hints = {name: find_kind(one) for name, one in record.classes.items()}
    hints |= {name: hint for name, hint in hints_of(kind).attributes.items() if hint is not Any}
    for name, one in held.items():
        with contextlib.suppress(Exception):  # an attribute that the class does not take: the rest is told
            _attribute(exc, name, one)
    for name, data in record.attributes.items():
        if name in (KEY, ORIGIN):
            continue
        try:
            if name in record.typed and name in hints:
                try:
                    value = payload.decode(data, hints[name])
                except errors.PayloadError:
                    value = payload.decode(data)
            else:
                value = payload.decode(data)
            _attribute(exc, name, value)
        except BaseException:
            if not lenient:
                raise


def _attribute(exc: BaseException, name: str, value: object) -> None:
    native = natives_of(type(exc)).get(name)
    if native is not None:
        native.__set__(exc, value)
    elif name in slots_of(type(exc)):
        object.__setattr__(exc, name, value)
    else:
        exc.__dict__[name] = value


def _says(exc: Exception, record: Failure, members: list[Exception]) -> bool:
    """Whether it says what was recorded; if that was shortened, whether it says anything."""
    try:
        text = writable(str(exc))
    except BaseException:  # noqa: BLE001 - built from attributes that were not recorded, most often
        return False
    if text == record.message or _CUT in record.message or SHORTENED in record.traceback:
        return True
    return isinstance(exc, BaseExceptionGroup) or record.message.startswith("<str() of ")


def _pydantic(record: Failure) -> BaseException | None:
    try:
        return error_of(payload.decode(record.attributes[KEY]))
    except BaseException:  # noqa: BLE001 - another version of pydantic, a key that is missing: a stand-in tells it
        return None


def _note(exc: BaseException, record: Failure) -> None:
    notes: list[str] = []
    if record.left_out:
        what = ", ".join(record.left_out)
        notes.append(f"This came through a run's log. {NOT_RECORDED} (no encoding, or too large): {what}")
    if record.traceback:
        notes.append(RemoteTraceback.of(record))
    if not notes:
        return
    try:
        known = exc.__dict__.get("__notes__")
        exc.__dict__["__notes__"] = [*cast("list[str]", known), *notes] if isinstance(known, list) else notes
    except AttributeError:  # a class without a __dict__
        for note in notes:
            with contextlib.suppress(Exception):
                exc.add_note(note)


def _set(exc: BaseException, name: str, value: object) -> None:
    """Past a ``__setattr__`` of the user's: that of a frozen dataclass refuses these, too."""
    with contextlib.suppress(Exception):
        BaseException.__setattr__(exc, name, value)
