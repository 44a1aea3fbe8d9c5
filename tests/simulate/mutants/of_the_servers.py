"""Guards of the SQL functions and of the scripts themselves, which no simulation reaches: taken out by altering their
text as ``make hazards`` does, and found by tests on real servers.
"""

from __future__ import annotations

from tests.simulate.mutants.switches import Patch, mutant


@mutant("store/test_hammers.py::test_h04_no_later_position_commits_before_an_earlier_one", seeds=0, historical=True)
def the_function_judges_before_it_locks(patch: Patch) -> None:
    """H02: what append looks at is older than the lock it waits for, or has no lock at all."""
    patch.remove("no_lock")


@mutant("store/test_turns.py::test_h03_of_two_turns_on_one_snapshot_exactly_one_lands[postgres]", seeds=0)
def the_function_compares_no_fence(patch: Patch) -> None:
    """H03: a decision lands whatever landed after the prefix that it was derived from."""
    patch.remove("no_fence")


@mutant("store/test_turns.py::test_h07_a_turn_of_which_one_event_cannot_land_leaves_nothing[postgres]", seeds=0)
def the_function_lands_a_batch_in_part(patch: Patch) -> None:
    """H07: of a turn's batch lands what can."""
    patch.remove("turns_land_in_part")


@mutant(
    "store/test_hammers.py::test_h06_a_crash_at_any_statement_of_an_append_leaves_the_run_as_before",
    seeds=0,
    historical=True,
)
def the_row_moves_without_its_events(patch: Patch) -> None:
    """H06: the fence has moved and the insert fails, so that everybody conflicts for ever."""
    patch.remove("rows_without_events")


@mutant("store/test_hammers.py::test_h15_whoever_waits_for_a_token_holds_no_later_one", seeds=0, historical=True)
def tokens_are_locked_in_the_order_of_asking(patch: Patch) -> None:
    """H15: two calls that take two tokens crosswise wait for each other."""
    patch.remove("tokens_in_any_order")


@mutant("store/test_hammers.py::test_h76_the_index_allows_one_start_per_attempt", seeds=0)
def no_unique_index(patch: Patch) -> None:
    """H10, H76: what a look-up may miss lands twice."""
    patch.remove("no_unique_index")


@mutant("queue/test_settle.py::test_h42_a_wake_during_a_turn_hands_the_tick_back_to_its_owner[valkey]", seeds=0)
def the_script_keeps_no_dirty_mark(patch: Patch) -> None:
    """H42: a wake that comes while the run's tick is at work is lost."""
    patch.remove("wakes_are_absorbed")


@mutant(
    "queue/test_leases.py::test_h63_only_the_delivery_that_holds_a_lease_may_renew_settle_or_release_it[valkey]",
    seeds=0,
)
def the_scripts_ask_for_no_owner(patch: Patch) -> None:
    """H63: whoever has lost a message renews, settles and releases it under its new owner."""
    patch.remove("anybody_may_settle")


@mutant("queue/test_settle.py::test_h57_a_request_to_recover_is_or_ed_into_whatever_it_meets[valkey-ready]", seeds=0)
def the_scripts_absorb_recovery(patch: Patch) -> None:
    """H57: a recovering tick that meets a message which is there already is lost in it."""
    patch.remove("recovery_is_absorbed")


@mutant("queue/test_leases.py::test_h55_exactly_one_claim_is_told_that_the_generation_is_new[valkey]", seeds=0)
def the_script_reads_no_generation(patch: Patch) -> None:
    """H44, H55: nobody notices that Redis was lost."""
    patch.remove("nobody_notices_a_flush")
