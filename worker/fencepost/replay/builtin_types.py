"""Attributes of types that Python code may not set: those that are written in C.

The hash of a future, and what ``datetime.now`` answers, are decided by such types, and user code holds them under names
of its own (``from asyncio import Future``, subclasses, ``from datetime import datetime``). To replace a module's name
would not reach it. So the type itself is changed, once, for the process; outside a workflow the new attribute does what
the old one did.

A type's attributes are a dict that only Python's own ``setattr`` protects. Its hash is a pointer beside it as well
(``tp_hash``), which subclasses copied when they were made.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from typing import Any

_TP_HASH = 15
"""Where tp_hash stands in a type, in words of the machine (Include/cpython/object.h, 3.11 to 3.13)."""


class _Hashed:
    """A class whose hash is a Python function: its tp_hash is the one that looks for ``__hash__``."""

    def __hash__(self) -> int:
        return 0


class _HashedToo:
    """Another one, to see that they have that pointer in common."""

    def __hash__(self) -> int:
        return 1


class _Plain:
    """A class that has ``object``'s hash."""


def put_attribute(cls: type, name: str, value: object) -> None:
    """``cls.name = value``, whatever the type thinks of it. Not for names that have a slot of their own."""
    attributes: dict[str, object] = gc.get_referents(cls.__dict__)[0]
    attributes[name] = value
    modified = ctypes.pythonapi.PyType_Modified
    modified.argtypes, modified.restype = [ctypes.py_object], None
    modified(cls)


def put_hash(cls: type, function: Callable[[Any], int]) -> None:
    """``cls.__hash__ = function``, for it and for the subclasses that have not said which hash they want. Raises
    RuntimeError for a Python whose types look otherwise.
    """
    _check_layout()
    before, lookup = _slot(cls).value, _slot(_Hashed).value
    put_attribute(cls, "__hash__", function)
    alike: list[type] = [cls, *_subclasses(cls)]
    for each in alike:
        if _slot(each).value == before:
            _slot(each).value = lookup


def _subclasses(cls: type) -> list[type]:
    found: list[type] = []
    direct: list[type] = type.__subclasses__(cls)
    for each in direct:
        if "__hash__" not in each.__dict__:
            found += [each, *_subclasses(each)]
    return found


def _slot(cls: type) -> ctypes.c_size_t:
    return ctypes.c_size_t.from_address(id(cls) + _TP_HASH * ctypes.sizeof(ctypes.c_size_t))


def _check_layout() -> None:
    plain, hashed, too, base = (_slot(each).value for each in (_Plain, _Hashed, _HashedToo, object))
    if not (plain == base != hashed == too):
        raise RuntimeError("this Python's types have another layout: fencepost needs CPython 3.11, 3.12 or 3.13")
