"""When a run is to begin, as a caller says it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fencepost.errors import ArgumentError

DELAY_SECONDS_MAX = 100 * 366 * 24 * 3600
"""A century: what lies beyond is a mistake in the unit."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def start_of(delay: float | timedelta | None, start_at: datetime | None) -> tuple[int | None, int | None]:
    """Microseconds from now, and an instant in microseconds since the epoch; at most one of them. Both are measured by
    the database clock, never by ours. Raises ArgumentError."""
    if delay is not None and start_at is not None:
        raise ArgumentError("delay and start_at are two ways to say one thing: give one of them")
    if start_at is not None:
        if start_at.tzinfo is None:
            raise ArgumentError(f"start_at = {start_at!r} has no time zone; use datetime.now(UTC) and the like")
        return None, (start_at - _EPOCH) // timedelta(microseconds=1)
    if delay is None:
        return None, None
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else float(delay)
    if not 0 <= seconds <= DELAY_SECONDS_MAX:
        raise ArgumentError(f"delay = {seconds} s: must be 0 or more and at most {DELAY_SECONDS_MAX} s (a century)")
    return round(seconds * 1_000_000), None
