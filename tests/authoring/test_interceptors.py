"""Code around bodies and workflows, and what a worker process opens and closes: what may be registered, in which order
it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest

import fencepost
from fencepost.authoring import interceptors, registry
from fencepost.authoring.interceptors import Proceed, StepCall, around


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> registry.Registry:
    """What a test registers is not there for others."""
    made = registry.Registry()
    monkeypatch.setattr(registry, "default", made)
    return made


def _call() -> StepCall:
    return StepCall("run", "flow", "charge#1", "charge", 1, "default")


async def test_the_first_one_is_the_outermost_and_sees_result_and_error() -> None:
    seen: list[str] = []

    def named(name: str) -> interceptors.StepInterceptor:
        async def one(call: StepCall, proceed: Proceed) -> Any:
            seen.append(f"{name} in")
            try:
                return [name, await proceed()]
            except ValueError as error:
                seen.append(f"{name} {error}")
                raise
            finally:
                seen.append(f"{name} out")

        return one

    async def body() -> str:
        seen.append("body")
        return "done"

    async def fails() -> str:
        raise ValueError("no")

    both = [named("a"), named("b")]
    assert await around(both, _call(), body) == ["a", ["b", "done"]]
    assert seen == ["a in", "b in", "body", "b out", "a out"]
    seen.clear()
    with pytest.raises(ValueError, match="no"):
        await around(both, _call(), fails)
    assert seen == ["a in", "b in", "b no", "b out", "a no", "a out"]


async def test_a_body_is_never_run_twice_in_one_attempt() -> None:
    runs: list[int] = []

    async def twice(call: StepCall, proceed: Proceed) -> Any:
        await proceed()
        return await proceed()

    async def body() -> None:
        runs.append(1)

    with pytest.raises(RuntimeError, match=r"twice\) called proceed\(\) twice"):
        await around([twice], _call(), body)
    assert runs == [1]


def _plain(call: Any, proceed: Any) -> None: ...


async def _one_parameter(call: Any) -> None: ...


async def _three(call: Any, proceed: Any, more: Any) -> None: ...


@pytest.mark.parametrize("decorator", [fencepost.step_interceptor, fencepost.workflow_interceptor])
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_plain, "needs an async function"),
        (_one_parameter, "called with two arguments"),
        (_three, "called with two arguments"),
        (None, "got None"),
    ],
)
def test_what_is_no_interceptor_is_refused_where_it_is_written(decorator: Any, function: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        decorator(function)
    assert not registry.default.step_interceptors
    assert not registry.default.workflow_interceptors


async def _coroutine() -> None: ...


def _generator() -> Iterator[None]:
    yield


async def _needs(client: str) -> AsyncGenerator[None]:
    yield


@pytest.mark.parametrize(
    ("decorator", "function", "message"),
    [
        (fencepost.worker_lifespan, _coroutine, "one `yield`"),
        (fencepost.worker_lifespan, _generator, "one `yield`"),
        (fencepost.worker_lifespan, _needs, "needs client"),
        (fencepost.worker_lifespan, 7, "got 7"),
        (fencepost.on_startup, _needs, "needs client"),
        (fencepost.on_shutdown, "x", "got 'x'"),
    ],
)
def test_what_is_no_lifespan_is_refused_where_it_is_written(decorator: Any, function: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        decorator(function)
    assert not registry.default.lifespans


async def test_all_forms_of_a_lifespan_are_entered_in_order(own_registry: registry.Registry) -> None:
    seen: list[str] = []

    @fencepost.worker_lifespan
    async def generator() -> AsyncGenerator[None]:
        seen.append("generator in")
        yield
        seen.append("generator out")

    @fencepost.worker_lifespan
    @contextlib.asynccontextmanager
    async def manager() -> AsyncGenerator[None]:
        seen.append("manager in")
        yield
        seen.append("manager out")

    @fencepost.on_startup
    async def later() -> None:
        await asyncio.sleep(0)
        seen.append("later")

    @fencepost.on_startup
    def now() -> None:
        seen.append("now")

    @fencepost.on_shutdown
    def last() -> None:
        seen.append("shutdown")

    async with contextlib.AsyncExitStack() as stack:
        for _, lifespan in own_registry.lifespans:
            await stack.enter_async_context(lifespan())
        seen.append("|")
    assert seen == ["generator in", "manager in", "later", "now", "|", "shutdown", "manager out", "generator out"]
    assert all(__file__ in place for place, _ in own_registry.lifespans)
    assert callable(now)
