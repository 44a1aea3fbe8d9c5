"""Whether what was written can be read again: asked when a value is written, so that what does not fit its annotation
is the error of whoever gave it, and not of whoever reads it later.

The check decodes what was encoded and compares. Where the type alone says that nothing can go wrong (an exact int for
``int``), it is left out (``AT_ONCE``); a test holds that both agree.

What a type checker accepts is accepted, and comes back as the annotated type: a bool for ``int``, an int for ``float``
if it is the same number, a datetime for ``date``, an instance of a subclass.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import typing
import uuid
from collections import abc, deque
from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec

from fencepost import payload_marks as marks
from fencepost.payload_plans import LISTS, SETS, TABLES, bare
from fencepost.payload_unions import union_members
from fencepost.payload_walk import parts, rebuilt

AT_ONCE: frozenset[object] = frozenset({int, str, bool, bytes, float, type(None), datetime.timedelta, uuid.UUID})
"""The type alone proves that a value of it that could be encoded is read as itself."""


def conformed(value: Any, kind: Any, depth: int = 0) -> Any:
    """The value with what type checkers accept for its annotation turned into the annotated type; the same object if
    there is nothing to turn.
    """
    kind = bare(kind)
    if (members := union_members(kind)) is not None:
        plain = [bare(member) for member in members]
        if type(value) in plain:
            return conformed(value, type(value), depth)
        turned = (conformed(value, member, depth) for member in plain)
        return next((one for one in turned if one is not value), value)
    if (plain := _collected(value, typing.get_origin(kind) or kind)) is not value:
        return conformed(plain, kind, depth)
    if kind is int and isinstance(value, bool):
        return int(value)
    if kind is float and isinstance(value, int):
        return _as_float(value)
    if kind is datetime.date and isinstance(value, datetime.datetime):
        return datetime.date(value.year, value.month, value.day)
    if depth > marks.DEPTH_MAX:
        return value
    if isinstance(value, msgspec.Struct) and isinstance(kind, type) and _is_below(type(value), kind):
        value = kind(**{name: getattr(value, name) for name in cast(Any, kind).__struct_fields__})
        return conformed(value, kind, depth + 1)
    old = parts(value, kind)
    new = [conformed(part.value, part.kind, depth + 1) for part in old]
    return rebuilt(value, old, new) if any(one is not part.value for one, part in zip(new, old, strict=True)) else value


def turned_or_raise(value: Any, kind: Any, refusal: Exception) -> Any:
    """What cannot be written as it is, as the annotated type; raises the refusal if that is no other value."""
    turned = value if isinstance(refusal.__cause__, RecursionError) else conformed(value, kind)
    if turned is value:
        raise refusal
    return turned


def _is_below(cls: type, base: type) -> bool:
    """Whether it is another Struct, with a tag of its own or with fields that the base forbids."""
    return cls is not base and issubclass(base, msgspec.Struct) and issubclass(cls, base)


def _collected(value: Any, cls: Any) -> Any:
    """What is no list, set or dict, where any collection of its kind is accepted: as one."""
    forms = ((_ANY_LIST, abc.Collection, list), (_ANY_SET, abc.Set, set), (_ANY_DICT, abc.Mapping, dict))
    makers = [make for kinds, collection, make in forms if cls in kinds and issubclass(type(value), collection)]
    if not makers or issubclass(type(value), _BUILT_IN):
        return value
    return cast("type[Any]", makers[0])(value)


_BUILT_IN = (str, bytes, bytearray, memoryview, list, tuple, set, frozenset, dict)
_ANY_LIST: frozenset[Any] = frozenset(LISTS).difference([list])
_ANY_SET: frozenset[Any] = frozenset(SETS).difference([set])
_ANY_DICT: frozenset[Any] = frozenset(TABLES).difference([dict])


def _as_float(value: int) -> Any:
    try:
        number = float(value)
    except OverflowError:
        return value
    return number if number == value else value


def difference(before: Any, after: Any, where: str = "", strict: bool = False) -> str | None:
    """The path of what would not come back as it was given, None if all does. ``strict``: inside a model, whose values
    pydantic has made what they are to be, nothing comes back as another class.

    Equal, of the annotated type: what is documented as a conversion is no difference. Fields are compared one by one,
    for a class's own ``__eq__`` may leave some out.
    """
    if before is after or before is None or after is None:
        return None if before is after else where
    if strict and not isinstance(before, type(after)):
        return where
    if isinstance(before, enum.Enum) and not isinstance(after, enum.Enum):
        if after == before.name and type(after) is str:
            return None
        return difference(before.value, after, where, strict)
    if isinstance(before, msgspec.Struct) and isinstance(after, (dict, list)):
        before = _as_written(before, cast("dict[str, Any] | list[Any]", after))
    if isinstance(after, dict):
        return _in_dict(before, cast("dict[object, object]", after), where, strict)
    if isinstance(after, (set, frozenset)):
        return _in_set(before, cast("frozenset[Any]", after), where, strict)
    if isinstance(after, (list, tuple, deque)):
        return _in_list(before, cast("list[Any]", after), where, strict)
    if marks.is_model(after):
        return _in_model(before, after, where)
    names = marks.field_names(after)
    if not names:
        return None if _same_leaf(before, after) else where
    return _in_fields(before, after, names, where, strict)


def _as_written(value: msgspec.Struct, read: dict[str, Any] | list[Any]) -> dict[str, Any] | list[Any]:
    """The fields of a Struct as whoever reads it without its type sees them: under the names that are written, without
    its tag. ``read``: what was made of it; what that lacks has its default.
    """
    config = value.__struct_config__
    members = [getattr(value, name) for name in value.__struct_fields__]
    if isinstance(read, list):
        return [*([] if config.tag is None else [config.tag]), *members]
    fields = dict(zip(value.__struct_encode_fields__, members, strict=True))
    if config.omit_defaults:
        fields = {name: member for name, member in fields.items() if name in read}
    return fields if config.tag is None or config.tag_field is None else {config.tag_field: config.tag, **fields}


def _in_dict(before: Any, after: dict[object, object], where: str, strict: bool) -> str | None:
    held = _held(before)
    if held is None:
        return where
    if len(held) != len(after):
        gone = [key for key in held if key not in after]
        return f"{where}[{gone[0]!r}]" if gone else where
    for (key, member), (other_key, other) in zip(held.items(), after.items(), strict=True):
        found = difference(key, other_key, f"{where}[key {key!r}]", strict)
        found = found or difference(member, other, f"{where}[{key!r}]", strict)
        if found is not None:
            return found
    return None


def _in_set(before: Any, after: Iterable[Any], where: str, strict: bool) -> str | None:
    if not isinstance(before, _MANY):
        return where
    left = list(after)
    for member in cast("list[object]", before):
        fits = [index for index, one in enumerate(left) if difference(member, one, "", strict) is None]
        if not fits:
            return f"{where}[{member!r}]"
        del left[fits[0]]
    return where if left else None


def _in_list(before: Any, after: abc.Sequence[Any], where: str, strict: bool) -> str | None:
    if not isinstance(before, _MANY):
        return where
    members = list(cast("list[object]", before))
    if len(members) != len(after):
        return where
    if isinstance(before, (set, frozenset)):
        # By an annotation such as Collection. Without one, objects in a set are dicts, and it is none any more.
        return where if any(map(marks.unhashable, after)) else _in_set(before, after, where, strict)
    numbered = enumerate(zip(members, after, strict=True))
    found = (difference(member, other, f"{where}[{index}]", strict) for index, (member, other) in numbered)
    return next((one for one in found if one is not None), None)


def _in_fields(before: Any, after: Any, names: tuple[str, ...], where: str, strict: bool) -> str | None:
    given = isinstance(before, Mapping)  # a dict of the fields, by the names that are written
    held = _held(before)
    written = marks.written_names(after) if given else names
    if held is None:
        return where
    for name, key in zip(names, written, strict=True):
        if key in held:
            found = difference(held[key], getattr(after, name), f"{where}.{name}", strict)
            if found is not None:
                return found
        elif not given:
            return f"{where}.{name}"
    gone = [key for key in held if given and key not in written]
    return f"{where}[{gone[0]!r}]" if gone else None


def _in_model(before: Any, after: Any, where: str) -> str | None:
    if not isinstance(before, type(after)):
        return None if isinstance(before, Mapping) else where
    old, new = marks.model_parts(before), marks.model_parts(after)
    if type(before) is type(after) and (before.model_fields_set != after.model_fields_set or old.keys() != new.keys()):
        return where
    for name, member in new.items():
        found = difference(old[name], member, f"{where}.{name}", strict=True) if name in old else f"{where}.{name}"
        if found is not None:
            return found
    return None


_MANY = (list, tuple, set, frozenset, deque)


def _held(value: Any) -> Mapping[object, Any] | None:
    """Members by key, fields by name; None for what has neither."""
    if isinstance(value, Mapping):
        return cast("Mapping[object, Any]", value)
    if marks.is_model(value):
        return {**marks.model_fields(value), **(value.__pydantic_extra__ or {})}
    return {name: getattr(value, name) for name in marks.field_names(value)} if marks.has_fields(value) else None


_TEXT_OF = (datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID, enum.Enum)


def _same_leaf(before: Any, after: Any) -> bool:
    if isinstance(before, decimal.Decimal) and isinstance(after, decimal.Decimal):
        return before.as_tuple() == after.as_tuple()  # a signalling NaN cannot be compared
    if before == after:
        return True
    if isinstance(before, (str, int, float)) and isinstance(after, _TEXT_OF):
        return _stands_for(before, after)
    if isinstance(before, _TEXT_OF) and isinstance(after, str):
        return bool(msgspec.to_builtins(marks.plain_of(before)) == after)
    match before, after:
        case float(), float():
            return before != before and after != after
        case datetime.datetime(), datetime.date():
            return (before.year, before.month, before.day) == (after.year, after.month, after.day)
        case _:
            return False


def _stands_for(text: str | float, value: Any) -> bool:
    """Whether it is the text, or the number, of a date, a UUID, a Decimal or an Enum's member."""
    if isinstance(value, enum.Enum):
        return bool(value.value == text)
    try:
        kind: type[Any] = value.__class__
        found: object = msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        return False
    return _same_leaf(found, value)
