"""Guards of facts, of deadlines, and of what the store's callers share."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from tests.hazards.registry import removal, without_sql, without_statement
from tests.hazards.removals_of_the_log import ENTITY_ENDED, FACTS, TURNS

from fencepost_store import connections, merging
from fencepost_store.protocol import Batch, FactOutcome, Outcome, Verdict


@removal(
    "H50",
    guard="step_retrying arms the deadline in its own transaction",
    tests=["store/test_deadlines.py::test_h50_a_retry_arms_the_deadline_that_brings_it"],
)
def retries_arm_nothing(patch: pytest.MonkeyPatch) -> None:
    """Its wake is Redis' business alone."""
    arming = "IF v_type = 12 THEN\n                    v_wakes[b] := least("
    without_sql(
        patch,
        ("append", arming, arming.replace("v_wakes[b] := least(", "v_due_is_lost := least(")),
        ("append", "    v_landed boolean[];", "    v_landed boolean[];\n    v_due_is_lost bigint;"),
    )


@removal(
    "H52",
    guard="a child's end is recorded once",
    tests=[f"{FACTS}::test_h52_telling_a_parent_twice_is_refused_as_a_duplicate"],
)
def parents_are_told_twice(patch: pytest.MonkeyPatch) -> None:
    """Neither the look-up nor the index minds."""
    without_sql(
        patch,
        ("append", ENTITY_ENDED, "WHEN v_needed IS NOT NULL AND v_end_seq < 0"),
        ("events_ordinal", "CREATE UNIQUE INDEX", "CREATE INDEX"),
    )


@removal(
    "H58",
    guard="who has not seen everything may only lower the deadline",
    tests=["store/test_deadlines.py::test_h58_a_turn_that_appends_nothing_cannot_disarm_what_it_has_not_seen"],
)  # fmt: skip
def touch_disarms(patch: pytest.MonkeyPatch) -> None:
    """A touch sets what it says."""
    without_statement(
        patch,
        "touch",
        "WHEN last_seq = $3 THEN CASE",
        "WHEN $3::integer IS NOT NULL THEN CASE",
    )


@removal(
    "H97",
    guard="a touch is fenced",
    tests=["store/test_deadlines.py::test_h97_touch_is_fenced_and_works_on_ended_runs"],
)
def touch_without_a_fence(patch: pytest.MonkeyPatch) -> None:
    """It lands on whatever the run has become."""
    without_statement(patch, "touch", "run_id = $1 AND fence = $2", "run_id = $1 AND $2::integer IS NOT NULL")


@removal(
    "H74", "H106",
    guard="step_failed and step_retrying must be of the newest attempt",
    tests=[
        f"{FACTS}::test_h74_facts_of_an_older_attempt_are_refused_but_its_result_is_taken",
        f"{FACTS}::test_h106_a_retry_of_an_attempt_that_is_not_the_newest_is_refused_with_the_step_open",
    ],
)  # fmt: skip
def any_attempt_may_fail_the_step(patch: pytest.MonkeyPatch) -> None:
    """A zombie's word counts."""
    without_sql(patch, ("append", "(v_start_seq IS NULL OR v_after_seq IS NOT NULL)", "v_start_seq IS NULL"))


@removal(
    "H76",
    guard="an attempt is started once, in order",
    tests=[f"{FACTS}::test_h76_an_attempt_is_started_once_and_in_order"],
)
def any_start_goes(patch: pytest.MonkeyPatch) -> None:
    """The look-up is left out."""
    without_sql(patch, ("append", "(v_start_seq IS NOT NULL OR v_before_seq IS NULL)", "v_start_seq < 0"))


@removal(
    "H85",
    guard="a connection that has died is made anew",
    tests=["store/test_trouble.py::test_h85_after_the_server_dropped_every_connection_the_next_call_connects_anew"],
)
def dead_connections_are_kept(patch: pytest.MonkeyPatch) -> None:
    """Whatever the pool has is used."""

    @asynccontextmanager
    async def use(self: Any) -> AsyncGenerator[Any]:
        async with self._free:
            held = self._idle.pop() if self._idle else await self._take()
            try:
                yield held
            finally:
                self._idle.append(held)

    patch.setattr(connections.Connections, "use", use)


@removal(
    "H90",
    guard="step_started does not move the fence",
    tests=[f"{FACTS}::test_h90_invisible_facts_do_not_move_the_fence"],
)
def every_event_is_visible(patch: pytest.MonkeyPatch) -> None:
    """A start elsewhere costs a turn."""
    counted = "END IF;\n            IF v_type NOT IN ({invisible}) THEN"
    without_sql(patch, ("received_counted", counted, "END IF;\n            IF v_type > 0 THEN"))


@removal(
    "H99", "H107",
    guard="the append looks at the retry's time",
    tests=[f"{FACTS}::test_h99_h107_the_next_start_waits_for_its_retry"],
)  # fmt: skip
def starts_come_early(patch: pytest.MonkeyPatch) -> None:
    """The next attempt starts whenever somebody asks."""
    without_sql(patch, ("append", "v_attempt > 1 AND v_retry_due > o_now THEN 3", "v_attempt > 1 AND o_now < 0 THEN 3"))


@removal(
    "H102",
    guard="a verdict per fact, also of merged ones",
    tests=[
        f"{FACTS}::test_h102_one_refused_fact_does_not_hurt_its_neighbours",
        "store/test_coalescer.py::test_h102_facts_of_one_run_are_merged_and_their_verdicts_taken_apart",
    ],
)
def one_refusal_for_all(patch: pytest.MonkeyPatch) -> None:
    """What was merged is refused together."""

    def split(verdict: Verdict, batches: list[Batch]) -> list[Verdict]:
        bad = any(fact.outcome is FactOutcome.refused for fact in verdict.facts)
        return [msgspec.structs.replace(verdict, outcome=Outcome.refused) if bad else verdict for _ in batches]

    patch.setattr(merging, "split", split)


@removal(
    "H103",
    guard="a delivery id that has landed is looked up before anything else",
    tests=[f"{FACTS}::test_h103_a_signal_sent_twice_is_accepted_once_even_after_disposal_and_the_end"],
)
def delivery_ids_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A signal sent again is a new one."""
    without_sql(
        patch,
        ("append", "IF v_type IN (32, 52) AND v_dedupe IS NOT NULL THEN", "IF v_type < 0 THEN"),
        ("events_delivery", "CREATE UNIQUE INDEX", "CREATE INDEX"),
    )


@removal(
    "H105",
    guard="parking is fenced",
    tests=[f"{TURNS}::test_h105_a_stale_worker_cannot_park_a_run_that_has_moved_on"],
)
def parking_without_a_fence(patch: pytest.MonkeyPatch) -> None:
    """A stale worker parks what has moved on."""
    without_statement(patch, "park", "AND fence = $2 AND", "AND $2::integer IS NOT NULL AND")


@removal(
    "H112",
    guard="a batch whose writer has not seen everything may only lower the deadline",
    tests=["store/test_deadlines.py::test_h112_who_has_not_seen_everything_may_only_lower"],
)
def batches_set_any_deadline(patch: pytest.MonkeyPatch) -> None:
    """As they please."""
    without_sql(
        patch,
        (
            "append_leaves_deadlines",
            "WHEN r.last_seq = p_seens[1] THEN\n",
            "WHEN p_seens[1] > 0 THEN\n",
        ),
        ("append", "CASE WHEN v_seen_all[b] THEN p_wakes[b] ELSE least(v_wakes[b], p_wakes[b]) END", "p_wakes[b]"),
    )
