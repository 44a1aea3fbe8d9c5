"""Decorators that live in another module than what they decorate, beside a class of the same name."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


@dataclasses.dataclass
class Order:
    """Not the one that is meant."""

    id: int
    wrong: str = "the decorator's"


def timed(fn: Callable[P, R]) -> Callable[P, R]:
    """With ``wraps``, as decorators should."""

    @functools.wraps(fn)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return fn(*args, **kwargs)

    return wrapper


def traced(fn: Callable[P, R]) -> Callable[P, R]:
    """Another one, for a chain of them."""

    @functools.wraps(fn)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
        outcome: Any = fn(*args, **kwargs)
        return await outcome

    return wrapper  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


def with_note(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Adds a parameter, and says so in the signature: its annotation is this module's."""

    @functools.wraps(fn)
    def wrapper(*args: Any, note: Order, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    inner = inspect.signature(fn)
    added = inspect.Parameter("note", inspect.Parameter.KEYWORD_ONLY, annotation="Order")
    named: Any = wrapper
    named.__signature__ = inner.replace(parameters=[*inner.parameters.values(), added])
    return wrapper


def bare(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Without ``wraps``: all that is known is that it takes anything."""

    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return wrapper


def typed(fn: Callable[P, R]) -> Callable[P, R]:
    """Without ``wraps``, and with the annotations that type checkers want."""

    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return fn(*args, **kwargs)

    return wrapper
