"""Workflows as programs: what they refuse, what they record, how they fail."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from fencepost import errors, payload
from fencepost.authoring.registry import Registry
from fencepost.authoring.step import step
from fencepost.authoring.workflow import workflow
from fencepost.records import ChildCreated, RunCreated, RunFailed, unpack
from fencepost_store.events import EventType

registry = Registry()


@dataclasses.dataclass
class Order:
    id: int


@workflow(timeout=timedelta(days=90), queue="orders", registry=registry)
async def fulfil(order: Order, *, rush: bool = False) -> list[Order]:
    """Fulfils."""
    return [order]


def test_input_and_result_are_converted_by_annotation(start: Any) -> None:
    """The input is the record that a client starts the run with."""
    created = unpack(fulfil.encode_input((Order(1),), {"rush": True}, attributes={"team": "a"}), RunCreated)
    assert fulfil.arguments.decode(created.input) == ((Order(1),), {"rush": True})
    assert (created.timeout, created.attributes) == (90 * 86400, {"team": "a"})
    assert start(fulfil, Order(1)).result == [Order(1)]
    assert (fulfil.name, fulfil.queue, fulfil.__doc__) == ("fulfil", "orders", "Fulfils.")


def test_wrong_input_is_refused_before_anything_is_written() -> None:
    """By count, by name, by size, by what cannot be encoded."""
    with pytest.raises(errors.ArgumentError, match=r"fulfil\(order: .*too many positional"):
        fulfil.encode_input((Order(1), 2), {})
    with pytest.raises(errors.ArgumentError, match="rushed"):
        fulfil.encode_input((Order(1),), {"rushed": True})
    with pytest.raises(errors.PayloadTooLarge, match="the arguments of fulfil"):
        fulfil.encode_input((Order(1),), {}, limit=4)
    with pytest.raises(errors.PayloadError, match=r"args\[0\]: "):
        fulfil.encode_input((object(),), {})


def test_what_cannot_be_a_workflow_is_refused() -> None:
    """Plain functions and generators, with the line and the way out."""
    decorate: Any = workflow

    def plain() -> None: ...

    async def counts() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(TypeError, match=r"write `async def plain`, at .*test_workflow.py:"):
        decorate(plain)
    with pytest.raises(TypeError, match="cannot be a generator"):
        decorate(counts)
    with pytest.raises(TypeError, match="needs a function"):
        decorate(Order)


def test_calling_a_workflow_names_client_start() -> None:
    """It is not run by calling it; its bare function is for tests."""
    with pytest.raises(errors.NotInWorkflow, match=r"client\.start\(fulfil"):
        fulfil(Order(1))  # pyright: ignore[reportUnusedCoroutine] - it raises before there is one
    assert asyncio.run(fulfil.fn(Order(1))) == [Order(1)]


def test_calling_a_workflow_in_a_workflow_asks_for_a_child(start: Any) -> None:
    """With the options of the call; arguments that do not fit fail the call."""

    @workflow(registry=registry)
    async def parent() -> None:
        handle = fulfil.with_options(queue="q", timeout=5, key="k", parent_close="abandon").start(Order(1))
        assert handle.id in repr(handle)
        await fulfil("no order", 2)  # type: ignore[call-arg,arg-type]  # pyright: ignore[reportArgumentType,reportCallIssue]

    found = start(parent)
    assert found.failure.type == "fencepost.errors.ArgumentError"
    (created,) = [event for event in found.log if event.type is EventType.child_created]
    record = unpack(created.payload, ChildCreated)
    assert (record.name, record.queue, record.timeout) == ("fulfil", "q", 5.0)
    assert (record.key, record.parent_close) == ("k", "abandon")
    assert record.run[14] == "7"


def test_a_parent_close_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of cancel, abandon, terminate"):
        fulfil.with_options(parent_close="kill")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_an_exception_out_of_the_code_is_the_users(start: Any) -> None:
    """With type, message and chain."""

    @workflow(registry=registry)
    async def fails() -> None:
        try:
            raise KeyError("k")
        except KeyError as error:
            raise ValueError("v") from error

    failure = start(fails).failure
    assert (failure.type, failure.message, failure.code) == ("builtins.ValueError", "v", errors.USER_ERROR)
    assert failure.cause.type == "builtins.KeyError"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("x"), errors.USER_ERROR),
        (errors.Fatal("x"), errors.USER_ERROR),
        (errors.StepTimeout("x"), errors.STEP_TIMEOUT),
        (errors.StepCrashed("x"), errors.STEP_CRASHED),
        (errors.StepNotRegistered("x"), errors.RUNTIME_ERROR),
        (errors.StepFailed("x"), errors.USER_ERROR),
        (errors.StepFailed("x", code="NOT_A_CODE"), errors.USER_ERROR),
        (errors.PayloadError("x"), errors.PAYLOAD_ERROR),
        (errors.ServerUnavailable("x"), errors.USER_ERROR),
        (errors.RunFailed("run", "x", code=errors.STEP_CRASHED), errors.USER_ERROR),
    ],
)
@pytest.mark.parametrize("form", ["bare", "wrapped", "cause"])
def test_table_exception_out_of_a_workflow(error: Exception, code: str, form: str) -> None:
    """Section 8, by type: what the engine said of a step keeps its code if it leaves the workflow itself.

    Wrapped in the user's own exception, or merely its cause, it is the user's error. Another run's failure, and a
    server that a client could not reach, are the user's too.
    """
    raised: Exception = error
    if form == "wrapped":
        raised = ExceptionGroup("several", [error])
        code = errors.USER_ERROR
    elif form == "cause":
        raised = RuntimeError("mine")
        raised.__cause__ = error
        code = errors.USER_ERROR
    assert unpack(fulfil.failure(raised), RunFailed).error.code == code


def test_a_result_that_does_not_fit_what_the_workflow_expects_is_catchable(start: Any) -> None:
    """The step's code on another worker returned something else."""

    @step(registry=registry)
    async def count() -> int:
        return 1

    @workflow(registry=registry)
    async def counts() -> str:
        try:
            await count()
        except errors.PayloadError as error:
            return str(error)
        return ""

    run = start(counts)
    run.complete("count#1", payload.encode("many", str))
    assert run.result.startswith("result of count: the recorded value does not fit the expected type int")
