"""Guards of the engine's shells."""

# Mutants reach where no caller does.
# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

import contextlib
import sys
from typing import Any

from msgspec.structs import replace
from tests.simulate.mutants.switches import Patch, mutant

from fencepost.engine import advance, alone, endings, handback, hotpath, owed, steps, tick
from fencepost.engine.advance import Progress
from fencepost.engine.bodies import Attempt
from fencepost.engine.claims import Claims
from fencepost.engine.leases import LeaseKeeper
from fencepost.engine.live import LiveRun
from fencepost.engine.owed import Owed
from fencepost.engine.reconciler import Reconciler
from fencepost.engine.shell import Shell
from fencepost.engine.slots import Slots
from fencepost.log import RunLog
from fencepost.records import Failure, StepEnded, pack
from fencepost_queue.protocol import Delivery, Entry
from fencepost_store.protocol import FactOutcome, StoreTrouble


@mutant("engine/test_hazards_recovery.py::test_h40_the_owner_dies_after_step_created_and_before_its_message")
def no_recovery_dispatch(patch: Patch) -> None:
    """H40: a turn with recover does not dispatch open steps again."""

    def follow_ups(shell: Shell, live: LiveRun, what: Owed, *, recover: bool) -> list[Entry]:
        return owed.follow_ups(shell, live, what, recover=False)

    patch.set(tick, "follow_ups", follow_ups)


@mutant("engine/test_hazards_recovery.py::test_h56_the_owner_dies_on_the_hot_path")
def no_recovering_tick_after_an_ended_step(patch: Patch) -> None:
    """F7, H56: a redelivered step that has ended is settled and nothing more."""

    async def gone(shell: Shell, live: LiveRun, delivery: Delivery) -> None:
        await handback.settle(shell, delivery, recovered=True)

    patch.set(steps, "_settle_gone", gone)


@mutant("engine/test_hazards_recovery.py::test_h108_a_result_that_asks_nothing_new_meets_another")
def no_fallback_of_the_hot_path(patch: Patch) -> None:
    """G4, H108: on conflict the hot path forgets the step's end."""

    async def cold(shell: Shell, live: LiveRun, what: Owed, dones: list[Any]) -> None:
        for done in dones:
            await handback.settle(shell, done.delivery)

    patch.set(hotpath, "_cold", cold)


@mutant("engine/test_hazards_turns.py::test_h90_a_fact_without_a_tick_makes_the_loser_owe_one", seeds=0)
def no_tick_after_a_conflict(patch: Patch) -> None:
    """I5, H90: the loser leaves without the run's own tick."""
    real = tick._entries

    async def entries(shell: Shell, live: LiveRun, what: Owed, delivery: Delivery, verdict: Any) -> list[Entry]:
        return await real(shell, live, what, delivery, Progress.stale if verdict is Progress.conflict else verdict)

    patch.set(tick, "_entries", entries)


@mutant(
    "docs/test_hazards_of_clocks_and_rounds.py::test_h91_what_round_one_owes_is_placed_although_round_two_conflicts",
    seeds=0,
)
def rounds_before_a_conflict_are_forgotten(patch: Patch) -> None:
    """F3, H91: a turn whose second round conflicts leaves without what its first round owes."""
    real = tick._entries

    async def entries(shell: Shell, live: LiveRun, what: Owed, delivery: Delivery, verdict: Any) -> list[Entry]:
        if verdict is Progress.conflict:
            shell.slots.give(len(what.inline))
            what.steps.clear()
            what.inline.clear()
        return await real(shell, live, what, delivery, verdict)

    patch.set(tick, "_entries", entries)


@mutant("engine/test_hazards_turns.py::test_h45_the_producer_dies_before_its_tick")
def no_reconciler(patch: Patch) -> None:
    """I7: nobody looks at what is overdue."""

    async def round_(self: Reconciler) -> int:
        return 0

    patch.set(Reconciler, "round", round_)


@mutant("engine/test_hazards_recovery.py::test_h44_after_a_flush_all_runs_move_within_a_reconcile_period")
def no_full_reconcile(patch: Patch) -> None:
    """H44: nobody sweeps after a flush."""

    async def full(self: Reconciler, queue: str, generation: str) -> None:
        return

    patch.set(Reconciler, "full", full)


@mutant(
    "engine/test_found_by_simulation.py::test_h62_a_worker_that_is_given_a_step_which_it_is_running_stops_the_older_body"
)
def an_older_lease_of_the_same_message_is_kept(patch: Patch) -> None:
    """H62: a body goes on beside the one that its own worker has begun anew."""
    real = LeaseKeeper.hold

    def hold(self: LeaseKeeper, delivery: Delivery, since: float) -> None:
        self._tokens.clear()
        real(self, delivery, since)

    patch.set(LeaseKeeper, "hold", hold)


@mutant("engine/test_found_by_simulation.py::test_h128_a_turn_that_walks_away_keeps_no_slots")
def who_walks_away_keeps_slots(patch: Patch) -> None:
    """H128: steps that landed as started here are given up, and their slots are not."""
    patch.set(tick, "_give_back", lambda shell, owed: None)


@mutant("engine/test_hazards_waits.py::test_h46_a_wake_that_comes_early_or_twice_is_armed_again")
def no_tick_for_near_waits(patch: Patch) -> None:
    """The settle does not place the earliest wait's delayed tick; only the deadline is left."""

    def follow_ups(shell: Shell, live: LiveRun, what: Owed, *, recover: bool) -> list[Entry]:
        entries = owed.follow_ups(shell, live, what, recover=recover)
        return [entry for entry in entries if entry.delay_ms == 0 or entry.key.startswith("s:")]

    for module in (tick, hotpath):
        patch.set(module, "follow_ups", follow_ups)


@mutant(
    "engine/test_hazards_recovery.py::test_h41_a_message_is_there_until_what_progress_needs_is_durable", historical=True
)
def settle_before_append(patch: Patch) -> None:
    """H41: a step's message is removed before its end is in the log."""
    real = hotpath.complete

    async def complete(shell: Shell, live: LiveRun, delivery: Delivery, event: Any) -> None:
        with contextlib.suppress(Exception):
            await shell.queue.settle(delivery, lease_ms=shell.keeper.lease_ms)
        await real(shell, live, delivery, event)

    patch.set(steps, "complete", complete)


@mutant("engine/test_hazards_steps.py::test_h92_a_follow_up_is_leased_only_if_its_key_is_absent")
def bodies_begin_without_a_grant(patch: Patch) -> None:
    """H92: a body starts because its turn decided so, whoever was given the message; its worker believes in a lease."""

    def start_granted(shell: Shell, live: LiveRun, what: Owed, settled: Any) -> None:
        granted = {delivery.key: delivery for delivery in settled.granted}
        for entity in sorted(what.inline):
            key = f"s:{live.run_id}:{entity}"
            delivery = granted.get(key)
            if delivery is None:
                delivery = Delivery("default", key, f"{shell.worker}.0")
                shell.keeper.hold(delivery, shell.ports.monotonic())
            shell.start_granted(delivery, live, entity, what.steps[entity], what.stamps[entity])

    for module in (tick, hotpath):
        patch.set(module, "start_granted", start_granted)


@mutant("engine/test_hazards_turns.py::test_a_run_that_waits_for_signals_only_has_no_deadline")
def no_touch(patch: Patch) -> None:
    """H97: a turn that appends nothing leaves the deadline as it is."""

    async def touch(shell: Shell, live: LiveRun, instance: Any) -> Progress:
        return Progress.quiet

    patch.set(advance, "_touch", touch)


@mutant("engine/test_hazards_recovery.py::test_h44_after_a_flush_all_runs_move_within_a_reconcile_period")
def no_deadline(patch: Patch) -> None:
    """I7: a turn's batch sets none."""
    patch.set(advance, "deadline", lambda *args, **rest: None)


@mutant(
    "engine/test_hazards_steps.py::test_h76_h106_an_attempt_that_another_took_is_followed_by_the_next",
    historical=True,
    seeds=0,
)
def another_attempt_ends_the_message(patch: Patch) -> None:
    """H106: who loses the start of an attempt settles the step's message, and the step stays open without one."""
    real = steps._append_fact

    async def append_fact(shell: Shell, live: LiveRun, event: Any) -> Any:
        verdict, stamp = await real(shell, live, event)
        if verdict.outcome is FactOutcome.refused:
            return replace(verdict, reason=None), stamp
        return verdict, stamp

    patch.set(steps, "_append_fact", append_fact)


@mutant("engine/test_hazards_steps.py::test_h81_trouble_with_the_store_is_not_the_steps_failure", historical=True)
def trouble_is_the_steps_failure(patch: Patch) -> None:
    """H81: when a step's end could not be written, the step is recorded as failed."""
    real = hotpath._hot

    async def hot(shell: Shell, live: LiveRun, what: Owed, dones: list[Any]) -> bool:
        try:
            return await real(shell, live, what, dones)
        except StoreTrouble:
            for done in dones:
                done.event = replace(done.event, type=steps.EventType.step_failed, payload=_LOST)
            return False

    patch.set(hotpath, "_hot", hot)


_LOST = pack(StepEnded(error=Failure(type="builtins.ConnectionError", message="the store is away")))


@mutant("engine/test_hazards_turns.py::test_h53_a_flood_of_signals_cannot_starve_a_run")
def no_last_resort(patch: Patch) -> None:
    """H53: after any number of conflicts a turn tries again as before."""
    real = tick._play

    async def play(shell: Shell, live: LiveRun, what: Owed, delivery: Delivery) -> Progress | None:
        return await real(shell, live, what, replace(delivery, conflicts=0))

    patch.set(tick, "_play", play)


@mutant(
    "engine/test_found_by_simulation.py::test_h69_a_retry_that_lands_while_the_next_attempt_starts_is_counted", seeds=0
)
def errors_are_counted_before_the_start(patch: Patch) -> None:
    """H69: an attempt does not hear of an error that landed between its look-up and its start (seed 445)."""

    async def next_(shell: Shell, live: LiveRun, delivery: Delivery, attempt: Attempt) -> Attempt:
        return attempt

    patch.set(steps, "_next", next_)


@mutant("engine/test_hazards_turns.py::test_h20_h21_the_branch_is_decided_by_what_landed_first", historical=True)
def a_conflict_is_the_users_error(patch: Patch) -> None:
    """H80: a lost fence fails the run."""
    real = tick._outcome

    async def outcome(shell: Shell, live: LiveRun, what: Owed, play: Any) -> Any:
        verdict = await real(shell, live, what, play)
        if verdict is Progress.conflict:
            await endings.fail_run(shell, live, what, "USER_ERROR", "Conflict", "the fence was lost")
            return Progress.quiet
        return verdict

    patch.set(tick, "_outcome", outcome)


@mutant("engine/test_hazards_turns.py::test_h53_a_flood_of_signals_cannot_starve_a_run", historical=True)
def decisions_of_unknown_outcome_are_sent_again(patch: Patch) -> None:
    """H08: what may have landed is sent again; the answer is a conflict, and its author owes nothing."""
    real = RunLog.append

    async def append(self: RunLog, batch: Any, **rest: Any) -> Any:
        try:
            return await real(self, batch, **rest)
        except StoreTrouble:
            if batch.fence is None:
                raise
            return await real(self, batch, **rest)

    async def entries(shell: Shell, live: LiveRun, what: Owed, delivery: Delivery, verdict: Any) -> list[Entry]:
        return [] if verdict is Progress.conflict else await real_entries(shell, live, what, delivery, verdict)

    patch.set(RunLog, "append", append)
    real_entries = patch.set(tick, "_entries", entries)


@mutant("engine/test_hazards_turns.py::test_h08_h20_what_did_not_land_is_not_believed")
def trouble_keeps_the_instance(patch: Patch) -> None:
    """H08: after a lost reply the live instance goes on with what it thinks has not landed."""
    patch.set(LiveRun, "drop_idle", lambda self: None)


@mutant("engine/test_hazards_turns.py::test_h90_a_fact_without_a_tick_makes_the_loser_owe_one")
def a_conflict_keeps_the_instance(patch: Patch) -> None:
    """I5: the loser goes on with the instance that has seen less than the log."""
    real = LiveRun.drop

    def drop(self: LiveRun) -> None:
        if self.instance is not None and self.instance.work.ended is not None:
            real(self)

    patch.set(LiveRun, "drop", drop)


@mutant("engine/test_slots.py::test_steps_that_did_not_land_give_their_slots_back")
def slots_are_not_given_back(patch: Patch) -> None:
    """A step that was decided to run here and did not land keeps its slot."""
    real = Slots.give

    def give(self: Slots, count: int = 1) -> None:
        if sys._getframe(1).f_code.co_name != advance.advance.__name__:
            real(self, count)

    patch.set(Slots, "give", give)


@mutant("engine/test_hazards_poison.py::test_h66_a_death_in_solitude_is_a_proof")
def crashes_in_solitude_prove_nothing(patch: Patch) -> None:
    """H66: a step that kills its process is tried alone for ever."""

    async def release(shell: Shell, delivery: Delivery, delay_ms: int = 0, *, proof: bool = False) -> None:
        await handback.release(shell, delivery, delay_ms)

    patch.set(alone, "release", release)


@mutant("engine/test_hazards_poison.py::test_h66_a_step_that_kills_its_worker_is_run_alone_and_then_fails")
def no_suspects(patch: Patch) -> None:
    """H66: a step that kills its process goes on to kill every worker."""
    real = Claims._dispatch

    def dispatch(self: Claims, delivery: Delivery) -> None:
        real(self, replace(delivery, crashes=0))

    patch.set(Claims, "_dispatch", dispatch)


@mutant("engine/test_hazards_poison.py::test_h68_handing_back_is_not_a_crash")
def a_drain_hands_nothing_back(patch: Patch) -> None:
    """H54: what a draining worker holds is left to its lease."""

    async def release(shell: Shell, delivery: Delivery, delay_ms: int = 0, *, proof: bool = False) -> None:
        shell.keeper.drop(delivery.token)

    from fencepost.engine import claims

    patch.set(claims, "release", release)
    patch.set(steps, "release", release)


@mutant("engine/test_hazards_parking.py::test_h105_a_worker_that_saw_less_parks_nothing")
def parking_is_not_fenced(patch: Patch) -> None:
    """H105: a stale worker parks a run that has moved on."""
    real = endings.park

    async def park(shell: Shell, live: LiveRun, divergence: Any) -> bool:
        row = await shell.store.get(live.run_id)
        if row is not None:
            live.run = row
        return await real(shell, live, divergence)

    patch.set(endings, "park", park)


@mutant("engine/test_grace.py::test_the_grace_ends_what_does_not_end_by_itself")
def the_grace_never_ends(patch: Patch) -> None:
    """A cancelled run whose code takes its time is not terminated."""
    patch.set(tick, "grace_over", lambda live, loaded: None)


@mutant("engine/test_basics.py::test_retries_back_off_and_count_errors", historical=True)
def retries_are_off_by_one(patch: Patch) -> None:
    """H69: n retries are n executions."""
    from fencepost.engine import bodies

    real = bodies.next_delay
    patch.set(bodies, "next_delay", lambda errors, *rest: real(errors + 1, *rest))


@mutant("engine/test_hazards_steps.py::test_h101_the_body_of_an_ended_run_is_stopped_at_the_next_renewal")
def the_end_withdraws_nothing(patch: Patch) -> None:
    """H101: bodies of a run that has ended run on."""
    patch.set(Owed, "end_steps", lambda self, live, work: None)
