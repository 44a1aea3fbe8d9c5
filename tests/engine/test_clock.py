"""The database clock as a worker extrapolates it (H16)."""

from __future__ import annotations

import pytest

from fencepost.engine.clock import WINDOW_SECONDS, DatabaseClock

EPOCH = 1_700_000_000_000_000


class Machine:
    """A worker's monotonic clock that runs at ``rate``, and the database's, read over a wire."""

    def __init__(self, rate: float) -> None:
        self.seconds = 0.0
        self.clock = DatabaseClock(lambda: 5_000.0 + self.seconds * rate)

    @property
    def database(self) -> int:
        return EPOCH + int(self.seconds * 1_000_000)

    def read(self, reply_seconds: float = 0.0) -> int:
        """A reading that was ``reply_seconds`` under way."""
        now = self.database
        self.seconds += reply_seconds
        return self.clock.read(now)


def test_of_several_readings_the_one_that_was_quickest_counts() -> None:
    """A slow reply does not put the clock back."""
    machine = Machine(1.0)
    machine.read()
    machine.seconds += 1
    assert machine.read(reply_seconds=0.5) == machine.database


@pytest.mark.parametrize("rate", [1.0005, 0.9995])
def test_h16_a_clock_that_runs_off_is_followed_for_weeks(rate: float) -> None:
    """Found by the simulator, seed 93: a worker with a fast clock dated events ever further into the future, and what
    slept after them slept too long."""
    machine = Machine(rate)
    machine.read()
    for _ in range(5_000):
        machine.seconds += 60.0
        assert abs(machine.read(reply_seconds=0.001) - machine.database) <= 32_000


def test_h16_it_is_followed_while_it_is_read_all_the_time() -> None:
    """However often: the best reading of old is forgotten."""
    machine = Machine(1.0005)
    machine.read()
    for _ in range(20_000):
        machine.seconds += 0.5
        now = machine.read(reply_seconds=0.001)
        assert abs(now - machine.database) <= 2 * WINDOW_SECONDS * 500 + 2_000


def test_it_never_goes_back() -> None:
    """Also where the database's own clock is set back, or another takes its place."""
    machine = Machine(1.0)
    before = machine.read()
    for _ in range(100):
        machine.seconds += 1.0
        now = machine.clock.read(machine.database - 30_000_000)
        assert now >= before
        before = now


def test_it_is_not_asked_before_its_first_reading() -> None:
    """A worker reads it before it consumes."""
    clock = DatabaseClock(lambda: 0.0)
    assert not clock.known
    with pytest.raises(RuntimeError):
        clock.now()
