"""Guards of the engine, taken out one at a time: the sweep of test_crash_everywhere must notice each. Most are those
that ``make hazards`` takes out for the test of one hazard.

A guard whose removal nothing notices is either not needed or not tested; both are defects.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import test_crash_everywhere as sweep
from engine_virtual import EverythingWaits, run
from tests.hazards.removals_of_turns import (
    no_fallback_after_a_lost_fence,
    no_full_reconcile,
    no_recovering_tick_after_an_ended_step,
    no_recovery_dispatch,
    no_tick_after_a_conflict,
    settle_before_append,
)

from fencepost import errors
from fencepost.engine import hotpath, owed, tick
from fencepost.engine.live import LiveRun
from fencepost.engine.owed import Owed
from fencepost.engine.shell import Shell
from fencepost_queue.protocol import Entry

Mutant = Callable[[pytest.MonkeyPatch], None]


def no_tick_for_near_waits(patch: pytest.MonkeyPatch) -> None:
    """The settle does not place the earliest wait's delayed tick; only the deadline is left."""

    def without(shell: Shell, live: LiveRun, what: Owed, *, recover: bool) -> list[Entry]:
        entries = owed.follow_ups(shell, live, what, recover=recover)
        return [entry for entry in entries if entry.delay_ms == 0 or entry.key.startswith("s:")]

    for module in (tick, hotpath):
        patch.setattr(module, "follow_ups", without)


MUTANTS: list[Mutant] = [
    no_recovery_dispatch,
    no_recovering_tick_after_an_ended_step,
    no_fallback_after_a_lost_fence,
    no_tick_after_a_conflict,
    no_full_reconcile,
    no_tick_for_near_waits,
    settle_before_append,
]


@pytest.fixture(scope="module")
def usual_seconds() -> dict[str, float]:
    """How long each shape takes without a fault and without a mutant."""
    return {
        shape.__name__: run(lambda s=shape, g=signal: sweep.drive(s, g)).seconds for shape, signal, _ in sweep.SHAPES
    }


def found_by(usual_seconds: dict[str, float]) -> str | None:
    """The first fault of the sweep at which something is wrong; None if everything looks right."""
    for shape, signal, most in sweep.SHAPES:
        seconds = usual_seconds[shape.__name__]
        usual = _driven(lambda shape=shape, signal=signal: sweep.drive(shape, signal))
        if usual is None or usual.seconds > seconds + 1:
            return f"{shape.__name__} without any fault"
        for fault, bound in sweep.FAULTS:
            for point in sweep.POINTS:
                for n in range(1, usual.visits.get(point, 0) + 1):
                    armed = fault(point, n)
                    driven = _driven(lambda s=shape, g=signal, a=armed: sweep.drive(s, g, a))
                    name = f"{shape.__name__}, {fault.__name__} at {point} {n}"
                    if driven is None or driven.seconds > seconds + bound:
                        return name
                    if max(driven.bodies.values(), default=0) > most:
                        return name
    return None


def _driven(make: Callable[[], Coroutine[Any, Any, sweep.Driven]]) -> sweep.Driven | None:
    try:
        return run(make)
    except (AssertionError, EverythingWaits, errors.ResultTimeout):
        return None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_sweep_notices_a_missing_guard(
    mutant: Mutant, usual_seconds: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each mutant is found, by a named fault."""
    mutant(monkeypatch)
    found = found_by(usual_seconds)
    print(f"{mutant.__name__}: found by {found}")
    assert found is not None
