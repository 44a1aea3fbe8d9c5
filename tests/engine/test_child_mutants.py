"""The guards of children's duties, taken out one at a time: the sweep's shapes with children, or a hazard's own test,
must notice each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import test_crash_everywhere as sweep
import test_hazards_children as hazards
from crash_children import CHILDREN
from crash_shapes import no_signal
from engine_virtual import EverythingWaits, run
from tests.hazards.removals_of_children import (
    asked_before_created,
    no_deadline_for_what_is_owed,
    no_duties_after_the_end,
    no_duties_where_the_end_lands,
    no_recovery_of_children,
)

from fencepost import errors
from fencepost.engine import closing
from fencepost.engine.live import LiveRun
from fencepost.engine.shell import Shell
from fencepost.replay.fold import OpenWork
from fencepost_queue.protocol import Entry

Mutant = Callable[[pytest.MonkeyPatch], None]


def abandoned_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Recovery does not remember children that were given up."""
    real = OpenWork.apply

    def apply(self: OpenWork, event: Any) -> None:
        real(self, event)
        self.abandoned.clear()

    patch.setattr(OpenWork, "apply", apply)


def no_policy_at_the_end(patch: pytest.MonkeyPatch) -> None:
    """The parent's end leaves its children alone."""

    async def nothing(shell: Shell, live: LiveRun, work: OpenWork) -> list[Entry]:
        return []

    patch.setattr(closing, "close_children", nothing)


MUTANTS: list[Mutant] = [
    no_recovery_of_children,
    no_duties_where_the_end_lands,
    no_duties_after_the_end,
    no_deadline_for_what_is_owed,
    asked_before_created,
    abandoned_is_forgotten,
    no_policy_at_the_end,
]


def _own_tests() -> list[tuple[str, Callable[[], None]]]:
    """The hazards' own tests, each with its parameters."""
    around = hazards.test_h52_h96_a_child_s_last_turn_dies_around_telling_its_parent
    points = ("parent.before", "parent.told", "end.done", "settle.before")
    return [
        *(
            (f"{around.__name__}[{point}, {flushed}]", lambda point=point, flushed=flushed: around(point, flushed))
            for point in points
            for flushed in (False, True)
        ),
        (
            "test_h96_a_parent_s_turn_dies",
            lambda: hazards.test_h96_a_parent_s_turn_dies_before_its_child_s_run_exists(False),
        ),
        *(
            (test.__name__, test)
            for test in (
                hazards.test_h109_the_turn_that_lands_a_child_s_end_tells_its_parent,
                hazards.test_h110_a_child_is_created_asked_to_cancel_and_ticked_in_this_order,
                hazards.test_h110_a_child_is_asked_to_cancel_before_its_first_worker_creates_it,
                hazards.test_an_abandoned_child_is_created_also_if_its_parent_s_turn_dies,
            )
        ),
    ]


def found_by() -> str | None:
    """The first test, or fault of the sweep, at which something is wrong; None if everything looks right."""
    for name, test in _own_tests():
        try:
            test()
        except (AssertionError, EverythingWaits, TimeoutError, errors.FencepostError):
            return name
    for shape, most in CHILDREN:
        usual = _driven(lambda shape=shape: sweep.drive(shape, no_signal))
        if usual is None:
            return f"{shape.__name__} without any fault"
        for point, visits in usual.visits.items():
            for n in range(1, visits + 1 if point in sweep.POINTS else 0):
                driven = _driven(lambda s=shape, p=point, n=n: sweep.drive(s, no_signal, sweep.crash(p, n)))
                if driven is None or max(driven.bodies.values(), default=0) > most:
                    return f"{shape.__name__}, crash at {point} {n}"
    return None


def _driven(make: Callable[[], Coroutine[Any, Any, sweep.Driven]]) -> sweep.Driven | None:
    try:
        return run(lambda: asyncio.wait_for(make(), 2_000))
    except (AssertionError, EverythingWaits, TimeoutError, errors.FencepostError):
        return None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_missing_guard_of_children_is_noticed(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mutant is found, by a named test or fault."""
    mutant(monkeypatch)
    found = found_by()
    print(f"{mutant.__name__}: found by {found}")
    assert found is not None
