"""Guards against servers that come back older, and against locks that are held for long."""

from __future__ import annotations

from typing import Any

from tests.simulate.mutants.switches import Patch, mutant

from fencepost_queue.lane import Lane

QUEUE, RESORT = "queue/test_roles.py", "engine/test_hazards_last_resort.py"


@mutant(f"{QUEUE}::test_h220_one_of_many_claims_sweeps_where_another_server_has_the_data[memory]", seeds=0)
def old_data_are_trusted(patch: Patch) -> None:
    """H220: nobody asks which server made the generation."""
    real: Any = Lane.claim

    def claim(self: Lane, *args: Any) -> Any:
        self.server = args[-1]
        return real(self, *args)

    patch.set(Lane, "claim", claim)


@mutant(f"{QUEUE}::test_h220_a_server_that_restarts_from_an_old_dump_is_swept", seeds=0)
def the_script_trusts_old_data(patch: Patch) -> None:
    """H220: the script does not ask either."""
    patch.remove("the_script_trusts_old_data")


@mutant("store/test_held_rows.py::test_h224_held_rows_stop_no_other_append[True]", seeds=0)
def calls_wait_for_rows(patch: Patch) -> None:
    """H224: two rows that somebody holds stop every append of a process."""
    patch.remove("calls_wait_for_rows")


@mutant(f"{RESORT}::test_h225_a_long_log_is_replayed_before_its_row_is_locked", seeds=0)
def the_last_resort_replays_under_its_lock(patch: Patch) -> None:
    """H225: the whole log is loaded and replayed within the lock's budget, and who fails there comes back there."""
    patch.remove("the_last_resort_replays_under_its_lock")


@mutant(f"{RESORT}::test_h225_what_fails_under_the_lock_is_tried_the_usual_way_again", seeds=0)
def who_fails_in_the_last_resort_comes_back_there(patch: Patch) -> None:
    """H225: what failed under the lock is never tried without it."""
    patch.remove("who_fails_in_the_last_resort_comes_back_there")
