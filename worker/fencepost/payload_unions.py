"""Types that msgspec does not take by itself: unions whose members msgpack cannot tell apart (two dataclasses,
``Decimal | str``, ``list[int] | set[int]``), and what holds itself by a name (``type Json = dict[str, Json] | str``).

The member's name is written with the value (extension type 12), so that it comes back as what it was. What can be told
apart without (``Order | None``, ``int | str``, Structs with a tag) is written as ever and does not come here. A type
that has such a union inside is walked member by member in Python; the parts of it that have none are still msgspec's.

The name is the class's own, or with its module where two members have the same. It is part of the log: a class that is
renamed no longer fits what was recorded under its old name. A value that was recorded before its type became a union
has no name: it is taken if exactly one member fits.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, cast

import msgspec

from fencepost import payload_marks as marks


class NoMember(TypeError):
    """A value is none of the union's members. ``where``: the path inside the value."""

    where = ""


class Node(Protocol):
    """How the values of one type are written and read."""

    def write(self, value: Any) -> Any:
        """What the encoder is given. Raises NoMember, TypeError."""
        ...

    def read(self, tree: Any) -> Any:
        """From what the decoder gives. Raises msgspec.ValidationError, TypeError, ValueError."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Leaf:
    """A type that msgspec knows."""

    kind: Any
    open: bool

    def write(self, value: Any) -> Any:
        """As outside of unions."""
        return marks.rewrite(value, mark=self.open, depth=0)

    def read(self, tree: Any) -> Any:
        """As outside of unions."""
        return msgspec.convert(marks.untold(tree), self.kind, dec_hook=marks.from_builtins)


class Later:
    """A node that is not made yet, for what holds itself. ``node`` is filled in."""

    def __init__(self) -> None:
        self.node: Node | None = None

    def write(self, value: Any) -> Any:
        """As the node does. Raises RecursionError beyond DEPTH_MAX levels."""
        assert self.node is not None, "written before the type was read"
        return self.node.write(value)

    def read(self, tree: Any) -> Any:
        """As the node does."""
        assert self.node is not None, "read before the type was read"
        return self.node.read(tree)


@dataclasses.dataclass(frozen=True, slots=True)
class Items:
    """A list, set, frozenset or tuple of one type."""

    make: Callable[[list[Any]], Any]
    item: Node

    def write(self, value: Any) -> Any:
        """A list; of a set, in the order of its members' bytes."""
        members = [below(f"[{index}]", self.item, member) for index, member in enumerate(value)]
        if isinstance(value, (set, frozenset)):
            return [msgspec.Raw(body) for body in sorted(map(marks.encoder.encode, members))]
        return members

    def read(self, tree: Any) -> Any:
        """The reverse."""
        return self.make([self.item.read(member) for member in _of(list, tree)])


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A tuple or named tuple of known length."""

    make: Callable[[list[Any]], Any]
    items: tuple[Node, ...]

    def write(self, value: Any) -> Any:
        """A list."""
        if len(value) != len(self.items):
            raise NoMember(f"has {len(value)} members, its type has {len(self.items)}")
        return [below(f"[{n}]", node, member) for n, (node, member) in enumerate(zip(self.items, value, strict=True))]

    def read(self, tree: Any) -> Any:
        """The reverse."""
        members = _of(list, tree)
        return self.make([node.read(member) for node, member in zip(self.items, members, strict=True)])


class Table:
    """A dict whose keys or values have such a part. ``pairs``: what its keys are written as can be no key in msgpack,
    so that it is written as its pairs. ``make``: what becomes of the dict.
    """

    def __init__(
        self, key: Node, value: Node, *, pairs: bool = False, make: Callable[[dict[Any, Any]], Any] = dict
    ) -> None:
        self._key, self._value, self._pairs, self._make = key, value, pairs, make

    def write(self, value: Any) -> Any:
        """A dict, or its pairs."""
        if not isinstance(value, dict):
            raise NoMember(f"{type(value).__qualname__} is no dict")
        table = cast("Mapping[Any, Any]", value)
        if not self._pairs:
            return {key: below(f"[{key!r}]", self._value, member) for key, member in table.items()}
        pairs = [
            [below(f"[key {key!r}]", self._key, key), below(f"[{key!r}]", self._value, member)]
            for key, member in table.items()
        ]
        return msgspec.msgpack.Ext(marks.PAIRS, marks.encoder.encode(pairs))

    def read(self, tree: Any) -> Any:
        """The reverse."""
        held = tree.pairs if isinstance(tree, marks.Pairs) else _of(dict, tree).items()
        return self._make({self._key.read(key): self._value.read(member) for key, member in held})


class Fields:
    """A dataclass, attrs class, Struct or TypedDict with such a union in a field. Filled in after it is made, for a
    class may hold itself.
    """

    def __init__(self, make: Callable[[dict[str, Any]], Any]) -> None:
        self.make = make
        self.nodes: dict[str, Node] = {}

    def write(self, value: Any) -> Any:
        """A dict of the fields that are there."""
        if isinstance(value, dict):
            table = cast("dict[str, Any]", value)
            return {name: below(f"[{name!r}]", self.nodes[name], table[name]) for name in table if name in self.nodes}
        return {name: below(f".{name}", node, getattr(value, name)) for name, node in self._there(value)}

    def _there(self, value: Any) -> Iterator[tuple[str, Node]]:
        return ((name, node) for name, node in self.nodes.items() if hasattr(value, name))

    def read(self, tree: Any) -> Any:
        """The reverse. Fields that are not known any more are passed over."""
        held = _of(dict, tree)
        return self.make({name: self.nodes[name].read(held[name]) for name in held if name in self.nodes})


class StructFields(Fields):
    """A Struct with such a part, written as msgspec writes Structs: by its tag, renamed fields, or as an array."""

    def __init__(self, make: Callable[[dict[str, Any]], Any], cls: Any) -> None:
        super().__init__(make)
        config = cls.__struct_config__
        self._written: tuple[str, ...] = cls.__struct_encode_fields__
        self._as_array: bool = config.array_like
        self._tag: list[Any] = [] if config.tag is None else [config.tag]
        self._tagged = {} if config.tag is None else {config.tag_field: config.tag}

    def write(self, value: Any) -> Any:
        """A dict or an array."""
        fields = super().write(value)
        if self._as_array and not isinstance(value, dict):
            return [*self._tag, *fields.values()]
        return {**self._tagged, **{self._named(name): tree for name, tree in fields.items()}}

    def read(self, tree: Any) -> Any:
        """The reverse."""
        if self._as_array and not isinstance(tree, dict):
            return super().read(dict(zip(self.nodes, _of(list, tree)[len(self._tag) :], strict=False)))
        back = dict(zip(self._written, self.nodes, strict=True))
        return super().read({back.get(name, name): member for name, member in _of(dict, tree).items()})

    def _named(self, field: str) -> str:
        return dict(zip(self.nodes, self._written, strict=True)).get(field, field)


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """One of a union. ``kind``: what isinstance is asked for; ``values``: of a Literal."""

    name: str
    full_name: str
    kind: type
    node: Node
    values: tuple[Any, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """The union itself. ``by_form``: where each member has a form of its own in msgpack, the member by it; then no name
    is written."""

    members: tuple[Member, ...]
    optional: bool
    by_form: Mapping[type, Member] | None = None

    def write(self, value: Any) -> Any:
        """The member's name and the value."""
        if value is None and self.optional:
            return None
        member = self._member_of(value)
        if self.by_form is not None:
            return member.node.write(value)
        return msgspec.msgpack.Ext(marks.TAGGED, marks.encoder.encode([member.name, member.node.write(value)]))

    def read(self, tree: Any) -> Any:
        """The reverse."""
        if tree is None and self.optional:
            return None
        if isinstance(tree, marks.Tagged):
            for member in self.members:
                if tree.name in (member.name, member.full_name):
                    return member.node.read(tree.body)
            raise msgspec.ValidationError(f"Expected {self._told()}, got a {tree.name!r}")
        if self.by_form is not None:
            form = marks.form_of(tree)
            found = self.by_form.get(form) or (self.by_form.get(float) if form is int else None)
            if len(self.members) == 1:
                found = self.members[0]
            if found is None:
                raise msgspec.ValidationError(f"Expected {self._told()}, got `{type(tree).__name__}`")
            return found.node.read(tree)
        fits: list[tuple[Member, Any]] = []
        for member in self.members:
            try:
                fits.append((member, member.node.read(tree)))
            except (msgspec.ValidationError, TypeError, ValueError):
                continue
        if len(fits) != 1:
            which = ", ".join(member.name for member, _ in fits) or "none of them"
            raise msgspec.ValidationError(f"Expected {self._told()}; recorded without a name, it fits {which}")
        return fits[0][1]

    def _member_of(self, value: Any) -> Member:
        for member in self.members:
            if any(value == one and type(value) is type(one) for one in member.values):
                return member
        plain = [member for member in self.members if not member.values]
        for base in type(value).__mro__:
            for member in plain:
                if member.kind is base:
                    return member
        for member in plain:
            if isinstance(value, member.kind) or (member.kind is float and type(value) is int):
                return member
        raise NoMember(f"{type(value).__qualname__} is none of {self._told()}")

    def _told(self) -> str:
        return " | ".join([member.name for member in self.members] + ["None"] * self.optional)


def below(where: str, node: Node, value: Any) -> Any:
    """What the node writes for a part of a value. Raises what it raises, NoMember with the place."""
    try:
        return node.write(value)
    except NoMember as error:
        error.where = where + error.where
        raise


def _of(kind: type, tree: Any) -> Any:
    if not isinstance(tree, (list, tuple) if kind is list else kind):
        raise msgspec.ValidationError(f"Expected `{kind.__name__}`, got `{type(tree).__name__}`")
    return tree


def list_of(tree: Any) -> list[Any]:
    """What was written as a list. Raises msgspec.ValidationError."""
    return cast("list[Any]", _of(list, tree))


def union_members(kind: Any) -> tuple[Any, ...] | None:
    """The members of a union, None for anything else."""
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else None
