"""What may be decorated with ``@step`` and ``@workflow``: functions. What is none is refused where it is written, with
the way out: its name, its module and its signature are what the log and other workers know it by.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar, cast

from fencepost.authoring.registry import location

F = TypeVar("F", bound=Callable[..., Any])


def function_of(decorated: F, kind: str, name: str | None) -> F:
    """The function; of a staticmethod, the one inside. Raises TypeError."""
    found: object = decorated.__func__ if isinstance(decorated, staticmethod) else decorated
    if isinstance(found, str):
        raise TypeError(f"@{kind} needs a function, not str {found!r}; to name it write @{kind}(name={found!r})")
    if not isinstance(found, FunctionType):
        raise TypeError(f"@{kind} needs a function, and {_named(found)} is {_what(found)}: {_way_out(found)}")
    fn: F = cast("F", found)
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise TypeError(f"@{kind} cannot be a generator: {location(fn)}; return a list instead, or write to a stream")
    if found.__name__ == "<lambda>" and not name:
        raise TypeError(f"@{kind}: the lambda at {location(fn)} has no name that the log could keep: {kind}(name=...)")
    owner = _class_of(found)
    if owner is not None:
        first = next(iter(inspect.signature(fn).parameters), "")
        if first in ("self", "cls"):
            raise TypeError(
                f"@{kind}: {location(fn)} is a method of {owner}, and an object cannot be kept in the log: make it a"
                f" function at module level that is given what it needs of {first!r}, or a staticmethod"
            )
    return fn


def _class_of(fn: FunctionType) -> str | None:
    """The name of the class in whose body the function stands."""
    outer = fn.__qualname__.rpartition(".")[0]
    return None if not outer or outer.endswith("<locals>") else outer


def _named(found: object) -> str:
    name = getattr(found, "__qualname__", None) or getattr(found, "__name__", None)
    return repr(name) if isinstance(name, str) else f"this {type(found).__qualname__}"


def _what(found: object) -> str:
    from fencepost.authoring.step import Step
    from fencepost.authoring.workflow import Workflow

    if isinstance(found, Step):
        return "a step already"
    if isinstance(found, Workflow):
        return "a workflow already"
    if isinstance(found, type):
        return "a class"
    if inspect.ismethod(found):
        return f"bound to an object of {type(found.__self__).__qualname__}"
    if inspect.isbuiltin(found):
        return "a built-in function"
    return f"an object of {type(found).__module__}.{type(found).__qualname__}"


def _way_out(found: object) -> str:
    from fencepost.authoring.step import Step
    from fencepost.authoring.workflow import Workflow

    if isinstance(found, (Step, Workflow)):
        return "decorate a function once; with_options(...) gives other options to single calls"
    if isinstance(found, classmethod):
        return "make it a function at module level that is given what it needs of the class, or a staticmethod"
    if isinstance(found, functools.partial):
        return "write a function that calls it, so that the arguments it holds are named where they are used"
    if isinstance(found, type):
        return "write a function that makes one of it, and decorate that"
    return "write a function at module level that calls it, and decorate that"
