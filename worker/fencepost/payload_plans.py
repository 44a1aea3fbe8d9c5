"""From a type that msgspec refuses for a union in it to the nodes of ``payload_unions``. Raises TypeError, with the
way out, where a union's members cannot be told apart by their classes either.
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import datetime
import decimal
import enum
import inspect
import sys
import types
import typing
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import msgspec

from fencepost import payload_collections as collected
from fencepost import payload_models as models
from fencepost.payload_unions import (
    Choice,
    Fields,
    Items,
    Later,
    Leaf,
    Member,
    Node,
    Row,
    StructFields,
    Table,
    union_members,
)

LISTS = (
    list,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Collection,
    collections.abc.Iterable,
)
SETS = (set, collections.abc.Set, collections.abc.MutableSet)
TABLES = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


class Planner:
    """Builds the nodes of one type. ``leaf``: the node of a type that msgspec knows; raises TypeError for others.

    ``names``: after ``node``, whether a value must say of which class it is (in a model, pydantic finds out).
    """

    def __init__(self, leaf: Callable[[Any], Leaf]) -> None:
        self._leaf = leaf
        self._classes: dict[Any, Fields | models.Model] = {}
        self._aliases: dict[Any, Later] = {}
        self._in_model = False
        self.names: bool = False

    def node(self, kind: Any) -> Node:
        """Of a type, or a part of one."""
        if kind in self._aliases:
            return self._aliases[kind]  # it holds itself
        try:
            return self._leaf(kind)
        except (TypeError, RecursionError, KeyError) as error:  # KeyError: an attribute without an annotation
            refusal = error
        origin, args = typing.get_origin(kind), typing.get_args(kind)
        if is_alias(origin or kind):
            later = self._aliases[kind] = Later()
            later.node = self.node(alias_value(kind))
            return later
        if (inner := bare(kind)) is not kind:
            return self.node(inner)
        if (members := union_members(kind)) is not None:
            return self._choice(kind, members)
        if origin is typing.Literal:
            return collected.Values(_literals(args))
        if origin is tuple:
            if (star := collected.star_of(args)) is not None:
                return collected.row_with_star(args, star, self.node)
            if len(args) == 2 and args[1] is ...:
                return Items(tuple, self.node(args[0]))
            return Row(tuple, tuple(map(self.node, args)))
        if origin in LISTS:
            return Items(list, self.node(args[0]))
        if origin in SETS or origin is frozenset:
            return Items(frozenset if origin is frozenset else set, self.node(args[0]))
        if (origin or kind) is collections.deque:
            return collected.Deque(self.node(args[0] if args else Any))
        if origin in TABLES:
            return Table(self.node(args[0]), self.node(args[1]), pairs=not self._is_key(args[0]))
        if (origin or kind) in collected.DICTS:
            pairs = not self._is_key(args[0] if args else Any)
            try:
                return collected.dict_node(origin or kind, args, self.node, pairs=pairs)
            except TypeError as error:
                refusal = error
        made = self._class(kind, origin if isinstance(origin, type) else kind)
        if made is not None:
            return made
        if self._in_model:
            return models.Adapted(kind)
        raise refusal

    def _is_key(self, kind: Any) -> bool:
        """Whether values of the type are keys in msgpack as they are, and come back without a type as such."""
        if (kind := bare(kind)) in _KEYS:
            return True
        named = inspect.isclass(kind) and issubclass(kind, enum.Enum)
        if not named and typing.get_origin(kind) is not typing.Literal:
            return False
        try:
            self._leaf(kind)
        except TypeError:
            return False
        return True

    def _choice(self, kind: Any, kinds: tuple[Any, ...]) -> Choice:
        kinds = tuple(_flat(kinds))
        wanted = [one for one in kinds if one is not type(None)]
        runtime = [_runtime_of(one) for one in wanted]
        for number, one in enumerate(runtime):
            for other, earlier in zip(wanted, runtime[:number], strict=False):
                if one == earlier:
                    raise TypeError(
                        f"{_name(other)} and {_name(wanted[number])} of a union are both {_name(one[0])}, and nothing "
                        "tells their values apart: put one union inside (list[A | B]), or give each a dataclass"
                    )
        names = [_name(one) for one in wanted]
        members = tuple(
            Member(
                name=name if names.count(name) == 1 else _full_name(one),
                full_name=_full_name(one),
                kind=runs[0],
                node=self.node(one),
                values=runs[1],
            )
            for name, one, runs in zip(names, wanted, runtime, strict=True)
        )
        if len({member.name for member in members}) < len(members):
            raise TypeError(f"two members of {kind} have the same module and name")
        forms = [_FORMS.get(member.kind) or _form_of_class(member.kind) for member in members]
        plain = len(members) == 1 or (None not in forms and len(set(forms)) == len(forms))
        plain = plain and not any(member.values for member in members)
        by_form = {form: member for form, member in zip(forms, members, strict=True) if form is not None}
        self.names |= not plain and not self._in_model
        return Choice(members, optional=len(wanted) < len(kinds), by_form=by_form if plain else None)

    def _class(self, kind: Any, cls: Any) -> Node | None:
        if not inspect.isclass(cls):
            return None
        if issubclass(cls, enum.Enum):
            return collected.EnumNames(cls)
        if (known := self._classes.get(kind)) is not None:
            return known  # it holds itself
        if is_named_tuple(cls):
            hints = hints_of(kind, cls)
            fields = cast("tuple[str, ...]", cast(Any, cls)._fields)
            return Row(lambda members: cls(*members), tuple(self.node(hints[name]) for name in fields))
        if models.is_model(cls):
            return self._model(kind, cls)
        found = _maker(cls)
        if found is None:
            return None
        make, names = found
        hints = hints_of(kind, cls)
        node = StructFields(make, cls) if issubclass(cls, msgspec.Struct) else Fields(make)
        self._classes[kind] = node
        node.nodes.update({name: self.node(hints.get(name, Any)) for name in names or hints})
        return node

    def _model(self, kind: Any, cls: Any) -> Node:
        made = self._classes[kind] = models.Model(cls)
        outside, self._in_model = self._in_model, True
        try:
            made.nodes.update({name: self.node(hint) for name, hint in models.fields_of(cls).items()})
            made.extra = self.node(models.extra_of(cls))
        finally:
            self._in_model = outside
        return made


_KEYS: frozenset[Any] = frozenset({
    *(str, bytes, int, float, bool, type(None), None),
    *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID),
})  # fmt: skip


def _flat(kinds: tuple[Any, ...]) -> Iterator[Any]:
    """The members of a union, with those of unions that are members by another name."""
    for kind in kinds:
        if (inner := union_members(bare(kind))) is not None:
            yield from _flat(inner)
        else:
            yield kind


_FORMS: dict[type, type] = {
    **{kind: kind for kind in (bool, int, float, str, bytes, dict, list)},
    **dict.fromkeys((tuple, set, frozenset, collections.abc.Sequence, collections.abc.Set, collections.deque), list),
    **dict.fromkeys((collections.abc.Mapping, collections.OrderedDict, collections.defaultdict), dict),
}
"""For types that are always one thing in msgpack."""


def _form_of_class(kind: Any) -> type | None:
    if issubclass(kind, tuple):
        return list
    if dataclasses.is_dataclass(kind) or hasattr(kind, "__attrs_attrs__"):
        return dict
    return dict if models.is_model(kind) and not kind.__pydantic_root_model__ else None


def bare(kind: Any) -> Any:
    """A type without what stands around it: Annotated, NewType, NotRequired, an alias's name, a type variable."""
    while True:
        origin = typing.get_origin(kind)
        if origin in _WRAPPERS or origin is _read_only():
            kind = typing.get_args(kind)[0]
        elif isinstance(kind, typing.NewType):
            kind = kind.__supertype__
        elif isinstance(kind, typing.TypeVar):
            kind = kind.__bound__ if kind.__bound__ is not None else Any
        elif kind is typing.LiteralString:
            return str
        elif is_alias(origin or kind):
            kind = alias_value(kind)
        else:
            return kind


_WRAPPERS = (
    typing.Annotated,
    typing.Required,
    typing.NotRequired,
    typing.Final,
    getattr(typing, "ReadOnly", typing.Final),
)


def _read_only() -> Any:
    """``ReadOnly`` of typing_extensions, if that is loaded: of typing's own only from Python 3.13 on."""
    return getattr(sys.modules.get("typing_extensions"), "ReadOnly", typing.Final)


def starred(kind: Any, classes: Iterable[Any]) -> bool:
    """Whether there is a tuple with a part of any length in the type, or in a field of the classes that it holds."""
    return _has_star(kind) or any(
        any(map(_has_star, class_hints(cls, include_extras=True).values()))
        for cls in classes
        if isinstance(cls, type) and getattr(cls, "__annotations__", None)
    )


def _has_star(kind: Any) -> bool:
    args: Any = typing.get_args(kind)
    return (typing.get_origin(kind) is tuple and collected.star_of(args) is not None) or any(map(_has_star, args))


def _literals(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values of a Literal, those of Literals inside it, too."""
    return tuple(value for one in args for value in (typing.get_args(one) or (one,)))


def is_alias(kind: Any) -> bool:
    """Whether it is what a ``type X = ...`` statement makes (3.12)."""
    return type(kind).__name__ == "TypeAliasType"


def alias_value(kind: Any) -> Any:
    """What the alias stands for, with its arguments put in."""
    origin, args = typing.get_origin(kind) or kind, typing.get_args(kind)
    return _filled(origin.__value__, dict(zip(origin.__type_params__, args, strict=False)))


def is_typed_dict(cls: Any) -> bool:
    """Whether it is a TypedDict, of ``typing`` or of ``typing_extensions``."""
    return hasattr(cls, "__total__") and isinstance(cls, type) and issubclass(cls, dict)


def is_named_tuple(cls: Any) -> bool:
    """Whether it is the class of a named tuple."""
    return issubclass(cls, tuple) and hasattr(cast(Any, cls), "_fields")


def class_hints(cls: Any, *, include_extras: bool = False) -> dict[str, Any]:
    """``typing.get_type_hints`` of a class. Before Python 3.12.4 that does not know the class's own parameters
    (``class Box[T]``) in an annotation that is text.
    """
    try:
        return typing.get_type_hints(cls, include_extras=include_extras)
    except NameError:
        parameters = {one.__name__: one for base in cls.__mro__ for one in getattr(base, "__type_params__", ())}
        if not parameters:
            raise
        return typing.get_type_hints(cls, localns={**vars(cls), **parameters}, include_extras=include_extras)


def _maker(cls: Any) -> tuple[Callable[[dict[str, Any]], Any], tuple[str, ...]] | None:
    """How an object of the class is made of its fields, and their names (none: all that are annotated)."""
    if is_typed_dict(cls):
        return dict, ()
    if dataclasses.is_dataclass(cls):
        fields = dataclasses.fields(cls)
        if any(isinstance(hint, dataclasses.InitVar) for hint in class_hints(cls).values()):
            return None  # what it was made of is not kept
        return _made(cast(Any, cls), {f.name: f.name for f in fields if f.init}), tuple(f.name for f in fields)
    if (attributes := getattr(cls, "__attrs_attrs__", None)) is not None:
        return _made(cls, {a.name: a.alias for a in attributes if a.init}), tuple(a.name for a in attributes)
    if issubclass(cls, msgspec.Struct):
        return _made(cls, {name: name for name in cls.__struct_fields__}), cls.__struct_fields__
    return None


def _made(cls: Callable[..., Any], parameters: dict[str, str]) -> Callable[[dict[str, Any]], Any]:
    """By the class's own ``__init__``; fields that it does not take are set behind it."""

    def make(held: dict[str, Any]) -> Any:
        made = cls(**{parameters[name]: value for name, value in held.items() if name in parameters})
        for name, value in held.items():
            if name not in parameters:
                object.__setattr__(made, name, value)
        return made

    return make


def hints_of(kind: Any, cls: Any) -> dict[str, Any]:
    """The annotations of a class, with what stands for its type parameters put in. Raises what an annotation raises."""
    given: dict[Any, dict[Any, Any]] = {}
    _parameters_of(kind, cls, given)
    found: dict[str, Any] = {}
    for name, hint in class_hints(cls, include_extras=True).items():
        if not _is_class_variable(hint):
            owner = next((one for one in cls.__mro__ if name in inspect.get_annotations(one)), cls)
            found[name] = _filled(hint, given.get(owner, {}))
    return found


def _parameters_of(kind: Any, cls: Any, given: dict[Any, dict[Any, Any]]) -> None:
    """What stands for the type parameters of the class and of each of its bases."""
    parameters = getattr(cls, "__parameters__", ())
    mine = dict(zip(parameters, typing.get_args(kind) or map(bare, parameters), strict=False))
    given.setdefault(cls, mine)
    for base in getattr(cls, "__orig_bases__", ()):
        origin = typing.get_origin(base)
        if origin is not None and origin is not typing.Generic:
            _parameters_of(_filled(base, mine), origin, given)


def _filled(hint: Any, given: dict[Any, Any]) -> Any:
    if isinstance(hint, typing.TypeVar):
        return given.get(hint, Any)
    needed = getattr(hint, "__parameters__", ())
    if not needed or isinstance(hint, type):
        return hint
    return hint[tuple(given.get(parameter, Any) for parameter in needed)]


def _is_class_variable(hint: Any) -> bool:
    return hint is typing.ClassVar or typing.get_origin(hint) is typing.ClassVar


def _runtime_of(kind: Any) -> tuple[type, tuple[Any, ...]]:
    """What isinstance is asked for, and the values of a Literal."""
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return _runtime_of(typing.get_args(kind)[0])
    if origin is typing.Literal:
        return object, typing.get_args(kind)
    if isinstance(kind, typing.NewType):
        return _runtime_of(kind.__supertype__)
    found = origin if origin is not None else kind
    if is_typed_dict(found):
        return dict, ()
    if not isinstance(found, type) or isinstance(found, types.GenericAlias):
        raise TypeError(f"{kind} cannot be a member of a union")
    return found, ()


def _name(kind: Any) -> str:
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return _name(typing.get_args(kind)[0])
    if origin is typing.Literal:
        return "Literal"
    return str(getattr(origin or kind, "__name__", kind))


def _full_name(kind: Any) -> str:
    found: Any = typing.get_origin(kind) or kind
    return f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', found)}"
