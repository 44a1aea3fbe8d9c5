"""sleep, now, random and uuid4: derived from the log inside a workflow, the plain things outside."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fencepost.authoring.registry import Registry
from fencepost.authoring.time import now, random, sleep, uuid4
from fencepost.authoring.workflow import workflow
from fencepost_store.events import EventType

registry = Registry()


def dues(run: Any) -> list[int]:
    """Seconds from the creation of each wait's turn to its due time."""
    return [round((event.due - run.log[0].at) / 1_000_000) for event in run.log if event.type is EventType.wait_created]


def test_a_sleep_is_a_durable_wait_of_seconds_or_a_timedelta(start: Any) -> None:
    """In the log, with its due time."""

    @workflow(registry=registry)
    async def sleeps() -> str:
        await sleep(30)
        await sleep(timedelta(days=30))
        return "rested"

    run = start(sleeps)
    run.wake("sleep#1")
    first, second = dues(run)
    assert first == 30
    assert 30 * 86400 <= second <= 30 * 86400 + 60
    run.wake("sleep#2")
    assert run.result == "rested"


def test_a_sleep_until_an_instant_counts_from_workflow_time(start: Any) -> None:
    """Not from the worker's clock."""

    @workflow(registry=registry)
    async def sleeps_until() -> None:
        await sleep(now() + timedelta(hours=1))
        await sleep(now() - timedelta(hours=1))

    run = start(sleeps_until)
    assert dues(run) == [3600]


@pytest.mark.parametrize("delay", [float("inf"), float("nan"), datetime(2026, 1, 1)])  # noqa: DTZ001 - the point
async def test_a_sleep_without_an_end_or_a_zone_is_refused(delay: Any) -> None:
    """With the way out."""
    with pytest.raises(ValueError, match=r"await a hook|time zone"):
        await sleep(delay)


def test_time_and_chance_are_the_same_in_every_replay_and_differ_between_runs(start: Any) -> None:
    """And between two calls in one run."""

    @workflow(registry=registry)
    async def rolls() -> list[Any]:
        return [now(), random().random(), random().random(), uuid4(), uuid4()]

    first, again, other = (start(rolls, run_id=run_id).result for run_id in ("run-1", "run-1", "run-2"))
    assert first == again
    assert first[0] == datetime.fromtimestamp(1_700_000_000, UTC)
    assert len({*first[1:], *other[1:]}) == 8
    assert first[3].version == 4


async def test_outside_a_workflow_they_are_the_plain_things() -> None:
    """The clock is the machine's; nothing repeats."""
    assert abs(now().timestamp() - time.time()) < 60
    assert now().tzinfo is UTC
    assert random().random() != random().random()
    assert uuid4() != uuid4()
    await sleep(0)
    await sleep(now())
