"""A step and a workflow are coroutine functions for everybody who asks, so that libraries around them await them."""

from __future__ import annotations

import asyncio
import functools
import inspect
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fencepost.authoring.registry import Registry
from fencepost.authoring.step import step
from fencepost.authoring.workflow import workflow

made = Registry()


@step(registry=made)
async def async_step(n: int, *, more: int = 1) -> int:
    """An async body."""
    return n + more


@step(registry=made)
def plain_step(n: int, more: int = 1) -> int:
    """A plain body, which is awaited all the same."""
    return n + more


@step(registry=made, process=True)
def process_step(n: int) -> int:
    """A body in a process."""
    return n


@workflow(registry=made)
async def child(n: int) -> int:
    """A child, which is awaited."""
    return n


AWAITED: list[Callable[..., Any]] = [
    async_step,
    plain_step,
    process_step,
    child,
    async_step.with_options(retries=1),
    child.with_options(timeout=3),
    functools.partial(async_step, 1),
    functools.partial(functools.partial(plain_step, 1), more=2),
]


@pytest.mark.parametrize("called", AWAITED, ids=lambda called: repr(called)[:60])
@pytest.mark.filterwarnings("ignore:'asyncio.iscoroutinefunction' is deprecated")
def test_it_is_a_coroutine_function_for_inspect_and_for_asyncio(called: Callable[..., Any]) -> None:
    """What tenacity, backoff, aiostream and Starlette ask; and it is nothing else."""
    assert inspect.iscoroutinefunction(called)
    assert asyncio.iscoroutinefunction(called)  # pyright: ignore[reportDeprecated]
    assert not inspect.isgeneratorfunction(called)
    assert not inspect.isasyncgenfunction(called)


def test_its_signature_is_that_of_the_body() -> None:
    """Frameworks read it."""
    assert str(inspect.signature(async_step)) == "(n: 'int', *, more: 'int' = 1) -> 'int'"
    assert inspect.signature(plain_step) == inspect.signature(plain_step.fn)
    assert inspect.unwrap(plain_step) is plain_step.fn
    assert not inspect.iscoroutinefunction(plain_step.fn)


def retrying(fn: Callable[..., Any], times: int) -> Callable[..., Awaitable[Any]]:
    """As retry libraries do: they choose by what the function is."""
    if not inspect.iscoroutinefunction(fn):
        raise TypeError("taken for a plain function: its errors would not be seen")

    @functools.wraps(fn, (*functools.WRAPPER_ASSIGNMENTS, "__defaults__", "__kwdefaults__"))
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        for _ in range(times - 1):
            try:
                return await fn(*args, **kwargs)
            except ValueError:
                continue
        return await fn(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_retry_library_around_a_step_sees_its_errors(is_async: bool) -> None:
    """Outside a workflow the body runs here; tests/engine runs one in a workflow."""
    calls: list[int] = []

    async def failing(n: int = 3) -> str:
        calls.append(n)
        if len(calls) < 3:
            raise ValueError("again")
        return "done"

    def failing_plainly(n: int = 3) -> str:
        calls.append(n)
        if len(calls) < 3:
            raise ValueError("again")
        return "done"

    mine = Registry()
    wrapped = step(registry=mine)(failing) if is_async else step(registry=mine)(failing_plainly)
    assert await retrying(wrapped, 5)() == "done"
    assert calls == [3, 3, 3]


PROGRAM = """
from fencepost import step, workflow

def made(name):
    async def body() -> None: ...
    body.__name__ = body.__qualname__ = name
    return body

steps = {step(name=f"s{n}")(made(f"s{n}")) for n in range(20)}
steps |= {workflow(name=f"w{n}")(made(f"w{n}")) for n in range(20)}
print([each.name for each in steps])
"""


def test_h155_a_set_of_steps_and_workflows_has_one_order_in_every_process() -> None:
    """Whatever the hash seed, and wherever they are in memory."""
    found = {
        subprocess.run(
            [sys.executable, "-c", f"noise = [bytearray({seed} * 7 + n) for n in range({seed * 1000})]\n{PROGRAM}"],
            env={"PYTHONHASHSEED": str(seed), "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2, 3)
    }
    assert len(found) == 1


@pytest.mark.parametrize("called", [async_step, plain_step], ids=repr)
def test_a_retry_library_around_a_step_in_a_workflow_asks_for_another_step(start: Any, called: Any) -> None:
    """One step per try, each with its own id; the last one's value comes back."""

    @workflow(registry=Registry())
    async def tries() -> int:
        result: int = await retrying(called, 5)(1)
        return result

    run = start(tries)
    run.fail(f"{called.name}#1", ValueError("again"))
    run.fail(f"{called.name}#2", ValueError("again"))
    assert list(run.asked()) == [f"{called.name}#{n}" for n in (1, 2, 3)]
    run.complete(f"{called.name}#3", called.encode_result(7))
    assert run.result == 7
