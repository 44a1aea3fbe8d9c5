"""Time and chance inside a workflow, derived from the log and the run id; outside one, the plain things."""

from __future__ import annotations

import asyncio
import random as stdlib_random
import uuid
from datetime import UTC, datetime, timedelta

from fencepost.durations import SECONDS_MAX, Duration, plain_seconds
from fencepost.replay import interface


async def sleep(delay: Duration | datetime) -> None:
    """Sleep for seconds, a timedelta or a text (``"30s"``, ``"1h30m"``), or until an aware datetime.

    In a workflow the sleep is durable and costs nothing while it lasts. A duration counts from the turn that asks, by
    the database's clock, so an outage before it does not use it up; an instant stays what it is.

    A delay of zero or less, or an instant in the past, returns after giving others a turn. Raises ValueError for a
    naive datetime and for a delay that is not finite or beyond a century.
    """
    if isinstance(delay, datetime):
        if delay.tzinfo is None:
            raise ValueError(f"sleep({delay!r}): the datetime has no time zone; use datetime.now(UTC) and the like")
        asking = interface.current()
        if asking is not None:
            await _until(asking, delay)
            return
        delay = delay - now()
    seconds = plain_seconds(delay, "sleep")
    if not seconds <= SECONDS_MAX:
        raise ValueError(
            f"sleep({delay!r}): the delay must be finite, and at most {SECONDS_MAX:,} s (a century); to wait without an"
            " end, await a hook"
        )
    await asyncio.sleep(max(0.0, seconds))


async def _until(asking: interface.Asking, instant: datetime) -> None:
    due = (instant - _EPOCH) // timedelta(microseconds=1)
    if due <= asking.time():
        await asyncio.sleep(0)
        return
    future, timer = asking.alarm(due)
    try:
        await future
    finally:
        timer.cancel()


_EPOCH = datetime.fromtimestamp(0, UTC)


def now() -> datetime:
    """The time, aware, in UTC. In a workflow: that of the last event it was given, so that a replay sees the same."""
    asking = interface.current()
    if asking is None:
        return datetime.now(UTC)
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=asking.time())


def random() -> stdlib_random.Random:
    """A new random number generator.

    In a workflow it is seeded from the run's id and the place in the code: never use it for secrets.
    """
    asking = interface.current()
    if asking is None:
        return stdlib_random.Random()
    return stdlib_random.Random(asking.seed(asking.new_id("random")))


def uuid4() -> uuid.UUID:
    """A UUID of version 4.

    In a workflow it is derived from the run's id and the place in the code: unique, but no secret.
    """
    asking = interface.current()
    if asking is None:
        return uuid.uuid4()
    return uuid.UUID(bytes=asking.seed(asking.new_id("uuid4"))[:16], version=4)
