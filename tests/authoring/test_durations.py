"""Lengths of time and names as users write them: every form that is taken, and a message for every one that is not."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

import fencepost
from fencepost import Registry, Retry, step, workflow
from fencepost.durations import SECONDS_MAX, UNITS, bound_of, seconds_of
from fencepost.names import QUEUE
from fencepost_queue import keys


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (3, 3.0),
        (0.25, 0.25),
        (timedelta(minutes=2), 120.0),
        ("30s", 30.0),
        ("250ms", 0.25),
        ("1.5h", 5400.0),
        ("1h30m", 5400.0),
        ("1h 30m", 5400.0),
        ("2d", 172_800.0),
        ("1w", 604_800.0),
        ("0s", 0.0),
    ],
)
def test_every_form_of_a_length(value: object, seconds: float) -> None:
    assert seconds_of(value, "timeout") == pytest.approx(seconds)


@drawn(st.lists(st.tuples(st.integers(0, 999), st.sampled_from(list(UNITS))), min_size=1, max_size=4))
def test_a_text_is_the_sum_of_its_parts(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert seconds_of(text, "x") == pytest.approx(sum(number * UNITS[unit] for number, unit in parts))


@pytest.mark.parametrize(
    "value",
    [
        "30",
        "",
        "s",
        "5 minutes",
        "-3s",
        "1h30",
        "\u0661s",
        "1e3s",
        "inf",
        True,
        None,
        b"30s",
        [3],
        Decimal(3),
        datetime.now(UTC),
    ],
)
def test_what_is_no_length_names_field_value_and_forms(value: object) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(f"timeout = {value!r}: ")) as caught:
        seconds_of(value, "timeout")
    assert "'30s', '5m', '1h30m', '2d'" in str(caught.value)


@pytest.mark.parametrize(
    "value", [-1, float("nan"), float("inf"), 10**400, SECONDS_MAX + 1, timedelta.max, "99999999d"]
)
def test_what_is_out_of_bounds_names_the_bound(value: object) -> None:
    with pytest.raises(ValueError, match=r"timeout = .*: must be .* and at most 3,162,240,000 s"):
        seconds_of(value, "timeout")
    with pytest.raises(ValueError, match=r"more than 0 s .*; None means unbounded"):
        bound_of(value, "timeout")


BOUNDS = ("timeout", "schedule_to_start", "schedule_to_close", "heartbeat_timeout")


@pytest.mark.parametrize("field", BOUNDS)
def test_a_step_takes_them_everywhere_and_names_the_field(field: str) -> None:
    async def body() -> None: ...

    made = step(registry=Registry(), **{field: "1m30s"})(body)  # type: ignore[call-overload]
    assert getattr(made.policy, field) == 90.0
    two_minutes: Any = {field: "2m"}
    unbounded: Any = {field: None}
    assert getattr(made.with_options(**two_minutes).policy, field) == 120.0
    assert getattr(made.with_options(**unbounded).policy, field) is None
    wrongs: tuple[Any, ...] = ("soon", 0, True)
    for wrong in wrongs:
        options: Any = {field: wrong}
        with pytest.raises((TypeError, ValueError), match=rf"^{field} = {wrong!r}: "):
            step(registry=Registry(), **options)(body)
        with pytest.raises((TypeError, ValueError), match=rf"^{field} = {wrong!r}: "):
            made.with_options(**options)


def test_workflows_sleeps_and_retries_take_them() -> None:
    async def body() -> None: ...

    made = workflow(registry=Registry(), timeout="3h")(body)
    assert made.timeout == 10_800.0
    assert made.with_options(timeout="1m").timeout == 60.0
    assert Retry("busy", after="90s").after == 90.0
    with pytest.raises(ValueError, match="after = '5'"):
        Retry("busy", after="5")
    asyncio.run(fencepost.sleep("1ms"))
    with pytest.raises(ValueError, match="sleep = 'soon'"):
        asyncio.run(fencepost.sleep("soon"))
    for endless in (float("inf"), float("nan"), 1e18):
        with pytest.raises(ValueError, match=r"a century.*await a hook"):
            asyncio.run(fencepost.sleep(endless))


@pytest.mark.parametrize("queue", ["", "a b", "a{b", "a\nb", "x" * 201, "\x7f"])
def test_a_queue_that_cannot_be_is_refused_where_it_is_written(queue: str) -> None:
    """Else its steps would be sent nowhere, and the run would stand still."""

    async def body() -> None: ...

    made_step = step(registry=Registry())(body)
    made_workflow = workflow(registry=Registry())(body)
    for refused in (
        lambda: step(registry=Registry(), queue=queue)(body),
        lambda: made_step.with_options(queue=queue),
        lambda: workflow(registry=Registry(), queue=queue)(body),
    ):
        with pytest.raises(ValueError, match=r"queue = .*1 to 200 characters"):
            refused()
    if queue:  # an empty one is the workflow's own there
        with pytest.raises(ValueError, match=r"queue = .*1 to 200 characters"):
            made_workflow.with_options(queue=queue)


@drawn(st.text(max_size=210))
def test_names_of_queues_are_those_that_the_queue_takes(text: str) -> None:
    assert (QUEUE.fullmatch(text) is None) == (keys.QUEUE.fullmatch(text) is None)


@pytest.mark.parametrize("name", ["", "a\0b", "a\nb", "x" * 201, 5, b"x"])
@pytest.mark.parametrize("decorator", [step, workflow])
def test_a_name_that_cannot_be_is_refused_where_it_is_written(decorator: Any, name: Any) -> None:
    async def body() -> None: ...

    with pytest.raises((TypeError, ValueError), match=r"@(step|workflow)\(name="):
        decorator(registry=Registry(), name=name)(body)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"retries": "3"}, "retries='3': must be a whole number, not str"),
        ({"retries": 1.5}, "retries=1.5: must be a whole number, not float"),
        ({"retries": True}, "retries=True: must be a whole number, not bool"),
        ({"first_delay": "1s"}, "first_delay='1s': must be a number, not str"),
        ({"factor": None}, "factor=None: must be a number, not NoneType"),
        ({"cap": True}, "cap=True: must be a number, not bool"),
        ({"queue": 5}, "queue = 5: a queue's name is a text, not int"),
    ],
)
def test_an_option_of_another_type_is_named(options: dict[str, Any], words: str) -> None:
    async def body() -> None: ...

    with pytest.raises(TypeError, match=re.escape(words)):
        step(registry=Registry(), **options)(body)


def test_a_name_in_the_decorators_place_says_how_to_give_one() -> None:
    words = "@step needs a function, not str 'charge'; to name it write @step(name='charge')"
    with pytest.raises(TypeError, match=re.escape(words)):
        cast(Any, step)("charge")


def test_all_that_is_public_and_an_exception_has_one_root() -> None:
    from fencepost.history import HistoryError
    from fencepost.testing import HistoryDiffers

    public = [getattr(fencepost, name) for name in fencepost.__all__ if name not in ("Client", "HookInfo")]
    exceptions = [one for one in public if isinstance(one, type) and issubclass(one, BaseException)]
    assert len(exceptions) > 30
    for one in (*exceptions, HistoryError, HistoryDiffers):
        assert issubclass(one, fencepost.FencepostError), one
