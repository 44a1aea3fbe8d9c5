"""The options of ``@step`` that bound time and name errors: what is recorded, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.authoring.process_steps import crunch

from fencepost import step
from fencepost.authoring.registry import Registry
from fencepost.authoring.retry import is_named
from fencepost.records import Policy, StepCreated, pack, unpack
from fencepost.replay.schedule import UNBOUND, Bounds, Overdue, bounds_in, first_bound


class Broken(ValueError):
    """A user's class."""


async def body() -> None:
    """Nothing."""


def test_every_bound_takes_seconds_or_a_timedelta() -> None:
    made = step(
        registry=Registry(),
        timeout=1,
        schedule_to_start=timedelta(seconds=2),
        schedule_to_close=3.5,
        heartbeat_timeout=timedelta(milliseconds=500),
        non_retryable=(KeyError, "pkg.Error"),
    )(body)
    expected = Policy(
        timeout=1.0,
        schedule_to_start=2.0,
        schedule_to_close=3.5,
        heartbeat_timeout=0.5,
        non_retryable=("builtins.KeyError", "pkg.Error"),
    )
    assert made.policy == expected
    other = made.with_options(schedule_to_close=None, non_retryable=[Broken])
    assert other.policy.schedule_to_close is None
    assert other.policy.schedule_to_start == 2.0
    assert other.policy.non_retryable == (f"{Broken.__module__}.Broken",)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"schedule_to_start": 0}, ValueError, "more than 0 s"),
        ({"heartbeat_timeout": float("inf")}, ValueError, "at most"),
        ({"non_retryable": ValueError}, TypeError, "tuple or list"),
        ({"non_retryable": "pkg.Error"}, TypeError, "tuple or list"),
        ({"non_retryable": ["Error"]}, TypeError, "has no module"),
        ({"non_retryable": [7]}, TypeError, "neither"),
        ({"non_retryable": [KeyboardInterrupt]}, TypeError, "neither"),
    ],
)
def test_nonsense_is_refused(options: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        step(registry=Registry(), **options)(body)


def test_a_process_cannot_be_asked_to_beat() -> None:
    with pytest.raises(ValueError, match="heartbeat_timeout"):
        crunch.with_options(heartbeat_timeout=5)


def test_a_class_is_named_by_itself_its_ancestors_or_its_record() -> None:
    assert is_named(Broken(), "", ("builtins.ValueError",))
    assert is_named(Exception(), "gone.Error", ("gone.Error",))
    assert not is_named(Broken(), "x.Broken", ("builtins.KeyError",))
    assert not is_named(Broken(), "x.Broken", ())


def test_the_bounds_are_read_from_the_recorded_creation() -> None:
    both = pack(StepCreated("s", b"x" * 100, policy=Policy(schedule_to_start=2, schedule_to_close=1, timeout=9)))
    assert bounds_in(both) == Bounds(2.0, 1.0)
    assert unpack(both, StepCreated).policy.timeout == 9
    for none in (pack(StepCreated("s", b"", policy=Policy(timeout=9))), b"", b"\x02x", b"\x01\xc1"):
        assert bounds_in(none) is UNBOUND
    assert first_bound(10, Bounds(2.0, 1.0), 0) == Overdue(1_000_010, "schedule_to_close")
    assert first_bound(10, Bounds(1.0, 1.0), 0) == Overdue(1_000_010, "schedule_to_start")
    assert first_bound(10, Bounds(1.0, None), 1) is None
    assert first_bound(10, UNBOUND, 0) is None
