"""Guards of the event log: the append function, the indexes, the store's seams."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, cast

import msgspec
import pytest
from tests.hazards.registry import removal, without_sql, without_statement

from fencepost import log
from fencepost.audit import run_checks
from fencepost.engine.clock import DatabaseClock
from fencepost_store import appending, coalescer, connections, merging, postgres, statements, wire
from fencepost_store.ledger import Ledger
from fencepost_store.protocol import Batch, Loaded, Store, StoreTrouble, Verdict
from fencepost_store.rows import events_of, run_of
from fencepost_store.trouble import RolledBack

FACTS, TURNS, HAMMERS = "store/test_facts.py", "store/test_turns.py", "store/test_hammers.py"
ENTITY_ENDED = "WHEN v_needed IS NOT NULL AND v_end_seq IS NOT NULL"
RUN_ENDED = "WHEN v_ended[b] IS TRUE THEN {run_ended}"


@removal(
    "H01", "H11", "H74",
    guard="an entity's end is looked up before anything lands on it",
    tests=[
        f"{FACTS}::test_h01_a_step_is_never_started_after_it_was_completed",
        f"{FACTS}::test_h11_a_signal_after_disposal_or_after_the_end_never_reaches_the_log",
        f"{FACTS}::test_h74_facts_of_an_older_attempt_are_refused_but_its_result_is_taken",
    ],
)  # fmt: skip
def ends_are_not_looked_up(patch: pytest.MonkeyPatch) -> None:
    """What comes after an entity's end lands."""
    without_sql(patch, ("append", ENTITY_ENDED, "WHEN v_needed IS NOT NULL AND v_end_seq < 0"))


@removal(
    "H02", "H04",
    guard="the run's row is locked before anything is judged, and (run, seq) is a key",
    tests=[
        f"{HAMMERS}::test_h02_the_one_statement_variant_lets_late_starts_through",
        f"{HAMMERS}::test_h04_no_later_position_commits_before_an_earlier_one",
    ],
)  # fmt: skip
def no_lock(patch: pytest.MonkeyPatch) -> None:
    """Judgement and positions come from a look at a row that somebody else is changing."""
    locked = "FROM {schema}.runs WHERE run_id = p_runs[1] FOR NO KEY UPDATE;"
    # The key is the second guard: without the lock alone, who comes late meets it and is judged again.
    without_sql(
        patch,
        ("append", locked, locked.replace(" FOR NO KEY UPDATE", "")),
        ("events", ",\n    CONSTRAINT events_pk PRIMARY KEY (run_id, seq)", ""),
    )


def _every_fence_fits(patch: pytest.MonkeyPatch) -> None:
    without_sql(
        patch,
        ("append", "r.run_id = p_runs[1] AND r.fence = p_fences[1] AND", "r.run_id = p_runs[1] AND"),
        ("append", "IF p_fences[b] <> o_fences[b] THEN", "IF p_fences[b] < 0 THEN"),
    )
    real = Ledger.append

    def fits(self: Ledger, batch: Batch, *rest: Any) -> Verdict:
        fence = None if batch.fence is None else self.run.fence
        return real(self, msgspec.structs.replace(batch, fence=fence, stamp=None), *rest)

    patch.setattr(Ledger, "append", fits)


@removal(
    "H03", "H07", "H19", "H20", "H21",
    guard="a decision's fence is compared under the lock",
    tests=[
        f"{TURNS}::test_h03_of_two_turns_on_one_snapshot_exactly_one_lands",
        f"{TURNS}::test_h07_a_conflict_writes_nothing_of_its_batch",
        f"{TURNS}::test_h19_every_decision_conflicts_with_a_stale_fence_and_every_fact_lands_without_one",
        "engine/test_hazards_turns.py::test_h20_h21_the_branch_is_decided_by_what_landed_first",
    ],
)  # fmt: skip
def no_fence(patch: pytest.MonkeyPatch) -> None:
    """A decision lands whatever came since."""
    _every_fence_fits(patch)


@removal(
    "H05",
    guard="density is asserted on every load",
    tests=["store/test_trouble.py::test_h05_a_log_with_a_gap_is_corrupt_and_never_loaded"],
)
def no_density(patch: pytest.MonkeyPatch) -> None:
    """A log is taken as it comes."""

    async def load(held: Any, sql: Any, run_id: str, after_seq: int, stamp: int | None = None) -> Loaded | None:
        rows = await held.fetch(sql["load"], run_id, after_seq, 1_000_000, 10**9, stamp)
        if not rows:
            return None
        row = rows[0]
        seqs = range(after_seq + 1, after_seq + 1 + len(row["types"] or ()))
        return Loaded(run_of(row), events_of(row, seqs, run_id) if row["types"] else (), row["now"])

    patch.setattr(postgres, "load_on", load)


@removal(
    "H06", "H09",
    guard="row, log and tokens change in one transaction",
    tests=[f"{HAMMERS}::test_h06_a_crash_at_any_statement_of_an_append_leaves_the_run_as_before"],
)  # fmt: skip
def rows_without_events(patch: pytest.MonkeyPatch) -> None:
    """An insert into the log that fails leaves the row moved on."""
    insert = (
        "    INSERT INTO {schema}.events (at, due, run_id, seq, type, ordinal, attempt, entity, token, dedupe,"
        " payload)\n"
        "    SELECT coalesce(p_at[n], o_now), CASE"
    )
    end = "    WHERE o_codes[n] IN (0, 5) AND o_outcomes[p_batch[n]] = 0;\n"
    without_sql(
        patch,
        ("append", insert, "    BEGIN\n" + insert),
        ("append", end, end + "    EXCEPTION WHEN OTHERS THEN NULL;\n    END;\n"),
    )


@removal(
    "H09",
    guard="the doctor compares a run's row and tokens with its log",
    tests=["audit/test_run_checks.py::test_h09_a_row_that_disagrees_with_its_log_is_told"],
)
def rows_are_believed(patch: pytest.MonkeyPatch) -> None:
    """Whatever the row says, nobody looks."""
    patch.setattr(run_checks, "_row", lambda run, reading: iter(()))
    patch.setattr(run_checks, "_tokens", lambda run, reading: iter(()))


@removal(
    "H07",
    guard="a fenced batch lands as a whole or not at all",
    tests=[f"{TURNS}::test_h07_a_turn_of_which_one_event_cannot_land_leaves_nothing"],
)
def turns_land_in_part(patch: pytest.MonkeyPatch) -> None:
    """What can land does."""
    without_sql(patch, ("append", " OR (v_bad[b] IS TRUE AND p_fences[b] IS NOT NULL)) THEN", ") THEN"))


@removal(
    "H08",
    guard="a fact sent again by the same writer is recognised",
    tests=[f"{FACTS}::test_h08_a_fact_sent_again_by_the_same_writer_is_answered_as_the_first_was"],
)
def repeated_facts_are_strangers(patch: pytest.MonkeyPatch) -> None:
    """The writer is told that somebody else was there."""
    without_sql(
        patch,
        ("append", "WHEN v_repeated IS NOT NULL AND v_type <> 11 THEN 1", ""),
        ("append", "                    WHEN v_repeated IS NOT NULL THEN 1\n", ""),
    )


@removal(
    "H08",
    guard="a call of unknown outcome is not sent again",
    tests=["store/test_coalescer.py::test_h08_a_lost_reply_is_told_as_trouble_and_nothing_is_sent_again"],
)
def lost_replies_are_sent_again(patch: pytest.MonkeyPatch) -> None:
    """As one would do at first."""
    real = coalescer.Coalescer.__init__

    class Again:
        """Sends a call again whose reply did not come."""

        def __init__(self, store: Any) -> None:
            self._store = store

        async def append(self, batches: Sequence[Batch], *, wait: bool = True) -> list[Verdict]:
            try:
                return list(await self._store.append(batches, wait=wait))
            except RolledBack:
                raise
            except StoreTrouble:
                return list(await self._store.append(batches, wait=wait))

    def init(self: Any, store: Any, **options: Any) -> None:
        real(self, cast(Store, Again(store)), **options)

    patch.setattr(coalescer.Coalescer, "__init__", init)


@removal(
    "H10", "H76",
    guard="the unique index on (run, entity, ordinal)",
    tests=[
        f"{TURNS}::test_h10_an_entity_is_created_once",
        f"{HAMMERS}::test_h76_the_index_allows_one_start_per_attempt",
    ],
)  # fmt: skip
def no_unique_index(patch: pytest.MonkeyPatch) -> None:
    """Creations are left to it, and it is the second guard of all others."""
    without_sql(patch, ("events_ordinal", "CREATE UNIQUE INDEX", "CREATE INDEX"))


@removal(
    "H12",
    guard="a token has one row",
    tests=[
        "store/test_hooks.py::test_h12_the_second_claim_lands_as_hook_conflict_naming_the_owner",
        "store/test_hooks.py::test_h12_two_runs_at_once",
    ],
)
def tokens_are_shared(patch: pytest.MonkeyPatch) -> None:
    """Everybody gets the token."""
    without_sql(
        patch,
        ("hooks", "    CONSTRAINT hooks_pk PRIMARY KEY (token),\n", ""),
        ("take_token", " ON CONFLICT (token) DO NOTHING", ""),
    )


@removal(
    "H13",
    guard="a token is let go in the transaction of its hook's disposal",
    tests=[
        "store/test_hooks.py::test_h13_dispose_and_create_again_in_one_batch_any_number_of_rounds",
        "store/test_hooks.py::test_h13_another_run_takes_a_token_in_the_call_that_frees_it",
    ],
)
def tokens_stay(patch: pytest.MonkeyPatch) -> None:
    """Somebody else would have to tidy up."""
    without_sql(patch, ("append", "WHERE h.token = v_op.token AND h.run_id", "WHERE h.token = '' AND h.run_id"))


@removal(
    "H14", "H82", "H11",
    guard="nothing lands after the run's end",
    tests=[
        f"{FACTS}::test_h14_a_result_for_a_run_that_has_ended_is_refused",
        f"{TURNS}::test_h82_of_two_ends_one_stands_and_the_other_sees_it",
        f"{FACTS}::test_h11_a_signal_after_disposal_or_after_the_end_never_reaches_the_log",
    ],
)  # fmt: skip
def runs_go_on_after_their_end(patch: pytest.MonkeyPatch) -> None:
    """The run's status is not asked."""
    without_sql(patch, ("append", RUN_ENDED, "WHEN v_ended[b] IS NULL THEN {run_ended}"))


@removal(
    "H15",
    guard="a call takes its tokens in one order",
    tests=[f"{HAMMERS}::test_h15_whoever_waits_for_a_token_holds_no_later_one"],
)
def tokens_in_any_order(patch: pytest.MonkeyPatch) -> None:
    """In the order of the events."""
    without_sql(patch, ("token_changes_linear", "ORDER BY 1, 3", "ORDER BY 3"))


@removal(
    "H16",
    guard="a worker's idea of time is the database's",
    tests=["engine/test_hazards_clocks.py::test_h16_a_worker_whose_clock_is_wrong_by_minutes"],
)
def workers_believe_their_clocks(patch: pytest.MonkeyPatch) -> None:
    """The wall clock of the host."""
    patch.setattr(DatabaseClock, "now", lambda self: int(time.time() * 1_000_000))  # type: ignore[misc]


@removal(
    "H17",
    guard="the members of a call that was rolled back are appended singly",
    tests=[
        "store/test_coalescer.py::test_h17_a_member_that_is_busy_or_poisoned_is_appended_singly",
        "store/test_coalescer.py::test_h17_on_postgres_a_poisoned_member_fails_alone",
    ],
)
def one_for_all(patch: pytest.MonkeyPatch) -> None:
    """The call's error is everybody's."""
    real = coalescer.Coalescer._call

    async def call(self: Any, groups: list[merging.Group]) -> list[merging.Group]:
        left = await real(self, groups)
        for group in left:
            group.fail(StoreTrouble("a neighbour could not be written"))
        return []

    patch.setattr(coalescer.Coalescer, "_call", call)


@removal(
    "H17",
    guard="a call passes over rows that somebody holds",
    tests=[f"{TURNS}::test_h17_a_locked_run_makes_its_member_busy_and_nobody_else_wait"],
)
def calls_wait_for_locked_rows(patch: pytest.MonkeyPatch) -> None:
    """And so does everybody in the call."""
    without_sql(patch, ("append", "ORDER BY run_id FOR NO KEY UPDATE SKIP LOCKED", "ORDER BY run_id FOR NO KEY UPDATE"))


@removal(
    "H18",
    guard="a reply that does not fit what was asked is trouble",
    tests=[
        "engine/test_seam.py::test_h18_a_reply_that_lacks_what_it_must_carry_is_trouble",
        "store/test_trouble.py::test_h18_a_reply_that_does_not_fit_is_trouble_and_never_a_verdict",
    ],
)
def replies_are_believed(patch: pytest.MonkeyPatch) -> None:
    """Whatever came is success."""
    patch.setattr(log, "_check_landed", lambda batch, verdict: None)
    patch.setattr(wire, "verdicts", lambda row, batches, stamp: [])
    patch.setattr(appending, "verdicts", lambda row, batches, stamp: [])


@removal(
    "H210",
    guard="sessions of ours look rows up by index",
    tests=["store/test_plans.py::test_h210_no_statement_reads_more_of_a_grown_namespace"],
)  # fmt: skip
def plans_are_the_planner_s(patch: pytest.MonkeyPatch) -> None:
    """A table is read from its beginning where that looked cheaper."""
    without_statement(patch, "plans", "SET enable_seqscan = off;", "")


@removal(
    "H211",
    guard="a page of a log ends by its bytes",
    tests=["store/test_log_sizes.py::test_h211_a_page_of_a_log_ends_by_its_bytes"],
)  # fmt: skip
def pages_end_by_events(patch: pytest.MonkeyPatch) -> None:
    """A thousand events come in one row, whatever they weigh."""
    without_statement(patch, "load", "WHERE q.total <= $4 OR", "WHERE $4 > 0 OR")


@removal(
    "H211",
    guard="what the server has against a read is trouble",
    tests=["store/test_log_sizes.py::test_h211_an_error_of_a_read_is_trouble"],
)  # fmt: skip
def a_read_can_be_unstorable(patch: pytest.MonkeyPatch) -> None:
    """A read that fails looks like a value that no store takes."""
    real = connections.translated

    def translated(error: BaseException, dsn: str, *, writes: bool) -> Exception | None:
        del writes
        return real(error, dsn)

    patch.setattr(connections, "translated", translated)


@removal(
    "H213",
    guard="what a batch opens is met only with what it closes",
    tests=["store/test_wide_batches.py::test_h213_a_wide_batch_costs_as_much_as_many_small_ones"],
)  # fmt: skip
def everything_meets_everything(patch: pytest.MonkeyPatch) -> None:
    """Each hook that a batch opens is compared with each that it closes."""
    text = {name: text for _, name, text in statements.migration_files()}["token_changes_linear"]
    without_sql(patch, ("token_changes_linear", text, "SELECT 1"))


@removal(
    "H214",
    guard="a deadline that goes is left in the index",
    tests=["store/test_deadlines_left.py::test_h214_signals_and_their_turns_touch_no_index"],
)  # fmt: skip
def deadlines_go_at_once(patch: pytest.MonkeyPatch) -> None:
    """Each turn takes out of the index what each signal puts in."""
    without_sql(
        patch,
        ("append_leaves_deadlines", "'wake_at = least(r.wake_at, p_wakes[1]),", "'wake_at = p_wakes[1],"),
    )


@removal(
    "H214",
    guard="what was left in the index is moved, not taken",
    tests=[
        "store/test_deadlines_left.py::test_h214_what_was_left_is_not_due_and_is_moved_when_it_has_passed",
        "store/test_deadlines_left.py::test_h214_what_was_left_hides_nothing_that_is_due",
    ],
)  # fmt: skip
def what_was_left_is_taken(patch: pytest.MonkeyPatch) -> None:
    """What stands in the index counts."""
    ours = "wake_after IS NULL OR (wake_after > 0 AND wake_after <= (SELECT now FROM clock)) AS due"
    without_statement(patch, "take_due", ours, "true AS due")
