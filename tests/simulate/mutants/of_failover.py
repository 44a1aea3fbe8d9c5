"""Guards against logs that were replaced, taken out of the reference model and of the engine."""

# Mutants reach where no caller does.
# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

from typing import Any

import msgspec
from tests.simulate.mutants.switches import Patch, mutant

from fencepost.engine import hotpath
from fencepost.engine.aids import Aids
from fencepost.engine.live import LiveRun
from fencepost_store import ledger
from fencepost_store.events import EventType
from fencepost_store.ledger import Ledger

STORE, ENGINE = "store/test_stamps.py", "engine/test_hazards_failover.py"


@mutant(f"{STORE}::test_h190_a_decision_of_a_lost_branch_conflicts_at_the_same_position[memory-plain]", historical=True)
def a_fence_is_a_position(patch: Patch) -> None:
    """H190: a decision lands where its position is the fence, whatever event stands there."""
    patch.set(Ledger, "stands_at", lambda self, fence, stamp: self.run.fence == fence)


@mutant(f"{ENGINE}::test_h190_h191_h192_a_live_instance_of_a_lost_branch_is_read_anew[as many-unnoticed]")
def a_load_goes_on_at_a_position(patch: Patch) -> None:
    """H191, H192: an instance of a log that is lost is fed with what follows in another one."""
    patch.set(Ledger, "holds", lambda self, seq, stamp: True)


@mutant(f"{ENGINE}::test_h193_the_result_of_a_lost_step_is_not_that_of_its_namesake[unnoticed]")
def a_name_is_an_identity(patch: Patch) -> None:
    """H193: the result of a step that is lost is that of another one of its name."""
    patch.set(ledger, "_is_another", lambda created, event: False)
    patch.set(hotpath, "_is_of", lambda ended, open_steps: ended.entity in open_steps)


@mutant(f"{ENGINE}::test_h194_a_child_of_a_lost_decision_tells_its_parent_nothing")
def any_child_is_the_child(patch: Patch) -> None:
    """H194: a run that was made for a decision which is lost ends the child of the same entity."""
    real = ledger._is_another

    def is_another(created: Any, event: Any) -> bool:
        if created.type is EventType.child_created:
            event = msgspec.structs.replace(event, token=None)
        return real(created, event)

    patch.set(ledger, "_is_another", is_another)


@mutant(f"{ENGINE}::test_h195_chunks_that_are_lost_cost_an_attempt_and_no_retry")
def lost_chunks_fail_the_step(patch: Patch) -> None:
    """H195: an attempt whose chunks are lost fails with what its stream has raised."""
    patch.set(Aids, "trouble", lambda self: None)


@mutant(f"{STORE}::test_h196_an_end_from_outside_lands_only_in_the_log_that_was_looked_at[memory]")
def an_end_rests_on_nothing(patch: Patch) -> None:
    """H196: what ends a run from outside lands in whatever log is there."""
    real = Ledger.append

    def append(self: Ledger, batch: Any, *rest: Any) -> Any:
        return real(self, batch if batch.fence is not None else msgspec.structs.replace(batch, stamp=None), *rest)

    patch.set(Ledger, "append", append)


@mutant(f"{ENGINE}::test_h197_instances_are_dropped_where_the_store_leads_to_another_server")
def all_servers_are_one(patch: Patch) -> None:
    """H197: what was known on one server is kept on another."""
    patch.set(LiveRun, "meet", lambda self, epoch: True)
