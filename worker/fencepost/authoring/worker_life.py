"""What a worker process opens once and closes at its end: HTTP clients, pools, an error tracker.

Everything registered here is entered before the worker takes its first message and left after its last body has ended,
in reverse order, in each process that runs async and ``def`` bodies. A ``process=True`` body runs elsewhere, and sees
nothing of it.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar, cast

from fencepost.authoring import registry as registries

F = TypeVar("F", bound=Callable[[], Any])
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def worker_lifespan(
    function: Callable[[], AsyncIterator[None]] | Callable[[], AbstractAsyncContextManager[Any]],
) -> Callable[[], AbstractAsyncContextManager[Any]]:
    """A generator with one ``yield``: what is before it runs when a worker process starts, what is behind it when that
    process ends.

    The order is that of registration. Where the first part raises, the worker does not start. The second part gets 10 s
    at most; what it raises is logged. Raises TypeError for anything but an async generator function without parameters,
    or a function that returns an async context manager.
    """
    _check_callable(function, "worker_lifespan")
    made: Callable[[], AbstractAsyncContextManager[Any]]
    if inspect.isasyncgenfunction(function):
        made = asynccontextmanager(function)
    elif inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError(
            f"@worker_lifespan {_place(function)}: write it as `async def` with one `yield` in it; for a function"
            " without one take @on_startup or @on_shutdown"
        )
    else:
        made = cast(Callable[[], AbstractAsyncContextManager[Any]], function)
    registries.default.lifespans.append((_place(function), made))
    return made


def on_startup(function: F) -> F:
    """Run the function, ``async def`` or ``def``, in the worker's loop before a worker process takes its first message.

    Where it raises, the worker does not start. A ``def`` function should not wait for anything: the loop stands still.
    """
    _check_callable(function, "on_startup")

    @asynccontextmanager
    async def started() -> AsyncGenerator[None]:
        await _called(function)
        yield

    registries.default.lifespans.append((_place(function), started))
    return function


def on_shutdown(function: F) -> F:
    """Run the function, ``async def`` or ``def``, when a worker process has drained. It gets 10 s at most."""
    _check_callable(function, "on_shutdown")

    @asynccontextmanager
    async def stopped() -> AsyncGenerator[None]:
        yield
        await _called(function)

    registries.default.lifespans.append((_place(function), stopped))
    return function


async def _called(function: Callable[[], Any]) -> None:
    result = function()
    if inspect.isawaitable(result):
        await result


def _place(function: Callable[..., Any]) -> str:
    return registries.location(inspect.unwrap(function))


def _check_callable(function: Any, decorator: str) -> None:
    if not inspect.isfunction(function):
        raise TypeError(f"@{decorator} needs a function, and got {function!r}")
    parameters = inspect.signature(function).parameters.values()
    needed = [one.name for one in parameters if one.default is one.empty and one.kind not in _VARIADIC]
    if needed:
        raise TypeError(
            f"@{decorator} {_place(function)}: it is called without arguments, and needs {', '.join(needed)}"
        )
