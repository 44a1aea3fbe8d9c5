"""Types of the standard library that msgspec does not know: deques, the dicts of ``collections``, tuples with a part of
any length, Enums and Literals whose values are not all texts or all numbers.

They are written as what stands for them in msgpack, so that who reads without a type sees lists, dicts and names. Only
a deque with a bound is an extension (type 14), for a list has none.
"""

from __future__ import annotations

import collections
import enum
import typing
from collections.abc import Callable
from typing import Any, cast

import msgspec

from fencepost import payload_marks as marks
from fencepost.payload_unions import Node, NoMember, Table, below, list_of

DICTS: tuple[type, ...] = (collections.OrderedDict, collections.defaultdict, collections.Counter)
FACTORIES: tuple[type, ...] = (list, dict, set, frozenset, tuple, str, int, float, bool, bytes)
"""What a defaultdict's factory may be: the class of its values, by which it is found again."""


class Deque:
    """A deque. Its bound is kept."""

    def __init__(self, item: Node) -> None:
        self._item = item

    def write(self, value: Any) -> Any:
        """A list; an extension if it has a bound."""
        if not isinstance(value, (collections.deque, list, tuple)):
            raise NoMember(f"{type(value).__qualname__} is no deque")
        held = list(cast("collections.deque[Any]", value))
        members = [below(f"[{index}]", self._item, member) for index, member in enumerate(held)]
        bound = getattr(cast(Any, value), "maxlen", None)
        if bound is None:
            return members
        return msgspec.msgpack.Ext(marks.BOUNDED, marks.encoder.encode([bound, members]))

    def read(self, tree: Any) -> Any:
        """The reverse."""
        bound, members = (tree.bound, tree.members) if isinstance(tree, marks.Bounded) else (None, list_of(tree))
        return collections.deque((self._item.read(member) for member in members), bound)


class DefaultTable(Table):
    """A defaultdict, whose factory is the class of its values."""

    def __init__(self, key: Node, value: Node, factory: type, *, pairs: bool) -> None:
        super().__init__(key, value, pairs=pairs, make=lambda held: collections.defaultdict(factory, held))
        self._factory = factory

    def write(self, value: Any) -> Any:
        """A dict. Raises NoMember for another factory, which would be lost."""
        factory: object = getattr(value, "default_factory", self._factory)
        if factory is not self._factory:
            raise NoMember(
                f"its default_factory is {factory!r}, and a log keeps none but {self._factory.__qualname__}, the class"
                " of its values: annotate dict, and make the defaultdict where it is used"
            )
        return super().write(value)


def dict_node(origin: type, args: tuple[Any, ...], node: Callable[[Any], Node], *, pairs: bool) -> Node:
    """Of one of ``DICTS``. Raises TypeError for a defaultdict whose factory cannot be known."""
    key = node(args[0] if args else Any)
    if origin is collections.Counter:
        return Table(key, node(int), pairs=pairs, make=collections.Counter)
    value = node(args[1] if args else Any)
    if origin is collections.OrderedDict:
        return Table(key, value, pairs=pairs, make=collections.OrderedDict)
    factory: Any = typing.get_origin(args[1]) or args[1] if args else None
    if factory not in FACTORIES:
        raise TypeError(
            "the default_factory of a defaultdict is known only where its values are one of "
            + ", ".join(one.__qualname__ for one in FACTORIES)
        )
    return DefaultTable(key, value, factory, pairs=pairs)


class StarRow:
    """A tuple with a part of any length, such as ``tuple[int, *tuple[str, ...]]``."""

    def __init__(self, head: tuple[Node, ...], rest: Node, tail: tuple[Node, ...]) -> None:
        self._head, self._rest, self._tail = head, rest, tail

    def write(self, value: Any) -> Any:
        """A list."""
        if not isinstance(value, (tuple, list)):
            raise NoMember(f"{type(value).__qualname__} is no tuple")
        members = list(cast("tuple[Any, ...]", value))
        nodes = self._nodes(len(members))
        return [below(f"[{n}]", node, member) for n, (node, member) in enumerate(zip(nodes, members, strict=True))]

    def read(self, tree: Any) -> Any:
        """The reverse."""
        members = list_of(tree)
        return tuple(node.read(member) for node, member in zip(self._nodes(len(members)), members, strict=True))

    def _nodes(self, count: int) -> tuple[Node, ...]:
        more = count - len(self._head) - len(self._tail)
        if more < 0:
            raise NoMember(f"has {count} members, its type has at least {count - more}")
        return (*self._head, *[self._rest] * more, *self._tail)


def row_with_star(args: tuple[Any, ...], star: int, node: Callable[[Any], Node]) -> Node:
    """Of the arguments of such a tuple. ``star``: the index of the part."""
    head, inner, tail = args[:star], typing.get_args(unpacked(args[star])), args[star + 1 :]
    if len(inner) != 2 or inner[1] is not ...:
        row: Any = tuple
        return node(row[(*head, *inner, *tail)])
    return StarRow(tuple(map(node, head)), node(inner[0]), tuple(map(node, tail)))


def star_of(args: tuple[Any, ...]) -> int | None:
    """The index of the part of any length in a tuple's arguments."""
    return next((index for index, one in enumerate(args) if unpacked(one) is not None), None)


def unpacked(kind: Any) -> Any:
    """The tuple inside ``*tuple[...]`` or ``Unpack[tuple[...]]``; None for anything else."""
    if getattr(kind, "__unpacked__", False) is True:
        row: Any = tuple
        return row[typing.get_args(kind)]
    if getattr(typing.get_origin(kind), "_name", "") == "Unpack":
        return typing.get_args(kind)[0]
    return None


class EnumNames:
    """An Enum whose values are not all texts or all numbers: by the names of its members."""

    def __init__(self, cls: type[enum.Enum]) -> None:
        self._cls = cls

    def write(self, value: Any) -> Any:
        """The member's name."""
        if not isinstance(value, self._cls) or value.name not in self._cls.__members__:
            raise NoMember(f"{value!r} is no member of {self._cls.__qualname__}")
        return value.name

    def read(self, tree: Any) -> Any:
        """The reverse. Whoever knows only the value may give that."""
        if isinstance(tree, str) and tree in self._cls.__members__:
            return self._cls[tree]
        try:
            return self._cls(tuple(list_of(tree)) if isinstance(tree, list) else tree)
        except ValueError:
            raise msgspec.ValidationError(f"Invalid enum value {tree!r}") from None


class Values:
    """A Literal that holds bytes or members of an Enum: those by their names."""

    def __init__(self, values: tuple[Any, ...]) -> None:
        self._values = values
        self._forms: list[Any] = [one.name if isinstance(one, enum.Enum) else one for one in values]
        if len({f"{type(form)}{form!r}" for form in self._forms}) < len(values):
            raise TypeError("two values of the Literal are written alike")

    def write(self, value: Any) -> Any:
        """The value, or the name of the member."""
        for one, form in zip(self._values, self._forms, strict=True):
            if type(value) is type(one) and value == one:
                return form
        raise NoMember(f"{value!r} is none of {', '.join(map(repr, self._values))}")

    def read(self, tree: Any) -> Any:
        """The reverse."""
        for one, form in zip(self._values, self._forms, strict=True):
            if type(tree) is type(form) and tree == form:
                return one
        raise msgspec.ValidationError(f"Expected one of {self._forms}, got {tree!r}")
