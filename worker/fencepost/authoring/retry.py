"""When a failed attempt is tried again. Pure."""

from __future__ import annotations

from collections.abc import Callable

from fencepost.records import Failure, Policy


def delay_before(attempt_that_failed: int, policy: Policy, uniform: Callable[[], float]) -> float:
    """Seconds before the next attempt, after the n-th error (1, 2, ...).

    Full jitter: uniform between 0 and the exponential bound, so that retries of many runs spread out. ``uniform``
    returns a number in [0, 1).
    """
    assert attempt_that_failed >= 1, attempt_that_failed
    try:
        bound = policy.first_delay * policy.factor ** (attempt_that_failed - 1)
    except OverflowError:  # the power is beyond a float, so the cap is what counts
        bound = policy.cap
    return min(bound, policy.cap) * uniform()


def is_named(error: BaseException, recorded: str, names: tuple[str, ...]) -> bool:
    """Whether the exception is of one of these classes, given by module-qualified name, or of one that inherits from
    one. ``recorded``: the type's name as it was recorded, where the class itself could not be had.
    """
    if not names:
        return False
    return recorded in names or any(name_of(kind) in names for kind in type(error).__mro__)


def name_of(kind: type) -> str:
    """The module-qualified name of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


def next_delay(errors: int, policy: Policy, failure: Failure, uniform: Callable[[], float]) -> float | None:
    """Seconds before the next attempt after ``errors`` executions that ended in an error (this one included); None if
    the step has failed.

    n retries are n + 1 such executions. Retry(after=...) sets the delay, past the cap if it says so, but does not add
    an attempt.
    """
    if not failure.retryable or errors > policy.retries:
        return None
    if failure.retry_after is not None:
        return failure.retry_after
    return delay_before(errors, policy, uniform)
