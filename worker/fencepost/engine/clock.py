"""The database's clock as a worker knows it: the last reading plus the monotonic time since. Wall clocks of workers
are never read (H16).
"""

from __future__ import annotations

from collections.abc import Callable

WINDOW_SECONDS = 10.0
"""For how long the best reading counts; it is replaced by the best of the time after it. In twice that time a clock
that is off by 500 millionths, the most that NTP makes of one, gains 10 ms."""


class DatabaseClock:
    """The database clock, late by what a reply takes, never going back. Microseconds since the epoch.

    A reading is old by the time it is here, so of several the one that puts the clock furthest ahead is the best. But
    not for ever: a monotonic clock that runs fast would carry it into the future, day after day.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._best: int | None = None
        self._before = 0
        self._since = 0.0
        self._last = 0

    def read(self, now: int) -> int:
        """Take a reading that just came with a reply; returns the clock."""
        monotonic = self._monotonic()
        offset = now - int(monotonic * 1_000_000)
        age = monotonic - self._since
        if self._best is None or age >= 2 * WINDOW_SECONDS:
            self._before = self._best = offset
            self._since = monotonic
        elif age >= WINDOW_SECONDS:
            self._before, self._best = self._best, offset
            self._since = monotonic
        else:
            self._best = max(self._best, offset)
        return self.now()

    @property
    def known(self) -> bool:
        """False before the first reading."""
        return self._best is not None

    def now(self) -> int:
        """The clock. Raises RuntimeError before the first reading (the worker reads it at start)."""
        if self._best is None:
            raise RuntimeError("the database clock was asked for before its first reading")
        self._last = max(self._last, max(self._before, self._best) + int(self._monotonic() * 1_000_000))
        return self._last
