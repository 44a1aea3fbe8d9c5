"""What cannot be a step or a workflow is refused where it is written, and two functions never share a name (H144)."""

from __future__ import annotations

import asyncio
import functools
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fencepost import errors
from fencepost.authoring.registry import Registry
from fencepost.authoring.step import Step, step
from fencepost.authoring.workflow import workflow


class Clerk:
    """Has every kind of thing that is not a function."""

    async def method(self, n: int) -> int:
        """A method."""
        return n

    @classmethod
    async def made(cls, n: int) -> int:
        """A classmethod."""
        return n

    @staticmethod
    async def still(n: int) -> int:
        """A staticmethod."""
        return n + 1

    async def __call__(self, n: int) -> int:
        return n


async def plain(n: int) -> int:
    """A function."""
    return n


@functools.cache
def cached(n: int) -> int:
    """An object that calls a function."""
    return n


async def generates(n: int) -> Any:
    """An async generator."""
    yield n


REFUSED: dict[str, tuple[Any, str]] = {
    "a method": (Clerk.method, "is a method of Clerk.*a function at module level.*or a staticmethod"),
    "a bound method": (Clerk().method, "bound to an object of Clerk: write a function at module level"),
    "a classmethod": (Clerk.__dict__["made"], "classmethod: make it a function at module level"),
    "a bound classmethod": (Clerk.made, "bound to an object of type"),
    "a partial": (functools.partial(plain, 1), "functools.partial: write a function that calls it"),
    "a callable object": (Clerk(), "an object of .*Clerk: write a function"),
    "a class": (Clerk, "'Clerk' is a class: write a function that makes one"),
    "a built-in": (len, "'len' is a built-in function"),
    "a cached function": (cached, "lru_cache_wrapper: write a function"),
    "an async generator": (generates, "cannot be a generator"),
    "a lambda": (lambda: 1, "has no name that the log could keep: .*name="),
    "a number": (7, "this int is an object of builtins.int"),
    "a step": (step(registry=Registry())(plain), "'plain' is a step already: .*with_options"),
    "a workflow": (workflow(registry=Registry())(plain), "'plain' is a workflow already"),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("decorate", [step, workflow])
def test_h144_what_is_no_function_is_refused_with_the_way_out(what: str, decorate: Any) -> None:
    """At the decorator, and nothing is registered."""
    thing, words = REFUSED[what]
    registry = Registry()
    with pytest.raises(TypeError, match=words):
        decorate(registry=registry)(thing)
    assert not registry.steps
    assert not registry.workflows


def test_h144_a_method_in_the_body_of_its_class_is_refused_there() -> None:
    """Where somebody would write it."""
    with pytest.raises(TypeError, match=r"is a method of .*Shop"):

        class Shop:  # pyright: ignore[reportUnusedClass] - it is never made
            @step(registry=Registry())
            async def charge(self, n: int) -> int:
                return n


async def test_a_staticmethod_is_a_step_in_either_order() -> None:
    """It has no object."""

    class Shop:
        @step(registry=Registry())
        @staticmethod
        async def inside(n: int) -> int:
            return n + 1

        @staticmethod
        @step(registry=Registry())
        async def outside(n: int) -> int:
            return n + 2

    inside: Any = Shop.inside
    assert await inside(1) == 2
    assert await Shop.outside(1) == 3
    assert await step(registry=Registry())(Clerk.__dict__["still"])(1) == 2


def unwrapping(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that forgets functools.wraps."""

    async def wrapper(*args: Any) -> Any:
        return await fn(*args)

    return wrapper


def wrapping(fn: Callable[..., Any]) -> Callable[..., Any]:
    """One that does not."""

    @functools.wraps(fn)
    async def wrapper(*args: Any) -> Any:
        return await fn(*args)

    return wrapper


def factory(answer: str, **options: Any) -> Any:
    """Makes steps of one ``def``."""

    @step(**options)
    async def made() -> str:
        return answer

    return made


async def pay(n: int) -> str:
    """One."""
    return f"paid {n}"


async def refund(n: int) -> str:
    """The other."""
    return f"refunded {n}"


@pytest.mark.parametrize("decorate", [step, workflow])
def test_h144_one_def_makes_no_two_of_a_name(decorate: Any) -> None:
    """By a decorator without wraps, by a lambda in a loop, by a factory."""
    registry = Registry()
    decorate(registry=registry)(unwrapping(pay))
    with pytest.raises(errors.DuplicateName, match=r"one def makes two .*'wrapper'.*name=.*functools\.wraps"):
        decorate(registry=registry)(unwrapping(refund))


def test_h144_a_factory_or_loop_makes_no_two_of_a_name() -> None:
    """The first one stays."""
    registry = Registry()
    first = factory("pay", registry=registry)
    with pytest.raises(errors.DuplicateName, match=r"one def makes two .*'made'"):
        factory("refund", registry=registry)
    assert registry.find_step("made") is first
    step(name="l", registry=registry)(lambda: 1)
    for _ in range(2):
        with pytest.raises(errors.DuplicateName):
            step(name="l", registry=registry)(lambda: 2)
    looped: list[Any] = []
    with pytest.raises(errors.DuplicateName, match=r"one def makes two .*'in_turn'"):
        looped.extend(step(name="in_turn", registry=registry)(lambda: 3) for _ in range(2))


async def test_h144_with_names_one_def_makes_as_many_as_it_likes() -> None:
    """Each runs its own: by name=, or by functools.wraps."""
    registry = Registry()
    for name in ("pay", "refund"):
        factory(name, name=name, registry=registry)
    assert [await found() for found in registry.steps.values()] == ["pay", "refund"]
    others = Registry()
    step(registry=others)(wrapping(pay))
    step(registry=others)(wrapping(refund))
    assert await others.steps["pay"](1) == "paid 1"
    assert await others.steps["refund"](1) == "refunded 1"


def test_h144_two_defs_of_a_name_in_one_module_are_two_functions() -> None:
    """Also where the second one stands in the first one's place."""
    scope: dict[str, Any] = {"__name__": "twice", "step": step, "registry": Registry()}
    source = "@step(registry=registry)\nasync def pay() -> None: ...\n"
    with pytest.raises(errors.DuplicateName, match="two functions are registered"):
        exec(compile(source * 2, "twice.py", "exec"), scope)


def test_h144_the_same_function_again_is_no_other_one() -> None:
    """Other options, one function."""
    registry = Registry()
    step(registry=registry)(pay)
    again = step(registry=registry, retries=7)(pay)
    assert registry.find_step("pay") is again


MODULE = """
from fencepost.authoring.step import step
from fencepost.authoring.workflow import workflow
from reloaded_tools import registry, traced

@step(registry=registry)
@traced
async def pay() -> str:
    return "ANSWER"

@workflow(registry=registry)
async def main() -> None: ...
"""

TOOLS = """
import functools
from fencepost.authoring.registry import Registry

registry = Registry()

def traced(fn):
    @functools.wraps(fn)
    async def wrapper():
        return await fn()
    return wrapper
"""


def test_h144_a_reload_replaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By importlib, and by forgetting the module; decorators of another module included."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "reloaded_tools.py").write_text(TOOLS)
    file = tmp_path / "reloaded.py"
    file.write_text(MODULE.replace("ANSWER", "first"))
    module = importlib.import_module("reloaded")
    registry: Registry = module.registry
    try:
        importlib.reload(module)
        found = registry.find_step("pay")
        assert found is module.pay
        assert found is not None
        assert asyncio.run(_answer(found)) == "first"
        del sys.modules["reloaded"]
        file.write_text("\n\n" + MODULE.replace("ANSWER", "second, longer"))
        importlib.invalidate_caches()
        again = importlib.import_module("reloaded")
        found = registry.find_step("pay")
        assert found is again.pay
        assert asyncio.run(_answer(again.pay)) == "second, longer"
    finally:
        for name in ("reloaded", "reloaded_tools"):
            sys.modules.pop(name, None)


async def _answer(found: Step[..., Any]) -> Any:
    return await found()


def test_h144_cells_of_a_notebook_replace_each_other() -> None:
    """Each is code of its own in one module."""
    scope: dict[str, Any] = {"__name__": "__main__", "step": step, "registry": Registry()}
    for cell in range(3):
        source = f"@step(registry=registry)\nasync def pay() -> int:\n    return {cell}\n"
        exec(compile(source, f"<cell {cell}>", "exec"), scope)
    assert scope["registry"].find_step("pay") is scope["pay"]


def test_h144_names_of_fencepost_s_own_steps_are_reserved() -> None:
    """Or a user's step would run in the place of what every worker has."""
    with pytest.raises(ValueError, match=r"begin with 'fencepost\.' are fencepost's own"):
        step(name="fencepost.stream_write", registry=Registry())(pay)
