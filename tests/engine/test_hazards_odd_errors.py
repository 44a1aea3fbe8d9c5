"""Exceptions that are hard to write down: the failure is told all the same (H126)."""

from __future__ import annotations

from typing import Any

import pytest
from engine_bugs import no_bug
from engine_virtual import run
from engine_world import World

from fencepost import RunFailed, errors, step, workflow
from fencepost.durations import SECONDS_MAX as LONGEST
from fencepost.failure import RETRY_SECONDS_MAX, exception_of, failure_of
from fencepost.records import StepEnded, pack, unpack
from fencepost_store.events import EventType


class _Unwritable(Exception):
    """Its args cannot be read."""

    @property
    def args(self) -> Any:  # type: ignore[override]
        """Raises."""
        raise RuntimeError


def _odd(kind: str) -> Exception:
    """An exception that is hard to write down."""
    error = ValueError("x")
    if kind == "a key that is no text":
        vars(error).update({5: 1})  # type: ignore[dict-item]
    elif kind == "a key that is no UTF-8":
        vars(error)["a\ud800"] = 1
    elif kind == "args that raise":
        return _Unwritable("x")
    elif kind == "a type that is no UTF-8":
        made = type("Odd", (Exception,), {})
        made.__qualname__ = "Odd\ud800"
        return made("x")
    else:
        retry = errors.Retry("x")
        retry.after = "tomorrow" if kind == "a delay that is none" else 1e300  # type: ignore[assignment]
        return retry
    return error


ODD = (
    "a key that is no text",
    "a key that is no UTF-8",
    "args that raise",
    "a type that is no UTF-8",
    "a delay that is none",
    "a delay beyond all time",
)


@pytest.mark.parametrize("kind", ODD)
def test_h126_an_exception_that_cannot_be_written_down_whole_is_written_in_part(kind: str) -> None:
    """Whatever a user's class does, the record is made, and can be read again."""
    failure = failure_of(_odd(kind))
    read = unpack(pack(StepEnded(failure)), StepEnded).error
    assert isinstance(exception_of(read), Exception)
    assert read.retry_after is None or 0 <= read.retry_after <= RETRY_SECONDS_MAX
    assert read.type.isprintable()


def test_h126_a_step_that_raises_one_fails() -> None:
    """No bug of ours."""

    async def main() -> None:
        world = World()

        @step(registry=world.registry, retries=0)
        async def breaks(kind: str) -> None:
            raise _odd(kind)

        @workflow(registry=world.registry)
        async def flow(kind: str) -> None:
            await breaks(kind)

        async with world.worker("A"):
            for kind in ODD:
                with pytest.raises(RunFailed):
                    await (await world.start(flow, kind)).result(200)

    with no_bug():
        run(main)


def test_h126_bounds_and_delays_beyond_all_time_are_instants_that_a_store_takes() -> None:
    """A policy may say as much as there is time; what becomes of it has 64 bits."""

    async def main() -> None:
        world = World()

        @step(registry=world.registry, first_delay=LONGEST / 4, cap=LONGEST / 2, schedule_to_close=LONGEST)
        async def breaks() -> None:
            raise ValueError

        @workflow(registry=world.registry)
        async def flow() -> None:
            await breaks()

        async with world.worker("A"):
            started = await world.start(flow)
            await world.settle()
            (row,) = await world.rows()
            (retrying,) = [event for event in await world.log(started) if event.type is EventType.step_retrying]
        assert row.wake_at is not None
        assert row.wake_at < 2**63
        assert retrying.due is not None
        assert retrying.due < 2**63

    with no_bug():
        run(main)
