"""``patched`` as its users call it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fencepost import Registry, patched, payload, step, workflow
from fencepost_store.events import EventType


def test_in_a_workflow_it_is_recorded(start: Any) -> None:
    """Once per id, whoever asks."""
    mine = Registry()

    @step(registry=mine)
    async def work() -> int:
        return 1

    @workflow(registry=mine)
    async def flow() -> list[bool]:
        await work()
        return [patched("2024-05.tax"), patched("2024-05.tax"), patched("gone", retired=True)]

    run = start(flow)
    run.complete("work#1", payload.encode(1))
    assert [event.entity for event in run.log if event.type is EventType.marker] == ["patched:2024-05.tax"]
    assert run.log[-1].type is EventType.run_completed


def test_outside_a_workflow_it_is_true() -> None:
    """A bare function in a test is new code."""

    async def flow() -> bool:
        return patched("x")

    assert asyncio.run(flow())


@pytest.mark.parametrize("patch", ["", "a b", "a#1", "a/b", "x" * 101, "é"])
def test_what_cannot_be_an_id_is_refused(patch: str) -> None:
    """With what may stand in one."""
    with pytest.raises(ValueError, match=r"1 to 100 letters, digits, '_', '\.', ':' or '-'"):
        patched(patch)
