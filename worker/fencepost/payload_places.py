"""Where inside a value the trouble is, and how to say it. Runs on the way to an error only, so it may encode again."""

from __future__ import annotations

import collections
import datetime
import enum
import inspect
from collections.abc import Iterator
from typing import cast

from fencepost import payload_marks as marks


def type_name(kind: object) -> str:
    """A type as people write it."""
    if isinstance(kind, type) and not hasattr(kind, "__origin__"):
        return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return str(kind).replace("typing.", "")


def way_out_of(kind: object) -> str:
    """What to annotate instead of a type that has no codec."""
    module = str(getattr(kind, "__module__", "")).partition(".")[0]
    if module in _WAYS_OUT:
        return _WAYS_OUT[module]
    if "ForwardRef(" in str(kind):
        return (
            "write an alias that holds itself as `type X = ...` (Python 3.12), make a dataclass of it, or annotate Any,"
            " which takes plain data of any depth"
        )
    if module == "collections":
        return "annotate list, dict or deque, and make the other of it where it is used"
    return (
        "annotate plain data: dataclasses, Structs, attrs classes, lists, dicts, str, numbers, dates and unions of them"
    )


def mismatch(error: Exception, as_type: object, path: str) -> str:
    """What was recorded and cannot be read. It was checked against the writer's annotation, if there was one.

    msgspec says "Expected `int`, got `str` - at `$.items[0]`": the place goes to the front, the words stay.
    """
    words, _, place = str(error).rpartition(" - at ")
    key, _, inside = place.strip("`").rpartition("` in `")
    where = f"{path}{inside.removeprefix('$')}{' (a key)' if key else ''}" if words else path
    return (
        f"{where or 'value'}: the recorded value does not fit the expected type {type_name(as_type)}: "
        f"{words or error}. It was given without this type (a signal, a start by name), or recorded under another"
        " annotation; keep what was recorded readable (defaults for new fields)"
    )


def unfit(error: Exception, kind: object) -> str:
    """What msgspec says of a value that does not fit its annotation where it is written."""
    words = str(error).partition(" - at `")[0]
    if "map keys must be hashable" in words:
        return (
            "holds an object as a key, which without a type comes back as a dict, and that can be no key: annotate it"
        )
    return f"does not fit its annotation {type_name(kind)}: {words}"


def way_out_of_change(value: object, kind: object) -> str:
    """What to do about a value that would come back otherwise. ``kind``: its annotation."""
    if isinstance(value, datetime.time):
        return f"the offset {value.utcoffset()} is written in whole minutes; give the time in UTC, or without a zone"
    if isinstance(value, Iterator):
        return "it can be read only once; pass list(...) of it"
    if kind is float and isinstance(value, int):
        return f"no float is equal to {str(value)[:40]}; annotate int"
    return "annotate its own class, and keep in its fields what is to come back"


def _children(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, member in cast(dict[object, object], value).items():
            yield f"[key {key!r}]", key
            yield f"[{key!r}]", member
    elif isinstance(value, (list, tuple, set, frozenset)):
        for index, member in enumerate(cast(list[object], value)):
            yield f"[{index}]", member
    elif marks.is_model(value):
        yield from ((f".{name}", member) for name, member in marks.model_parts(value).items())
    else:
        for name in marks.field_names(value):
            yield f".{name}", getattr(value, name)


def locate(value: object, path: str, error: Exception, mark: bool) -> tuple[str, str]:
    """The path of the innermost value that cannot be encoded, and why."""
    on_way: set[int] = set()
    while len(on_way) < marks.DEPTH_MAX:
        on_way.add(id(value))
        # A deque last: where its annotation is known, it is no trouble.
        for suffix, child in sorted(_children(value), key=lambda one: isinstance(one[1], collections.deque)):
            trouble = _trouble(child, mark)
            if trouble is not None:
                if id(child) in on_way:
                    return path + suffix, "refers back to a value that contains it: pass ids instead of references"
                value, path, error = child, path + suffix, trouble
                break
        else:
            return path, _reason(value, error)
    return path, f"is nested more than {marks.DEPTH_MAX} levels deep: flatten it, or pass a reference"


def _trouble(value: object, mark: bool) -> Exception | None:
    try:
        marks.encoder.encode(marks.rewrite(value, mark=mark, depth=0))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return error
    return None


_PLAIN_DATA = "pass plain data: a dataclass, dict, list, str or number"
_WAYS_OUT: dict[str, str] = {
    "pathlib": "pass str(path)",
    "_io": "pass the file's name or its content",
    "_thread": "create it where it is used",
}


def _reason(value: object, error: Exception) -> str:
    kind = type(value)
    if isinstance(error, OverflowError) and isinstance(value, datetime.datetime):
        return (
            f"{value.isoformat()} is no instant of the years 1 to 9999 in UTC, as which an aware datetime is written:"
            " give it in UTC, or without a zone"
        )
    if isinstance(error, OverflowError) and isinstance(value, int):
        return f"the integer {str(value)[:40]} does not fit 64 bits: annotate it as str, or leave it without a type"
    if isinstance(error, UnicodeError):
        return f"the text cannot be written as UTF-8 ({error}): pass bytes"
    if isinstance(error, RecursionError):
        return f"is nested more than {marks.DEPTH_MAX} levels deep: flatten it, or pass a reference"
    if isinstance(value, enum.Enum):
        return f"{type_name(kind)} cannot be encoded: give its members str or int values"
    if inspect.isawaitable(value):
        return f"{type_name(kind)} cannot be encoded: it was never awaited; await it, or make the function `async def`"
    way_out = _WAYS_OUT.get(kind.__module__.partition(".")[0], _PLAIN_DATA)
    if isinstance(value, collections.deque):
        way_out = "annotate deque[...], or pass list(...) of it"
    return f"{type_name(kind)} cannot be encoded: {way_out} ({error})"
