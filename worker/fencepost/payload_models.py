"""pydantic's models: written by what they hold, and made again without validating.

A model's dump is for the outside: it has other names (aliases), other values (serializers), more fields (computed ones)
or fewer (excluded ones), and what reads it validates, which may change values once more. So the log has what the
instance holds: each field by its annotation, which fields were set, extra fields and private attributes. It stands
behind extension type 13, with the name of the class; who reads without a type sees the fields as a dict.

What comes from elsewhere (a signal, a start by name, a class of another name, fields of another version) is validated,
as pydantic does.
"""

from __future__ import annotations

import enum
import re
import sys
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

import msgspec

from fencepost import payload_marks as marks
from fencepost.payload_unions import Leaf, Node, NoMember, below


class Model:
    """The node of one model class. The ``nodes`` of its fields are filled in later, for a class may hold itself."""

    def __init__(self, cls: Any) -> None:
        self.cls = cls
        self.name: str = f"{cls.__module__}.{cls.__qualname__}"
        self.nodes: dict[str, Node] = {}
        self.extra: Node = Leaf(Any, open=True)

    def write(self, value: Any) -> Any:
        """An extension. A dict is validated first. Raises NoMember, TypeError, ValueError."""
        if isinstance(value, dict):
            value = self.validated(value)
        if not isinstance(value, self.cls):
            raise NoMember(f"{type(value).__qualname__} is no {self.cls.__qualname__}")
        held = value.__dict__
        missing = [name for name in self.nodes if name not in held]
        if missing:
            raise NoMember(f"{self.cls.__qualname__} has no value for its field {missing[0]!r}")
        fields = {name: below(f".{name}", node, held[name]) for name, node in self.nodes.items()}
        given = [name for name in self.nodes if name in value.model_fields_set]
        extra = _each(self.extra, value.__pydantic_extra__)
        private = _each(Leaf(Any, open=True), value.__pydantic_private__)
        set_of = None if len(given) == len(fields) else given
        return msgspec.msgpack.Ext(marks.MODEL, marks.encoder.encode([self.name, fields, set_of, extra, private]))

    def read(self, tree: Any) -> Any:
        """The reverse; what is no such extension is validated. Raises ValueError."""
        if not isinstance(tree, marks.Held):
            return self.validated(marks.untold(tree))
        if tree.name != self.name or set(tree.fields) != set(self.nodes):
            known = {name: member for name, member in tree.fields.items() if name in self.nodes}
            return self.validated(marks.untold({**known, **(tree.extra or {})}))
        fields = {name: node.read(tree.fields[name]) for name, node in self.nodes.items()}
        extra = {name: self.extra.read(member) for name, member in (tree.extra or {}).items()}
        given = set(fields if tree.given is None else tree.given)
        made = self.cls.__new__(self.cls)
        made.__setstate__({
            "__dict__": fields,
            "__pydantic_fields_set__": given | set(extra),
            "__pydantic_extra__": None if tree.extra is None else extra,
            "__pydantic_private__": None if tree.private is None else marks.untold(tree.private),
        })  # fmt: skip
        return made

    def validated(self, plain: Any) -> Any:
        """From plain data, by alias or by name. Raises ValueError."""
        either: Any = {}
        if _takes_names():
            either = {"by_alias": True, "by_name": True}
        elif isinstance(plain, dict):
            plain = self._aliased(cast("dict[str, Any]", plain))
        try:
            return self.cls.model_validate(plain, **either)
        except ValueError as error:
            # A strict model takes from JSON what msgpack has no form for: a set, a date.
            try:
                return self.cls.model_validate_json(msgspec.json.encode(plain), **either)
            except (ValueError, TypeError, OverflowError):
                raise error from None

    def _aliased(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        """Field names as what the model validates by, where only their alias is taken."""
        found = dict(plain)
        for name, info in self.cls.model_fields.items():
            alias = info.validation_alias
            if isinstance(alias, str) and alias not in found and name in found:
                found[alias] = found.pop(name)
        return found


class Adapted:
    """A type that only pydantic knows (HttpUrl, IPv4Address, Path), inside a model: as its JSON, which is compared."""

    def __init__(self, kind: Any) -> None:
        self._adapter = _adapter(kind)

    def write(self, value: Any) -> Any:
        """What pydantic makes of it for JSON. Raises ValueError."""
        if type(value).__module__ == "pydantic.types" and hasattr(value, "get_secret_value"):
            raise NoMember(
                f"{type(value).__qualname__} hides its value, and a log keeps what it is given: pass the secret's name"
                " and look it up where it is used, or annotate str and encrypt values (payload_codecs)"
            )
        return self._adapter.dump_python(value, mode="json", round_trip=True)

    def read(self, tree: Any) -> Any:
        """The reverse. Raises ValueError."""
        return self._adapter.validate_json(msgspec.json.encode(tree))


def is_model(cls: Any) -> bool:
    """Whether it is a model's class, and says what it holds."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is None or not isinstance(cls, type) or not issubclass(cls, pydantic.BaseModel):
        return False
    if cls is pydantic.BaseModel:
        raise TypeError("BaseModel has no fields: annotate the model's own class")
    return True


def fields_of(cls: Any) -> dict[str, Any]:
    """The annotations of a model's fields."""
    found = {name: info.annotation for name, info in cls.model_fields.items()}
    if not cls.model_config.get("use_enum_values"):
        return found
    return {name: Any if _has_enum(kind) else kind for name, kind in found.items()}  # they hold values, not members


def extra_of(cls: Any) -> Any:
    """The annotation of a model's extra fields."""
    hint = typing.get_type_hints(cls).get("__pydantic_extra__")
    return next(iter(typing.get_args(hint)[1:]), Any)


@cache
def _takes_names() -> bool:
    """Whether pydantic can be asked to take fields by alias and by name alike (2.11)."""
    numbers = re.findall(r"\d+", sys.modules["pydantic"].VERSION)
    return tuple(map(int, numbers[:2])) >= (2, 11)


def _has_enum(kind: Any) -> bool:
    return (isinstance(kind, type) and issubclass(kind, enum.Enum)) or any(map(_has_enum, typing.get_args(kind)))


def _adapter(kind: Any) -> Any:
    pydantic: Any = sys.modules["pydantic"]
    try:
        return pydantic.TypeAdapter(kind, config={"arbitrary_types_allowed": True})
    except Exception as error:
        raise TypeError(str(error)) from error


def _each(node: Node, held: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if held is None else {name: below(f".{name}", node, member) for name, member in held.items()}
