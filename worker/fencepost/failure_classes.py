"""The classes of recorded exceptions: found again by name, made without the user's ``__init__`` and ``__new__``, or
stood in for where an instance of the class itself would not say what was recorded.

A stand-in is a subclass of the class that was raised, so that ``except TheClass`` catches it. Its text is the recorded
message, and an attribute that was not recorded says so. Where the class is not loaded or cannot be subclassed, it is
one of StepFailed and of the nearest base class that can.
"""

from __future__ import annotations

import enum
import inspect
import sys
import types
import typing
from collections.abc import Callable
from typing import Any, ClassVar, cast
from weakref import WeakKeyDictionary

from fencepost import errors

BASES_MAX = 8
"""Names of base classes that a record has."""
TEXT = "__fencepost_text__"
"""Where a stand-in keeps its text."""
OWN = "__fencepost_own__"
"""Where a stand-in for a class that is not here keeps the attributes that have StepFailed's names."""
TOLD = ("message", "type", "traceback", "code")
"""StepFailed's attributes."""
ORIGIN = "__fencepost_traceback__"
"""Where a record that was written of such a stand-in keeps the traceback of where it first happened."""

_NEVER_RAISED: tuple[type[BaseException], ...] = (StopIteration, StopAsyncIteration)
"""A coroutine cannot raise these as they are."""
_PLAIN = (Exception, BaseException, object, BaseExceptionGroup)


def name_of(kind: type) -> str:
    """Module-qualified."""
    text = f"{kind.__module__}.{kind.__qualname__}"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def is_absent(exc: BaseException) -> bool:
    """Whether it stands for an exception whose class is not here: who writes it down writes that one."""
    kind = type(exc)
    stands = kind is errors.StepFailed or (issubclass(kind, errors.StepFailed) and kind.__mro__[1] is Standin)
    return stands and bool(exc.__dict__.get("type"))


def bases_of(kind: type[BaseException]) -> tuple[str, ...]:
    """The names of its base classes, nearest first, without those that every exception has."""
    bases = kind.__mro__[1:]
    if kind.__mro__[1] is Standin:  # those of the class that it stands for
        bases = tuple(base for base in bases if base not in (errors.StepFailed, errors.FencepostError))
    return tuple(name_of(base) for base in bases if base not in _PLAIN and _is_exception(base))[:BASES_MAX]


def _is_exception(kind: type) -> bool:
    return issubclass(kind, BaseException)


def find_class(name: str) -> type[Exception] | None:
    """The class, if its module is imported.

    Only Exception's family: raising a SystemExit or CancelledError from a log would act on the loop.
    """
    found = _find(name)
    if found is None or not issubclass(found, Exception) or issubclass(found, _NEVER_RAISED):
        return None
    return found


def find_kind(name: str) -> Any:
    """The class of an attribute, if its module is imported and it is one by which values are encoded; else Any."""
    found = _find(name)
    return found if found is not None and has_form(found) else Any


def has_form(kind: Any) -> bool:
    """Whether what its values hold is said by the class: an Enum, or a class with annotated fields."""
    if "<locals>" in kind.__qualname__:
        return False
    return issubclass(kind, enum.Enum) or any(hasattr(kind, mark) for mark in _MARKS)


_MARKS = ("__dataclass_fields__", "__attrs_attrs__", "__struct_fields__", "__pydantic_fields__", "_fields")
"""What a dataclass, an attrs class, a Struct, a model and a named tuple have."""


def _find(name: str) -> type | None:
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:cut]))
        if found is None:
            continue
        for part in parts[cut:]:
            found = getattr(found, part, None)
        return found if isinstance(found, type) else None
    return None


NATIVE: tuple[tuple[type[BaseException], tuple[str, ...]], ...] = (
    (ImportError, ("name", "path")),
    (NameError, ("name",)),
    (AttributeError, ("name",)),
    (OSError, ("errno", "strerror")),
)
"""What built-in exceptions keep outside their ``args`` and their ``__dict__``."""


def natives_of(kind: type[BaseException]) -> dict[str, Any]:
    """The descriptors of such attributes, unless the class has others of these names."""
    return {
        name: owner.__dict__[name]
        for owner, names in NATIVE
        if issubclass(kind, owner)
        for name in names
        if inspect.getattr_static(kind, name, None) is owner.__dict__[name]
    }


def native_new(kind: type[BaseException]) -> Any:
    """The first ``__new__`` of the ancestors that is Python's own: the user's was written for other arguments."""
    for ancestor in kind.__mro__:
        new = ancestor.__dict__.get("__new__")
        if isinstance(new, types.BuiltinFunctionType):
            return new
    return BaseException.__new__


def native_init(kind: type[BaseException]) -> Any:
    """The first ``__init__`` that is Python's own: it fills built-in exceptions' fields."""
    for ancestor in kind.__mro__:
        init = ancestor.__dict__.get("__init__")
        if isinstance(init, types.WrapperDescriptorType):
            return init
    return BaseException.__init__


def slots_of(kind: type[BaseException]) -> list[str]:
    """Attributes that are not in the instance's ``__dict__``."""
    found: list[str] = []
    for ancestor in kind.__mro__:
        own: object = ancestor.__dict__.get("__slots__", ())
        names = [own] if isinstance(own, str) else list(cast("typing.Iterable[object]", own))
        for name in names:
            if isinstance(name, str) and name not in ("__dict__", "__weakref__"):
                private = name.startswith("__") and not name.endswith("__")
                found.append(f"_{ancestor.__name__.lstrip('_')}{name}" if private else name)
    return found


# --- annotations ------------------------------------------------------------------------------------------------------


class Hints(typing.NamedTuple):
    """What a class says of its instances: types of attributes, and of what it is called with, by position."""

    attributes: dict[str, Any]
    positional: list[Any]


_hints: WeakKeyDictionary[type, Hints] = WeakKeyDictionary()


def hints_of(kind: type[BaseException]) -> Hints:
    """By the annotations of the class, and of its ``__init__`` for attributes named as its parameters. What cannot be
    resolved is not there. Never raises.
    """
    found = _hints.get(kind)
    if found is None:
        found = _hints[kind] = _read_hints(kind)
    return found


def _read_hints(kind: type[BaseException]) -> Hints:
    attributes: dict[str, Any] = {}
    positional: list[Any] = []
    for ancestor in reversed(kind.__mro__):
        if not issubclass(ancestor, BaseException) or ancestor.__module__ == "builtins":
            continue
        init = ancestor.__dict__.get("__init__")
        if isinstance(init, types.FunctionType):
            named = _resolved(init.__annotations__, init.__globals__, ancestor)
            attributes |= named
            positional = _positional(init, named)
        module = sys.modules.get(ancestor.__module__)
        own = inspect.get_annotations(ancestor)
        attributes |= _resolved(own, vars(module) if module is not None else {}, ancestor)
    return Hints(attributes, positional)


def _positional(init: types.FunctionType, named: dict[str, Any]) -> list[Any]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = list(inspect.signature(init).parameters.values())[1:]
    except (ValueError, TypeError):
        return []
    return [named.get(one.name, Any) for one in parameters if one.kind in kinds]


def _resolved(annotations: dict[str, Any], names: dict[str, Any], owner: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, written in annotations.items():
        hint: Any = written
        if isinstance(written, str):
            try:
                hint = eval(written, dict(names), dict(vars(owner)))
            except BaseException:  # noqa: BLE001, S112 - a name of another scope, or one for type checkers only
                continue
        if name != "return" and typing.get_origin(hint) is not ClassVar and hint is not ClassVar:
            found[name] = hint
    return found


# --- stand-ins --------------------------------------------------------------------------------------------------------


class Standin:
    """What every stand-in has before what its class has: nothing of the user's runs."""

    def __init_subclass__(cls, **options: object) -> None:
        """Nothing: the user's may register its subclasses."""

    def __str__(self) -> str:
        return str(self.__dict__.get(TEXT, ""))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{name!r} of this {type(self).__name__} was not recorded: it came through a run's log")

    def __init__(self, *args: object) -> None:
        """Nothing: ``copy`` calls it."""

    # As of any object, whatever the user's class does.

    def __setattr__(self, name: str, value: Any, /) -> None:
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str, /) -> None:
        object.__delattr__(self, name)

    def __eq__(self, other: object, /) -> bool:
        return self is other

    def __hash__(self) -> int:
        return object.__hash__(self)


_standins: WeakKeyDictionary[type, dict[str, type[Exception] | None]] = WeakKeyDictionary()


def standin_for(kind: type[Exception]) -> type[Exception] | None:
    """The stand-in of a class; None if it has no subclasses."""
    return _made(kind, "", kind.__qualname__, kind.__module__)


def standin_below(base: type[Exception], name: str) -> type[Exception] | None:
    """A StepFailed that is a ``base``, too, for a class of that name that is not here."""
    return _made(base, name, name.rpartition(".")[2], name.rpartition(".")[0])


def _made(kind: type[Exception], below: str, qualname: str, module: str) -> type[Exception] | None:
    known = _standins.setdefault(kind, {})
    if below not in known:
        bases: tuple[type, ...] = (Standin, kind)
        if below and not issubclass(kind, errors.StepFailed):
            bases = (Standin, errors.StepFailed, kind)
        # BaseExceptionGroup looks at its own __init_subclass__ and at nothing else.
        space = {"__module__": module, "__qualname__": qualname, "__doc__": kind.__doc__}
        try:
            make: Callable[..., Any] = type(kind) if not below else type
            known[below] = make(qualname.rpartition(".")[2], bases, space)
        except BaseException:  # noqa: BLE001 - a class that has no subclasses, or a metaclass that wants something
            known[below] = None
    return known[below]
