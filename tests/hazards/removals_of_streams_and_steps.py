"""Guards of streams, of steps' time, of transactions and of heartbeats."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from tests.hazards.registry import removal, without_sql, without_statement

from fencepost.engine import tick
from fencepost.engine.live import LiveRun
from fencepost.engine.owed import Owed
from fencepost.streaming import StreamSource
from fencepost_store import connections, driver
from fencepost_store.joint import Joint
from fencepost_store.memory_beats import Beats
from fencepost_store.postgres import PostgresStore

STREAMS, TIME = "store/test_streams.py", "engine/test_hazards_step_time.py"


@removal(
    "H113",
    guard="a stream knows how much of a writer it has",
    tests=[f"{STREAMS}::test_h113_a_write_that_is_sent_again_lands_once"],
)
def chunks_are_appended_again(patch: pytest.MonkeyPatch) -> None:
    """What comes is new."""
    known = "o_sent := CASE WHEN v_writer.attempt = p_attempt THEN v_writer.sent ELSE 0 END;"
    without_sql(patch, ("write_stream", known, "o_sent := p_first;"))


@removal(
    "H114",
    guard="a stream is written by the newest start of its step",
    tests=[f"{STREAMS}::test_h114_a_zombie_is_refused_once_the_next_attempt_has_started"],
)
def zombies_write_on(patch: pytest.MonkeyPatch) -> None:
    """Nobody asks the log."""
    without_sql(patch, ("write_stream", "IF v_newest IS DISTINCT FROM p_attempt THEN", "IF v_newest IS NULL THEN"))


@removal(
    "H115",
    guard="a reader of an ended run waits for the stream's lock and reads once more",
    tests=["engine/test_streams.py::test_h115_a_write_that_was_under_way_when_the_run_ended_is_read"],
)
def readers_leave_at_the_end(patch: pytest.MonkeyPatch) -> None:
    """The run has ended, so there is nothing more."""

    async def settle(self: Any) -> None:
        return

    patch.setattr(StreamSource, "_settle", settle)


@removal(
    "H120",
    guard="step_failed names the newest start, 0 for none",
    tests=["store/test_facts.py::test_h120_a_step_without_a_start_fails_as_attempt_0_and_only_then"],
)
def any_failure_ends_the_step(patch: pytest.MonkeyPatch) -> None:
    """Whatever was started since."""
    without_sql(patch, ("append", "(v_start_seq IS NULL OR v_after_seq IS NOT NULL)", "v_start_seq < 0"))


@removal(
    "H121",
    guard="a turn ends the steps whose time is over",
    tests=[
        f"{TIME}::test_h121_a_step_that_nobody_serves_ends_by_its_time",
        f"{TIME}::test_h121_the_time_of_a_step_survives_redis_and_the_worker",
    ],
)
def steps_are_timed_by_their_executors(patch: pytest.MonkeyPatch) -> None:
    """If there is one."""

    def waits_only(live: LiveRun, owed: Owed, token: str, now: int) -> None:
        assert live.instance is not None
        live.instance.fire_due(now)

    patch.setattr(tick, "time_out", waits_only)


@removal(
    "H122",
    guard="what is refused is rolled back",
    tests=["engine/test_transactional_steps.py::test_h122_writes_of_a_run_that_has_ended_are_rolled_back"],
)
def refused_writes_stay(patch: pytest.MonkeyPatch) -> None:
    """The body was through, after all."""
    patch.setattr(Joint, "roll_back", Joint.commit)


@removal(
    "H123",
    guard="deferred constraints are checked before the run's row is locked",
    tests=[
        "engine/test_transactional_steps.py::test_h123_a_deferred_constraint_is_checked_before_the_runs_row_is_locked"
    ],
)
def constraints_at_the_commit(patch: pytest.MonkeyPatch) -> None:
    """Behind the lock."""
    without_statement(patch, "seal", "SET CONSTRAINTS ALL IMMEDIATE;\n", "")


GUARDS = "engine/test_transactional_guards.py"


@removal(
    "H123",
    guard="the server ends a session that holds the run's row and does nothing",
    tests=[f"{GUARDS}::test_h123_a_worker_that_freezes_with_the_runs_row_loses_it"],
)
def frozen_workers_keep_the_row(patch: pytest.MonkeyPatch) -> None:
    """As long as their connection stands."""
    limit = ";\nSET LOCAL idle_in_transaction_session_timeout = {joint_budget_ms}"
    without_statement(patch, "seal", limit, "")


@removal(
    "H123",
    guard="the server ends a step's wait for the run's row",
    tests=[f"{GUARDS}::test_h123_a_row_that_somebody_else_holds_is_waited_for_only_so_long"],
)
def the_row_is_waited_for(patch: pytest.MonkeyPatch) -> None:
    """With the user's own locks in hand."""
    without_statement(patch, "seal", "SET LOCAL lock_timeout = {joint_budget_ms};\n", "")


@removal(
    "H124",
    guard="a tick of a run that is not there yet looks again",
    tests=["engine/test_start_in_transaction.py::test_h124_a_run_is_found_soon_after_a_commit_that_nobody_told_of"],
)
def unborn_runs_are_left(patch: pytest.MonkeyPatch) -> None:
    """There is no such run."""
    patch.setattr(tick, "look_again_ms", lambda *args: None)


@removal(
    "H125",
    guard="the details of an open step are kept",
    tests=["engine/test_heartbeats.py::test_h125_an_end_that_does_not_land_leaves_the_details_to_the_next_attempt"],
)
def details_are_forgotten_early(patch: pytest.MonkeyPatch) -> None:
    """Whoever says that the step has ended is believed."""

    async def forget_beat(self: Beats, run_id: str, entity: str) -> None:
        self._details.pop((run_id, entity), None)

    patch.setattr(Beats, "forget_beat", forget_beat)


@removal(
    "H125",
    guard="only the newest start of a step is heard",
    tests=["store/test_heartbeats.py::test_h125_only_the_newest_start_of_an_open_step_is_heard"],
)
def zombies_beat_on(patch: pytest.MonkeyPatch) -> None:
    """A start is a start."""
    later = "n.ordinal = $3 + 1)"
    without_statement(patch, "beat", later, "n.ordinal = $3 + 1 AND n.ordinal < 0)")


@removal(
    "H129",
    guard="a user's statement has a call's time",
    tests=["engine/test_transactional_network.py::test_h129_a_statement_without_an_answer_ends_with_a_calls_time"],
)
def users_statements_wait_for_ever(patch: pytest.MonkeyPatch) -> None:
    """However long it takes."""
    join = PostgresStore.join

    async def unbounded(self: PostgresStore) -> Joint:
        self._joints._timeout = 600.0
        return await join(self)

    patch.setattr(PostgresStore, "join", unbounded)


@removal(
    "H130",
    guard="a connection that was idle for long is asked before it is used",
    tests=[
        "store/test_connections.py::test_h130_a_connection_that_was_dropped_while_it_was_idle_is_found_by_a_question"
    ],
)
def idle_connections_are_trusted(patch: pytest.MonkeyPatch) -> None:
    """The call will show."""

    async def answers(connection: Any) -> bool:
        return True

    patch.setattr(connections, "is_fit", answers)


LOANS, BY_HAND = "engine/test_transactional_loans.py", "engine/test_transactional_by_hand.py"


@removal(
    "H183",
    guard="what transaction() lends ends with its block",
    tests=[f"{LOANS}::test_h183_what_was_lent_is_refused_in_the_next_steps_transaction"],
)
def connections_are_given_for_good(patch: pytest.MonkeyPatch) -> None:
    """As the driver's own."""
    patch.setattr(Joint, "lend", lambda self, ended: self.connection)
    patch.setattr(Joint, "revoke", lambda self: False)


@removal(
    "H184",
    guard="a transaction is known by its id",
    tests=[f"{BY_HAND}::test_h184_a_transaction_that_is_not_ours_any_more_is_named_and_not_retried"],
)
def any_transaction_will_do(patch: pytest.MonkeyPatch) -> None:
    """If only there is one."""
    patch.setattr(Joint, "_watch", lambda self, failed=False: None)
    mine = "pg_current_xact_id_if_assigned()::text = current_setting('fencepost.transaction', true)"
    without_statement(patch, "seal", mine, "true")


@removal(
    "H184",
    guard="the step's end is appended as the session's own role",
    tests=[f"{BY_HAND}::test_h184_what_the_body_has_set_does_not_stand_in_the_way_of_its_end"],
)
def the_bodys_role_appends(patch: pytest.MonkeyPatch) -> None:
    """Which may not."""
    without_statement(patch, "seal", "SET SESSION AUTHORIZATION DEFAULT;\nRESET ROLE;\n", "")


@removal(
    "H185",
    guard="a session is cleaned before another step has it",
    tests=[f"{LOANS}::test_h185_what_a_step_leaves_in_its_session_is_not_there_for_the_next"],
)
def sessions_are_handed_on(patch: pytest.MonkeyPatch) -> None:
    """As they are."""

    async def clean(self: Joint) -> None:
        self._fit = True

    patch.setattr(Joint, "clean", clean)


@removal(
    "H186",
    guard="a pooler is recognised, and statements have names of their process",
    tests=[
        "engine/test_pooler.py::test_h186_a_pooler_is_recognised_and_nothing_is_prepared_on_its_servers",
        "engine/test_pooler.py::test_h186_without_a_pooler_statements_are_prepared_under_names_of_this_process",
    ],
)
def poolers_are_servers(patch: pytest.MonkeyPatch) -> None:
    """And the driver counts from one."""

    async def never(connection: Any) -> tuple[bool, bool]:
        return False, False

    patch.setattr(connections, "pooler", never)
    patch.setattr(driver, "_named", lambda: asyncpg.Connection)
