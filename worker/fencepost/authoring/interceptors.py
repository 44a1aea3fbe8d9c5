"""Code around every step's body and around every workflow's code: error trackers, tenants, authorisation, spans."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fencepost.authoring import registry as registries

Proceed = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class StepCall:
    """One attempt of a step, as a step interceptor sees it. ``fencepost.current()`` says the rest."""

    run_id: str
    """Of the run."""
    workflow: str
    """Name of the run's workflow."""
    step_id: str
    """Of the step in its run, such as ``charge#1``."""
    step: str
    """Name of the step."""
    attempt: int
    """1 for the first start of the body."""
    queue: str
    """Where its message came from."""
    args: Sequence[Any] = field(default=(), repr=False)
    """Positional arguments, decoded; empty for a ``process=True`` step, whose arguments are decoded elsewhere."""
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """Keyword arguments, as ``args``."""


@dataclass(frozen=True, slots=True)
class WorkflowCall:
    """A run, as a workflow interceptor sees it."""

    run_id: str
    """Of the run."""
    workflow: str
    """Name of the workflow."""
    args: Sequence[Any] = field(default=(), repr=False)
    """Positional arguments."""
    kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """Keyword arguments."""


StepInterceptor = Callable[[StepCall, Proceed], Awaitable[Any]]
WorkflowInterceptor = Callable[[WorkflowCall, Proceed], Awaitable[Any]]


def step_interceptor(function: StepInterceptor) -> StepInterceptor:
    """Run the function around the body of every attempt: ``await proceed()`` runs the body, and what the function
    returns is the step's result.

    It runs in the worker's loop, within the attempt's timeout; what it raises is the attempt's error. Context variables
    that it sets are seen by async and ``def`` bodies. The one that was registered first is the outermost. Raises
    TypeError for anything but an ``async def`` function of two parameters.
    """
    _check(function, "step_interceptor")
    registries.default.step_interceptors.append(function)
    return function


def workflow_interceptor(function: WorkflowInterceptor) -> WorkflowInterceptor:
    """Run the function around the code of every workflow: ``await proceed()`` runs the code, and what the function
    returns is the run's result.

    It is workflow code: it is replayed, so it must do the same each time, and what it asks for (steps, sleeps) is
    recorded. Context variables that it sets are seen by all of the run's tasks. Adding one that asks for something
    changes what open runs ask for: put it behind ``patched``. Raises TypeError as ``step_interceptor`` does.
    """
    _check(function, "workflow_interceptor")
    registries.default.workflow_interceptors.append(function)
    return function


async def around(interceptors: Sequence[Callable[[Any, Proceed], Awaitable[Any]]], call: Any, inner: Proceed) -> Any:
    """``inner`` inside all interceptors, the first outermost."""
    if not interceptors:
        return await inner()
    first, rest = interceptors[0], interceptors[1:]
    begun = False

    async def proceed() -> Any:
        nonlocal begun
        if begun:
            raise RuntimeError(f"{registries.location(first)} called proceed() twice: the code runs once per attempt")
        begun = True
        return await around(rest, call, inner)

    proceed.__qualname__ = "proceed"  # what Python says of a call with arguments
    value = await first(call, proceed)
    if inspect.iscoroutine(value):
        value.close()
        raise TypeError(f"{registries.location(first)} returned a coroutine: write `return await proceed()`")
    return value


def _check(function: Any, decorator: str) -> None:
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"@{decorator} needs an async function (call, proceed), and got {function!r}")
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        raise TypeError(
            f"@{decorator} {registries.location(function)}: it is called with two arguments (call, proceed)"
        ) from None
