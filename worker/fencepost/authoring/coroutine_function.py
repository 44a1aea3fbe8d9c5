"""What makes a callable object a coroutine function for everybody who asks: ``inspect``, ``asyncio``, and the libraries
that ask one of them (tenacity, backoff, aiostream, Starlette). A library that takes a step for a plain function would
call it, get a coroutine, and believe that it has succeeded.
"""

from __future__ import annotations

import asyncio.coroutines
import inspect
from collections.abc import Callable
from typing import Any


def mark(callable_object: Any, fn: Callable[..., Any]) -> None:
    """``callable_object`` returns coroutines when it is called; ``fn`` is the function behind it, ``async`` or not."""
    callable_object._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]  # what asyncio looks for
    declare = getattr(inspect, "markcoroutinefunction", None)
    if declare is not None:  # from 3.12 on
        declare(callable_object)
        return
    # Before, inspect looks at the flags of the code, and takes for a function what has a function's attributes.
    function: Any = fn
    code = function.__code__
    callable_object.__code__ = code.replace(co_flags=code.co_flags | inspect.CO_COROUTINE)
    callable_object.__defaults__ = function.__defaults__
    callable_object.__kwdefaults__ = function.__kwdefaults__
