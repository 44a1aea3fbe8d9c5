"""``fencepost.testing.step_context``: a step's body in a unit test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from fencepost import errors, step, transaction
from fencepost.authoring.context import StepContext, current, use_step_context
from fencepost.authoring.registry import Registry
from fencepost.testing import step_context

registry = Registry()


@step(registry=registry)
async def copy(end: int) -> list[int]:
    """Goes on where the last attempt was."""
    context = current()
    done: list[int] = []
    for n in range(context.heartbeat_details(int) or 0, end):
        if context.cancelled:
            break
        done.append(n)
        context.heartbeat(n + 1)
    context.heartbeat()
    return done


def test_the_body_sees_the_attempt_and_the_test_sees_its_heartbeats() -> None:
    deadline = datetime(2030, 1, 1, tzinfo=UTC)
    with step_context(attempt=2, queue="gpu", deadline=deadline, heartbeat_details=3) as test:
        assert asyncio.run(copy.fn(5)) == [3, 4]
        seen = current()
        assert (seen.attempt, seen.queue, seen.deadline) == (2, "gpu", deadline)
    assert test.heartbeats == [4, 5, None]
    with pytest.raises(errors.NotInWorkflow, match=r"fencepost\.testing\.step_context"):
        current()


def test_a_cancelled_body_and_one_without_details() -> None:
    with step_context() as test:
        test.cancel()
        assert asyncio.run(copy.fn(5)) == []


def test_details_that_do_not_fit_say_so() -> None:
    with step_context(heartbeat_details="three"), pytest.raises(errors.PayloadError, match="heartbeat details of"):
        current().heartbeat_details(int)


def test_a_transaction_on_a_connection_of_the_test() -> None:
    class Fake:
        def __init__(self) -> None:
            self.said: list[str] = []

        @asynccontextmanager
        async def transaction(self) -> AsyncGenerator[None]:
            self.said.append("begin")
            yield
            self.said.append("commit")

    async def body() -> Any:
        async with transaction() as connection:
            return connection

    fake = Fake()
    with step_context(connection=fake):
        assert asyncio.run(body()) is fake
    assert fake.said == ["begin", "commit"]
    with step_context(), pytest.raises(errors.NotSupportedHere, match=r"connection=\.\.\."):
        asyncio.run(body())


def test_a_body_in_another_process_cannot_beat() -> None:
    with (
        use_step_context(StepContext("r", "s#1", "w", 1)),
        pytest.raises(errors.NotSupportedHere, match="process=True"),
    ):
        current().heartbeat()
