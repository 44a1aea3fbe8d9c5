"""A value beside its annotation, part by part: which type each member of a list, dict or object is meant to have, and
the same value with other members. Runs where a value does not fit at once; what fits is left to msgspec.
"""

from __future__ import annotations

import collections
import collections.abc
import copy
import dataclasses
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast

import msgspec

from fencepost import payload_marks as marks
from fencepost import payload_models as models
from fencepost.payload_collections import DICTS, star_of, unpacked
from fencepost.payload_plans import LISTS, SETS, TABLES, bare, hints_of, is_named_tuple, is_typed_dict
from fencepost.payload_unions import union_members

SEQUENCES = (*LISTS, collections.abc.Iterator)


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A member of a value. ``place``: what leads to it; ``key``: its index, key or field. ``kind``: its annotation."""

    place: Literal["item", "key", "value", "field"]
    key: Any
    value: Any
    kind: Any

    @property
    def suffix(self) -> str:
        """As it is written behind the path of the whole."""
        match self.place:
            case "field":
                return f".{self.key}"
            case "key":
                return f"[key {self.key!r}]"
            case _:
                return f"[{self.key!r}]"


def parts(value: Any, kind: Any) -> list[Part]:
    """The members with their annotations; none of what has no members, or is no value of the type."""
    kind = bare(kind)
    if (members := union_members(kind)) is not None:
        found = (parts(value, one) for one in members)
        return next(filter(None, found), list[Part]())
    return list(_parts(value, kind))


def _parts(value: Any, kind: Any) -> Iterator[Part]:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    cls = origin or kind
    if isinstance(value, dict):
        table = cast("dict[object, object]", value)
        if is_typed_dict(cls):
            hints = hints_of(kind, cls)
            yield from (Part("value", key, member, hints.get(str(key), Any)) for key, member in table.items())
        elif cls in TABLES or cls in DICTS:
            of_key, of_value = (*args, int) if len(args) == 1 else args or (Any, Any)
            for key, member in table.items():
                yield Part("key", key, key, of_key)
                yield Part("value", key, member, of_value)
    elif isinstance(value, tuple) and isinstance(cls, type) and is_named_tuple(cls) and isinstance(value, cls):
        hints = hints_of(kind, cls)
        names = cast("tuple[str, ...]", cast(Any, cls)._fields)
        for name, member in zip(names, cast("tuple[object, ...]", value), strict=False):
            yield Part("field", name, member, hints.get(name, Any))
    elif isinstance(value, (list, tuple, set, frozenset, collections.deque)):
        members = list(cast("list[Any]", value))
        for index, of_member in enumerate(_kinds_of_members(cls, args, len(members))):
            yield Part("item", index, members[index], of_member)
    elif not isinstance(cls, type) or cls is Any:
        return
    elif marks.is_model(value) and isinstance(value, cls):
        hints = models.fields_of(cls)
        held = marks.model_parts(value)
        yield from (Part("field", name, held[name], hint) for name, hint in hints.items() if name in held)
    elif isinstance(value, cls):
        names = marks.field_names(value)
        hints = hints_of(kind, cls) if names else {}
        yield from (Part("field", name, getattr(value, name), hints.get(name, Any)) for name in names)


def _kinds_of_members(cls: Any, args: tuple[Any, ...], count: int) -> list[Any]:
    if cls is tuple and (star := star_of(args)) is not None:
        inner: tuple[Any, ...] = typing.get_args(unpacked(args[star])) or (Any,)
        more = count - len(args) + 1
        return [*args[:star], *inner[:1] * more, *args[star + 1 :]] if more >= 0 else []
    if cls is tuple and args and args[-1] is not ...:
        return list(args) if len(args) == count else []
    if cls in (tuple, frozenset, collections.deque) or cls in SEQUENCES or cls in SETS:
        return [args[0] if args else Any] * count
    return []


def part_at(value: Any, kind: Any, path: str) -> tuple[Any, Any]:
    """The part of a value to which a path leads, as far as annotations lead there, and its annotation."""
    while path:
        found = next((part for part in parts(value, kind) if path.startswith(part.suffix)), None)
        if found is None:
            break
        value, kind, path = found.value, found.kind, path[len(found.suffix) :]
    return value, bare(kind)


def rebuilt(value: Any, old: list[Part], new: list[Any]) -> Any:
    """The value with other members, in the order of ``parts``. The value itself stays as it is."""
    if isinstance(value, dict):
        table: dict[Any, Any] = {}
        keys = {part.key: member for part, member in zip(old, new, strict=True) if part.place == "key"}
        for part, member in zip(old, new, strict=True):
            if part.place == "value":
                table[keys.get(part.key, part.key)] = member
        return table
    if isinstance(value, tuple) and is_named_tuple(type(cast(Any, value))):
        return type(cast(Any, value))(*new)
    if isinstance(value, collections.deque):
        return collections.deque(new, value.maxlen)
    kinds: tuple[Any, ...] = (list, tuple, set, frozenset)
    for make in kinds:
        if isinstance(value, make):
            return make(new)
    return twin(value, {part.key: member for part, member in zip(old, new, strict=True)})


def twin(value: Any, fields: Mapping[str, Any]) -> Any:
    """A shallow copy of an object with other values in some of its fields, frozen or not."""
    made = copy.copy(value)
    for name, member in fields.items():
        if isinstance(made, msgspec.Struct):
            msgspec.structs.force_setattr(made, name, member)
        else:
            object.__setattr__(made, name, member)  # a frozen dataclass refuses plain assignment; the twin is ours
    return made
