"""Guards against servers that come back older, or in another role, and against rows that others hold."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace
from tests.hazards.registry import removal, without_lua

from fencepost.engine import tick
from fencepost.engine.advance import Progress
from fencepost.engine.live import LiveRun
from fencepost.engine.owed import Owed
from fencepost.engine.shell import Shell
from fencepost_queue import bell, check, pipeline
from fencepost_queue.lane import Lane
from fencepost_queue.protocol import Delivery
from fencepost_store import connections, joint
from fencepost_store.connections import Held
from fencepost_store.driver import Connection
from fencepost_store.memory import MemoryStore
from fencepost_store.postgres import PostgresStore
from fencepost_store.protocol import Batch, Verdict
from fencepost_store.sessions import Budget

QUEUE, STORE, ROWS = "queue/test_roles.py", "store/test_roles.py", "store/test_held_rows.py"
RESORT = "engine/test_hazards_last_resort.py"


@removal("H220", guard="a claim compares the server with the one that made the generation", tests=[
    f"{QUEUE}::test_h220_one_of_many_claims_sweeps_where_another_server_has_the_data",
    f"{QUEUE}::test_h220_a_server_that_restarts_from_an_old_dump_is_swept",
])  # fmt: skip
def the_script_trusts_old_data(patch: pytest.MonkeyPatch) -> None:
    """Their generation is known, so nothing is lost."""
    without_lua(patch, "claim", "(ARGV[9] ~= '' and server ~= ARGV[9] and server ~= identity())", "false")


@removal("H220", guard="where a claim and the generation disagree the server is asked", tests=[
    f"{QUEUE}::test_h220_a_caller_that_knows_an_older_identity_does_no_harm",
])  # fmt: skip
def callers_know_best(patch: pytest.MonkeyPatch) -> None:
    """Two of them sweep by turns."""
    without_lua(patch, "claim", "server ~= ARGV[9] and server ~= identity())", "server ~= ARGV[9])")


@removal("H221", guard="an error of role ends the connection", tests=[
    f"{QUEUE}::test_h221_nobody_stays_with_a_primary_that_became_a_replica",
    f"{QUEUE}::test_h221_the_bell_leaves_a_primary_that_became_a_replica",
])  # fmt: skip
def replicas_are_kept(patch: pytest.MonkeyPatch) -> None:
    """They answer, after all."""
    for module in (pipeline, bell):
        patch.setattr(module, "is_of_role", lambda error: False)


@removal("H221", guard="a connection asks for the role", tests=[
    f"{QUEUE}::test_h221_a_replica_is_not_taken_for_the_queue",
])  # fmt: skip
def replicas_are_queues(patch: pytest.MonkeyPatch) -> None:
    """What they have can be read."""
    real = check.judge
    patch.setattr(check, "judge", lambda facts: real({**facts, "role": "master"}))


@removal("H222", guard="an error that shows a role or a spoilt session ends the connection", tests=[
    f"{STORE}::test_h222_a_session_that_went_bad_is_met_once",
])  # fmt: skip
def standbys_are_kept(patch: pytest.MonkeyPatch) -> None:
    """They answer, after all."""
    patch.setattr(connections, "is_of_role", lambda error: False)


@removal("H222", guard="what shows it ends all connections of its time", tests=[
    f"{STORE}::test_h222_a_session_that_went_bad_is_met_once",
    f"{STORE}::test_h222_a_transaction_of_a_step_begins_on_no_read_only_session",
])  # fmt: skip
def each_connection_is_met(patch: pytest.MonkeyPatch) -> None:
    """One call fails for each."""

    def distrust(self: Held) -> None:
        self.healthy = False

    patch.setattr(Held, "distrust", distrust)


@removal("H222", guard="a new connection is asked whether it may write", tests=[
    f"{STORE}::test_h222_a_role_that_may_not_write_is_no_connection",
    f"{STORE}::test_h222_a_standby_is_not_ready_until_it_is_promoted",
])  # fmt: skip
def any_server_is_ready(patch: pytest.MonkeyPatch) -> None:
    """The first append will show."""

    async def is_writable(connection: Connection) -> bool:
        return True

    patch.setattr(connections, "is_writable", is_writable)


@removal("H222", guard="a body is given no read-only transaction", tests=[
    f"{STORE}::test_h222_a_transaction_of_a_step_begins_on_no_read_only_session",
])  # fmt: skip
def bodies_find_out(patch: pytest.MonkeyPatch) -> None:
    """And fail for it."""
    patch.setattr(joint, "is_empty", lambda tag: False)


@removal("H223", guard="transactions of ours have limits from their first moment", tests=[
    f"{ROWS}::test_h223_a_pooler_s_transaction_has_its_limits_from_its_first_moment",
])  # fmt: skip
def transactions_have_no_limits(patch: pytest.MonkeyPatch) -> None:
    """As long as the worker likes, frozen or not."""

    @asynccontextmanager
    async def transaction(connection: Connection, budget: Budget) -> AsyncGenerator[None]:
        async with connection.transaction(isolation="read_committed"):
            yield

    patch.setattr(connections, "transaction", transaction)


@removal("H224", guard="no call under way waits for a row", tests=[
    f"{ROWS}::test_h224_held_rows_stop_no_other_append",
    f"{ROWS}::test_h224_a_call_that_is_not_to_wait_is_busy_at_once",
])  # fmt: skip
def calls_wait_for_rows(patch: pytest.MonkeyPatch) -> None:
    """Two held rows, and nothing is appended any more."""
    for kind in (PostgresStore, MemoryStore):
        _waits(patch, kind)
    patch.setattr("fencepost_store.postgres.LOCK_WAIT_SECONDS", 0.0)


def _waits(patch: pytest.MonkeyPatch, kind: Any) -> None:
    real: Any = kind.append

    async def append(self: Any, batches: Sequence[Batch], *, wait: bool = True) -> list[Verdict]:
        return list(await real(self, batches))

    patch.setattr(kind, "append", append)


@removal("H225", guard="the last resort replays before it locks, and a hand-back forgets conflicts", tests=[
    f"{RESORT}::test_h225_a_long_log_is_replayed_before_its_row_is_locked",
])  # fmt: skip
def the_last_resort_replays_under_its_lock(patch: pytest.MonkeyPatch) -> None:
    """The whole log is loaded and replayed within the lock's budget, and who fails there comes back there."""
    who_fails_in_the_last_resort_comes_back_there(patch)

    async def under_lock(shell: Shell, live: LiveRun, owed: Owed, delivery: Delivery) -> Progress | None:
        live.drop()
        async with shell.store.locked(live.run_id, shell.settings.lock_budget_seconds) as locked:

            async def append(batch: Batch) -> Verdict:
                return await locked.append(batch)

            loaded = await locked.load(0)
            if not loaded.run.status.ended:
                return await tick._with_loaded(shell, live, owed, delivery, loaded, append)
        return await tick._with_loaded(shell, live, owed, delivery, loaded, None)

    patch.setattr(tick, "_under_lock", under_lock)


@removal("H225", guard="a hand-back forgets conflicts", tests=[
    f"{RESORT}::test_h225_what_fails_under_the_lock_is_tried_the_usual_way_again",
])  # fmt: skip
def who_fails_in_the_last_resort_comes_back_there(patch: pytest.MonkeyPatch) -> None:
    """And fails again."""
    real: Any = Lane.release

    def release(self: Lane, now: int, delivery: Delivery, delay_ms: int, proof: bool) -> Any:
        before = self.messages.get(delivery.key)
        released = real(self, now, delivery, delay_ms, proof)
        if released and before is not None:
            self.messages[delivery.key] = replace(self.messages[delivery.key], conflicts=before.conflicts)
        return released

    patch.setattr(Lane, "release", release)


@removal("H225", guard="another's turn since the first load is seen", tests=[
    f"{RESORT}::test_h225_who_has_seen_less_than_another_s_turn_leaves",
])  # fmt: skip
def others_turns_are_not_seen(patch: pytest.MonkeyPatch) -> None:
    """The instance goes on from less than the log."""
    patch.setattr(tick, "overtaken", lambda shell, live, loaded: False)
