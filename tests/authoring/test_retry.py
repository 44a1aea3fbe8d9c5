"""When a failed attempt is tried again, and when not: the table of section 8, and H69."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencepost import errors
from fencepost.authoring.retry import delay_before, next_delay
from fencepost.failure import failure_of
from fencepost.records import Policy


def executions(policy: Policy, error: BaseException) -> int:
    """How many executions end in the error before the step has failed."""
    failure = failure_of(error)
    count = 1
    while next_delay(count, policy, failure, lambda: 0.5) is not None:
        count += 1
    return count


@pytest.mark.parametrize("retries", [0, 1, 3, 10])
def test_h69_n_retries_are_n_plus_one_executions_that_ended_in_an_error(retries: int) -> None:
    """Neither one more nor one less; Retry(after=...) adds none."""
    assert executions(Policy(retries=retries), ValueError("x")) == retries + 1
    assert executions(Policy(retries=retries), errors.Retry(after=1)) == retries + 1
    assert executions(Policy(retries=retries), errors.Fatal("x")) == 1


def chained(error: Exception) -> Exception:
    outer = RuntimeError("mine")
    outer.__cause__ = error
    return outer


def in_context(error: Exception) -> Exception:
    outer = RuntimeError("mine")
    outer.__context__ = error
    return outer


class Declined(errors.Fatal):
    pass


class Busy(errors.Retry):
    pass


def grouped(error: Exception) -> Exception:
    return ExceptionGroup("group", [ValueError("x"), ExceptionGroup("inner", [error])])


@pytest.mark.parametrize(
    ("error", "tried_again"),
    [
        (errors.Fatal("x"), False),
        (Declined("x"), False),
        (grouped(errors.Fatal("x")), False),
        (chained(errors.Fatal("x")), True),
        (in_context(errors.Fatal("x")), True),
        (grouped(chained(errors.Fatal("x"))), True),
        (ValueError("x"), True),
        (chained(ValueError("x")), True),
        (errors.ServerUnavailable("no route"), True),
        (chained(errors.ServerUnavailable("no route")), True),
        (errors.RunFailed("run", "x", code=errors.STEP_CRASHED), True),
        (errors.StepCrashed("of another run, by way of a client"), True),
    ],
)
def test_table_fatal_counts_if_it_left_the_body_not_if_it_is_history(error: Exception, tried_again: bool) -> None:
    """By type: the exception itself, a subclass, or a member of a group; never as cause or context. Everything that a
    body raises is the user's error, a client's exceptions included."""
    failure = failure_of(error)
    assert failure.retryable is tried_again
    assert failure.code == errors.USER_ERROR


@pytest.mark.parametrize(
    ("error", "after"),
    [
        (errors.Retry("later", after=7), 7),
        (errors.Retry(after=timedelta(minutes=1)), 60),
        (Busy(after=0), 0),
        (errors.Retry("whenever"), None),
        (grouped(errors.Retry(after=7)), 7),
        (ExceptionGroup("g", [errors.Retry(after=7), errors.Retry(after=9)]), 9),
        (chained(errors.Retry(after=7)), None),
        (in_context(errors.Retry(after=7)), None),
    ],
)
def test_table_retry_sets_the_delay_if_it_left_the_body(error: Exception, after: float | None) -> None:
    """Past the cap if it says so; the policy's delay else."""
    policy = Policy(retries=3, first_delay=1, cap=2)
    failure = failure_of(error)
    assert failure.retry_after == after
    assert next_delay(1, policy, failure, lambda: 0.25) == (0.25 if after is None else after)


@pytest.mark.parametrize("code", sorted(errors.CODES))
def test_table_some_codes_are_never_tried_again(code: str) -> None:
    """The next attempt would end the same way."""
    never = {"RUNTIME_ERROR", "STEP_CRASHED", "LIMIT_EXCEEDED", "CORRUPTED_EVENT_LOG", "PAYLOAD_ERROR"}
    assert failure_of(ValueError("x"), code=code).retryable is (code not in never)


@pytest.mark.parametrize("after", [-1, float("nan"), float("inf")])
def test_a_delay_that_makes_no_sense_is_refused(after: float) -> None:
    """Where it is written."""
    with pytest.raises(ValueError, match="0 s or more and at most"):
        errors.Retry(after=after)


def test_the_bound_doubles_up_to_the_cap() -> None:
    """1, 2, 4, ... seconds after the first, second, third error, by default."""
    delays = [delay_before(n, Policy(), lambda: 1.0) for n in range(1, 12)]
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


@given(
    st.builds(
        Policy,
        first_delay=st.floats(0, 1e6),
        factor=st.floats(1, 1e6),
        cap=st.floats(0, 1e6),
    ),
    st.integers(1, 32_000),
    st.floats(0, 1, exclude_max=True),
)
def test_h86_the_delay_is_anywhere_between_zero_and_the_bound(policy: Policy, attempt: int, chance: float) -> None:
    """Full jitter, never over the cap, never an overflow."""
    bound = delay_before(attempt, policy, lambda: 1.0)
    assert 0 <= delay_before(attempt, policy, lambda: chance) <= bound <= policy.cap
    bounds = [delay_before(n, policy, lambda: 1.0) for n in range(1, 6)]
    assert all(a <= b for a, b in pairwise(bounds))
