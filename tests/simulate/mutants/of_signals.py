"""Guards of what becomes of signals when a run goes on as another, and of what durations count from."""

# Mutants reach where no caller does.
# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

import msgspec
from tests.simulate.mutants.switches import Patch, mutant

from fencepost.engine import advance
from fencepost.replay import facts
from fencepost.replay.asking import AskingFace
from fencepost_store.tables import Tables

HANDOVER = "engine/test_hazards_handover.py"


@mutant(f"{HANDOVER}::test_h173_payloads_that_nobody_has_taken_go_over_to_the_run_that_goes_on", historical=True)
def nothing_goes_over(patch: Patch) -> None:
    """H173: the run that goes on begins as if nobody had sent anything."""
    patch.set(advance, "with_successor", lambda batch, live, work: batch)


@mutant(f"{HANDOVER}::test_h174_a_payload_that_lands_between_the_end_of_the_code_and_the_runs_end_goes_over")
def late_payloads_are_nobodys(patch: Patch) -> None:
    """H174: what comes after the code's end, and before the run's, is passed over."""
    patch.set(facts, "late", lambda run, ask, event: None)


@mutant("engine/test_hazards_durations.py::test_h176_timers_of_one_turn_keep_their_order")
def durations_count_from_the_event(patch: Patch) -> None:
    """H176: a wait is due workflow time plus its delay, so an outage uses it up."""
    patch.set(AskingFace, "turn_time", AskingFace.time)


@mutant("store/test_handover.py::test_h173_the_run_that_goes_on_begins_with_hooks_and_payloads_in_order[memory]")
def what_goes_over_is_out_of_order(patch: Patch) -> None:
    """H173: the newest payload comes first."""
    real: Any = Tables._hand_over

    def hand_over(self: Tables, before: Any, after: Any, batch: Any) -> None:
        real(self, before, after, batch)
        at = [place for place, event in enumerate(after.events) if event.dedupe is not None]
        turned = [after.events[place] for place in reversed(at)]
        for place, event in zip(at, turned, strict=True):
            after.events[place] = msgspec.structs.replace(event, seq=place + 1)

    patch.set(Tables, "_hand_over", hand_over)
