"""Which code this is, as far as calls are concerned: digests of signatures, deep enough to tell two versions apart.

Two workers with the same fingerprint of a function encode and decode its calls alike: its parameters, the types of
them and of its result, and the classes that these are made of, with their fields and what runs when one is made. So if
a call cannot be decoded by code of the fingerprint that encoded it, the values are to blame; by other code, nothing is
known of the values. A fingerprint says nothing of what a body does.
"""

from __future__ import annotations

import enum
import inspect
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any, cast

FINGERPRINT_BYTES = 6
"""Enough to tell the versions of one function apart: it is compared with a handful of others, and stands in each call's
record."""

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
DEPTH_MAX = 50


def fingerprint_of(signature: inspect.Signature, hints: Mapping[str, Any]) -> bytes:
    """Of a function, by its parameters, their types and that of its result."""
    walk = _Walk()
    for parameter in signature.parameters.values():
        walk.say(parameter.name, parameter.kind.name, _default(parameter))
        walk.add(hints.get(parameter.name, Any))
    walk.say("return")
    walk.add(hints.get("return", Any))
    return walk.digest()


def _default(parameter: inspect.Parameter) -> str:
    """A default is part of each call that leaves it out, so another one is other code."""
    if parameter.default is parameter.empty:
        return ""
    return f"default {parameter.default!r}" if isinstance(parameter.default, _CONSTANTS) else "default"


def type_fingerprint(as_type: Any) -> bytes:
    """Of a type alone, such as a hook's."""
    walk = _Walk()
    walk.add(as_type)
    return walk.digest()


def joined_fingerprint(parts: Iterable[tuple[str, bytes]]) -> str:
    """Of many named things, in hex: that of a worker's whole code."""
    hashing = blake2b(digest_size=FINGERPRINT_BYTES)
    for name, part in parts:
        hashing.update(f"{name}\0".encode() + part + b"\0")
    return hashing.hexdigest()


class _Walk:
    def __init__(self) -> None:
        self._hashing = blake2b(digest_size=FINGERPRINT_BYTES)
        self._seen: set[int] = set()
        self._depth = 0

    def digest(self) -> bytes:
        return self._hashing.digest()

    def say(self, *words: str) -> None:
        for word in words:
            self._hashing.update(word.encode(errors="backslashreplace") + b"\0")

    def add(self, hint: Any) -> None:
        """A type with all that it is made of."""
        if self._depth >= DEPTH_MAX:
            return
        self._depth += 1
        try:
            self._add(hint)
        finally:
            self._depth -= 1

    def _add(self, hint: Any) -> None:
        origin, args = typing.get_origin(hint), typing.get_args(hint)
        if origin is not None:
            self.add(origin)
            for arg in args:
                self.add(arg)
            self.say("]")
        elif isinstance(hint, type):
            self.say(hint.__qualname__)
            if hint.__module__ not in _PLAIN_MODULES and id(hint) not in self._seen:
                self._seen.add(id(hint))
                self._class(hint)
        elif isinstance(hint, (list, tuple)):
            for one in cast("Iterable[Any]", hint):
                self.add(one)
        elif isinstance(hint, typing.NewType) or hasattr(hint, "__value__"):  # and PEP 695 aliases
            self.say(str(getattr(hint, "__name__", "")))
            if id(hint) not in self._seen:
                self._seen.add(id(hint))
                self.add(getattr(hint, "__supertype__", None) or getattr(hint, "__value__", None))
        else:
            self.say(_shown(hint))

    def _class(self, kind: type[Any]) -> None:
        if isinstance(kind, enum.EnumMeta):
            for member in cast("Iterable[enum.Enum]", kind):
                self.say(member.name, repr(member.value))
        for base in kind.__mro__[1:]:
            if base.__module__ not in _PLAIN_MODULES:
                self.add(base)
        for name, hint in _fields(kind):
            self.say(name)
            self.add(hint)
        for name, value in sorted(vars(kind).items()):
            for code in _codes(value):
                self.say(name)
                self._code(code)
        for name in ("__total__", "__required_keys__", "__struct_config__", "model_config", "__struct_defaults__"):
            value = getattr(kind, name, None)
            if value is not None:
                self.say(name, _shown(value))

    def _code(self, code: types.CodeType) -> None:
        """What a function does, without where it stands."""
        self._hashing.update(code.co_code)
        self.say(*code.co_names)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._code(constant)
            else:
                self.say(_shown(constant))


def _shown(value: object) -> str:
    """As text that is the same in every process: sets have no order, and objects an address."""
    if isinstance(value, (set, frozenset)):
        return repr(sorted(map(repr, cast("Iterable[object]", value))))
    return _ADDRESS.sub("", repr(value))


_PLAIN_MODULES = frozenset({"builtins", "typing", "types", "datetime", "decimal", "uuid", "enum", "abc", "collections"})
"""Classes that are the same everywhere."""


def _fields(kind: type[Any]) -> Iterator[tuple[str, Any]]:
    """The class's own annotations, resolved where they can be, each with the field's default if it has one."""
    own: Mapping[str, Any] = vars(kind).get("__annotations__", {})
    models: Mapping[str, Any] = getattr(kind, "model_fields", {}) if "model_fields" not in own else {}
    try:
        resolved = typing.get_type_hints(kind, include_extras=True)
    except Exception:  # noqa: BLE001 - evaluating an annotation runs whatever it says; the text of it tells versions apart
        resolved = dict(own)
    for name in own:
        default = vars(kind).get(name, _NOTHING)
        told = "" if default is _NOTHING or not isinstance(default, _CONSTANTS) else repr(default)
        field = _shown(models[name]) if name in models else ""
        yield f"{name} {told} {field} {name in vars(kind)}", resolved.get(name, own[name])


_NOTHING = object()
_CONSTANTS = (bool, int, float, str, bytes, type(None))


def _codes(value: Any) -> Iterator[types.CodeType]:
    """The code of a function, method, property or validator in a class's body."""
    for one in (value, *(getattr(value, name, None) for name in ("__func__", "fget", "wrapped", "func"))):
        inner: object = getattr(one, "__func__", one)
        if isinstance(inner, types.FunctionType):
            yield inner.__code__
