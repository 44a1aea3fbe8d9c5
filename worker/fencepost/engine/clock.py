"""The database's clock as a worker knows it: the last reading plus the monotonic time since. Wall clocks of workers
are never read (H16).
"""

from __future__ import annotations

from collections.abc import Callable


class DatabaseClock:
    """A lower bound of the database clock, never going back. Microseconds since the epoch."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._offset: int | None = None

    def read(self, now: int) -> int:
        """Take a reading that just came with a reply; returns the clock."""
        offset = now - int(self._monotonic() * 1_000_000)
        if self._offset is None or offset > self._offset:
            self._offset = offset
        return self.now()

    @property
    def known(self) -> bool:
        """False before the first reading."""
        return self._offset is not None

    def now(self) -> int:
        """The clock. Raises RuntimeError before the first reading (the worker reads it at start)."""
        if self._offset is None:
            raise RuntimeError("the database clock was asked for before its first reading")
        return self._offset + int(self._monotonic() * 1_000_000)
