"""What a step's body can know of itself."""

from __future__ import annotations

import asyncio

import pytest

from fencepost import errors
from fencepost.authoring.context import StepContext, current, use_step_context

FIRST = StepContext("run-1", "charge#1", "fulfil", 1)


async def test_the_context_reaches_tasks_and_threads() -> None:
    """As context variables do."""
    with use_step_context(FIRST) as context:
        assert current() is context
        assert await asyncio.to_thread(current) is context

        async def child() -> StepContext:
            return current()

        assert await asyncio.create_task(child()) is context


def test_outside_a_step_there_is_none() -> None:
    """Before and after, and the error says where it belongs."""
    for _ in range(2):
        with pytest.raises(errors.NotInWorkflow, match="for the body of a step"):
            current()
        with use_step_context(FIRST):
            current()


def test_the_idempotency_key_is_stable_over_attempts_and_differs_between_steps() -> None:
    """It is what other services recognise a repetition by."""
    again = StepContext("run-1", "charge#1", "fulfil", 2)
    other = StepContext("run-1", "charge#2", "fulfil", 1)
    assert FIRST.idempotency_key == again.idempotency_key == "run-1:charge#1"
    assert other.idempotency_key != FIRST.idempotency_key
