"""Guards against workflow code that blocks in C: the watch of turns."""

from __future__ import annotations

from typing import Any

from tests.simulate.mutants.switches import Patch, mutant

from fencepost.engine import turn_watch
from fencepost.engine.turn_watch import TurnWatch
from fencepost.replay.budget import Overdue

ENDS = "engine/test_quarantine.py::test_h149_a_turn_that_cannot_be_stopped_fails_its_run_before_its_process_ends"


@mutant(ENDS)
def no_turn_is_watched(patch: Patch) -> None:
    """H149: code that blocks holds its process for ever, and its leases are renewed."""

    async def look(self: TurnWatch) -> None:
        return

    patch.set(TurnWatch, "look", look)


@mutant(ENDS)
def code_that_blocks_fails_no_run(patch: Patch) -> None:
    """H149: the process ends, and the next one blocks on the same run."""
    real: Any = TurnWatch.__init__

    async def fail(overdue: Overdue) -> None:
        return

    def init(self: TurnWatch, monotonic: Any, guard: Any, budget: float, _: Any, **options: Any) -> None:
        real(self, monotonic, guard, budget, fail, **options)

    patch.set(TurnWatch, "__init__", init)


@mutant(ENDS)
def interrupts_go_on_for_ever(patch: Patch) -> None:
    """H149: an exception is raised, again and again, in code that no exception reaches."""
    patch.set(turn_watch, "INTERRUPTS_MAX", 1_000_000)
