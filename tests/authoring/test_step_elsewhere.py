"""Steps outside a workflow: they just run. And what cannot be a step is refused where it is decorated."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest

from fencepost import errors
from fencepost.authoring.registry import Registry
from fencepost.authoring.step import step
from fencepost.records import Policy

registry = Registry()


@step(registry=registry)
async def double(n: int, *, times: int = 2) -> int:
    """Doubles, by default."""
    return n * times


@step(registry=registry)
def where(n: int) -> tuple[int, int]:
    return n, threading.get_ident()


async def test_an_async_body_runs_where_it_is_awaited() -> None:
    """Arguments and result are passed as they are."""
    assert await double(4) == 8
    assert await double(4, times=3) == 12
    assert await asyncio.create_task(double(1)) == 2


async def test_a_plain_body_runs_in_a_thread() -> None:
    """So that it cannot block the loop, and the call is awaited like any other."""
    n, thread = await where(1)
    assert n == 1
    assert thread != threading.get_ident()


async def test_wrong_arguments_are_refused_with_the_signature() -> None:
    """As in a workflow: when awaited."""
    call: Any = double
    with pytest.raises(errors.ArgumentError, match=r"double\(n: .*times.*missing a required argument: 'n'"):
        await call()


def test_a_step_looks_like_its_function() -> None:
    """Name, docstring, signature; and the function itself is at hand."""
    assert double.__name__ == "double"
    assert double.__doc__ == "Doubles, by default."
    assert list(inspect.signature(double).parameters) == ["n", "times"]
    assert inspect.iscoroutinefunction(double.fn)
    assert (double.mode, where.mode) == ("async", "thread")
    assert "test_step_elsewhere.py:" in repr(double)


def test_defaults_and_options() -> None:
    """What the page says."""
    assert double.policy == Policy(3, 1.0, 2.0, 300.0, None)

    @step(timeout=timedelta(minutes=2), first_delay=0.5, factor=3, cap=60, name="other", registry=registry)
    async def body() -> None: ...

    assert body.name == "other"
    assert body.policy == Policy(3, 0.5, 3, 60, 120)


@pytest.mark.parametrize(
    "options",
    [
        {"retries": -1},
        {"retries": 40_000},
        {"timeout": 0},
        {"timeout": float("inf")},
        {"first_delay": -1},
        {"factor": 0.5},
        {"cap": float("nan")},
    ],
)
def test_options_out_of_bounds_are_refused_by_name(options: dict[str, Any]) -> None:
    """At decoration, and by with_options."""
    with pytest.raises(ValueError, match="timeout" if "timeout" in options else next(iter(options))):
        step(registry=registry, **options)
    if set(options) <= {"retries", "timeout"}:
        with pytest.raises(ValueError, match=next(iter(options))):
            double.with_options(**options)


def test_what_cannot_be_a_step_is_refused() -> None:
    """Generators, classes, callables; and functions that another process could not import."""
    decorate: Any = step

    def counts() -> Iterator[int]:
        yield 1

    async def counts_later() -> AsyncIterator[int]:
        yield 1

    for body in (counts, counts_later):
        with pytest.raises(TypeError, match="cannot be a generator"):
            decorate(body)
    for thing in (int, asyncio.sleep.__call__, object()):
        with pytest.raises(TypeError, match="needs a function"):
            decorate(thing)
    with pytest.raises(TypeError, match="module level"):

        @step(process=True, registry=registry)
        def local() -> None: ...


def test_a_local_class_that_the_body_uses_is_resolved() -> None:
    """It is in the body's closure."""
    import dataclasses

    @dataclasses.dataclass
    class Local:
        n: int

    @step(registry=registry, name="local_class")
    async def body(value: Local) -> Local:
        return Local(value.n + 1)

    data = body.arguments.encode((Local(1),), {})
    assert body.decode_args(data) == ((Local(1),), {})


def test_arguments_have_one_canonical_form() -> None:
    """By position or by keyword, with the default or without it written down."""
    encode = double.arguments.encode
    assert encode((1,), {}) == encode((), {"n": 1})
    assert encode((1,), {}) == encode((1,), {"times": 2})
    assert encode((1,), {}) != encode((1,), {"times": 3})


def test_calls_by_position_are_bound_as_python_binds_them() -> None:
    """The short way agrees with inspect on every count, for signatures of every kind."""

    async def none() -> None: ...
    async def two(a: int, b: int) -> None: ...
    async def optional(a: int, b: int = 2, /) -> None: ...
    async def rest(a: int, *more: int) -> None: ...
    async def named(a: int, *, key: int) -> None: ...
    async def named_optional(a: int, *, key: int = 1, **more: int) -> None: ...

    for body in (none, two, optional, rest, named, named_optional):
        made: Any = step(registry=registry)(body)
        for count in range(5):
            given = tuple(range(count))
            try:
                bound = inspect.signature(body).bind(*given)
            except TypeError:
                with pytest.raises(errors.ArgumentError, match=body.__name__):
                    made.arguments.bind(given, {})
            else:
                assert made.arguments.bind(given, {}) == (bound.args, bound.kwargs)


def test_star_arguments_have_the_type_of_their_annotation() -> None:
    """Each of them."""

    @step(registry=registry, name="stars")
    async def stars(first: int, *rest: tuple[int, int], **named: frozenset[int]) -> None: ...

    data = stars.arguments.encode((1, (2, 3), (4, 5)), {"a": frozenset({1})})
    assert stars.decode_args(data) == ((1, (2, 3), (4, 5)), {"a": frozenset({1})})


def test_a_recorded_call_that_no_longer_fits_the_signature_is_refused() -> None:
    """A deploy took a parameter away."""

    async def before(n: int, m: int) -> None: ...

    @step(registry=registry, name="narrowed")
    async def narrowed(n: int) -> None: ...

    wide = step(registry=registry, name="wide")(before)
    with pytest.raises(errors.ArgumentError, match="narrowed"):
        narrowed.decode_args(wide.arguments.encode((1, 2), {}))
    with pytest.raises(errors.PayloadError, match="Expected `int`, got `str`"):
        narrowed.decode_args(where.arguments.encode(("x",), {}))
    with pytest.raises(errors.PayloadError, match="not a recorded call"):
        narrowed.decode_args(double.encode_result(1))


def test_a_result_over_the_limit_is_refused() -> None:
    """By the name of the step."""
    with pytest.raises(errors.PayloadTooLarge, match="result of double"):
        double.encode_result(2**40, limit=5)
