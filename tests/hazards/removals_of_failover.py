"""Guards against logs that were replaced: stamps, and what is thrown away with a server."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

from typing import Any

import pytest
from tests.hazards.registry import removal, without_sql, without_statement

from fencepost.engine import closing, hotpath
from fencepost.engine.aids import Aids
from fencepost.engine.live import LiveRun
from fencepost_store import ledger
from fencepost_store.ledger import Ledger

STAMPS, FAILOVER = "store/test_stamps.py", "engine/test_hazards_failover.py"


@removal(
    "H190",
    guard="a decision's fence is compared with what the event there carries",
    tests=[
        f"{STAMPS}::test_h190_a_decision_of_a_lost_branch_conflicts_at_the_same_position",
        f"{STAMPS}::test_h190_of_several_runs_only_the_lost_branch_conflicts",
        f"{STAMPS}::test_h190_nor_does_it_touch_park_or_append_under_the_lock",
    ],
)
def fences_are_positions(patch: pytest.MonkeyPatch) -> None:
    """Whatever stands there."""
    without_sql(
        patch,
        ("stamps", "'AND r.stamp = coalesce(p_stamps[1], r.stamp) AND r.status < 10", "'AND r.status < 10"),
        ("stamps", " OR (p_fences[b] IS NOT NULL AND p_stamps[b] <> v_stamps[b])", ""),
    )
    without_statement(patch, "touch", " AND stamp = coalesce($5, stamp)", " AND ($5::bigint IS NULL OR true)")
    patch.setattr(Ledger, "stands_at", lambda self, fence, stamp: self.run.fence == fence)


@removal(
    "H191", "H192",
    guard="a load begins anew where the log does not hold what was seen",
    tests=[
        f"{STAMPS}::test_h191_h192_who_has_seen_another_log_is_given_this_one_from_its_beginning",
        f"{FAILOVER}::test_h190_h191_h192_a_live_instance_of_a_lost_branch_is_read_anew",
    ],
)  # fmt: skip
def loads_go_on_at_a_position(patch: pytest.MonkeyPatch) -> None:
    """Of whatever log it is."""
    without_statement(patch, "load", ") = $5 THEN $2 ELSE 0 END AS after", ") = $5 THEN $2 ELSE $2 END AS after")
    patch.setattr(Ledger, "holds", lambda self, seq, stamp: True)


@removal(
    "H193",
    guard="facts, heartbeats and chunks name the creation or the start that they are of",
    tests=[
        f"{STAMPS}::test_h193_a_fact_of_another_step_of_the_same_name_is_refused",
        f"{STAMPS}::test_h193_a_signal_for_another_hook_of_the_same_name_is_refused",
        f"{STAMPS}::test_h193_heartbeats_and_chunks_of_another_start_are_refused",
        f"{FAILOVER}::test_h193_the_result_of_a_lost_step_is_not_that_of_its_namesake",
    ],
)
def names_are_identities(patch: pytest.MonkeyPatch) -> None:
    """A step of the same name is the same step."""
    without_sql(
        patch,
        ("stamps", "CASE WHEN p_of[i] <> v_found.stamp\n", "CASE WHEN false\n"),
        ("stamped_starts", "' OR p_stamp <> v_stamp THEN", "' THEN"),
    )
    without_statement(patch, "beat", " AND s.stamp = coalesce($5, s.stamp)", " AND ($5::bigint IS NULL OR true)")
    patch.setattr(ledger, "_is_another", lambda created, event: False)
    patch.setattr(hotpath, "_is_of", lambda ended, steps: ended.entity in steps)


@removal(
    "H194",
    guard="the end of a child that the log does not name is refused",
    tests=[
        f"{STAMPS}::test_h194_the_end_of_a_child_that_the_log_does_not_name_is_refused",
        f"{FAILOVER}::test_h194_a_child_of_a_lost_decision_tells_its_parent_nothing",
    ],
)
def any_child_ends_the_child(patch: pytest.MonkeyPatch) -> None:
    """Whoever has this parent and this entity."""
    without_sql(patch, ("stamps", "AND p_token[i] <> v_found.dedupe)", "AND false)"))
    real: Any = ledger._is_another
    patch.setattr(
        ledger, "_is_another", lambda created, event: event.of not in (None, created.stamp) and real(created, event)
    )

    async def goes_on(*args: Any) -> bool:
        return True

    patch.setattr(closing, "goes_on", goes_on)


@removal(
    "H195",
    guard="an attempt whose chunks are lost is handed back",
    tests=[f"{FAILOVER}::test_h195_chunks_that_are_lost_cost_an_attempt_and_no_retry"],
)
def lost_chunks_are_the_steps_failure(patch: pytest.MonkeyPatch) -> None:
    """It fails with what its stream has raised."""
    patch.setattr(Aids, "trouble", lambda self: None)


@removal(
    "H196",
    guard="an end from outside names the event at which the run stood",
    tests=[f"{STAMPS}::test_h196_an_end_from_outside_lands_only_in_the_log_that_was_looked_at"],
)
def ends_rest_on_nothing(patch: pytest.MonkeyPatch) -> None:
    """Whatever log it is."""
    rests = "OR (p_fences[b] IS NULL AND p_stamps[b] IS DISTINCT FROM ("
    without_sql(patch, ("stamps", rests, rests.replace("AND p_stamps", "AND false AND p_stamps")))


@removal(
    "H197",
    guard="instances are dropped where the store leads to another server",
    tests=[f"{FAILOVER}::test_h197_instances_are_dropped_where_the_store_leads_to_another_server"],
)
def servers_are_all_the_same(patch: pytest.MonkeyPatch) -> None:
    """What was known on the other one is kept."""
    patch.setattr(LiveRun, "meet", lambda self, epoch: True)
