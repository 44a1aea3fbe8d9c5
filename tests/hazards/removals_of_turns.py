"""Guards of turns and of the hot path: what is owed, to whom, and until when."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from tests.hazards.registry import removal

from fencepost.client.client import Client
from fencepost.engine import advance, handback, hotpath, owed, steps, tick
from fencepost.engine.advance import Progress
from fencepost.engine.live import Done, LiveRun
from fencepost.engine.owed import Owed
from fencepost.engine.reconciler import Reconciler
from fencepost.engine.shell import Shell
from fencepost.engine.slots import Slots
from fencepost_queue.lane import Lane
from fencepost_queue.memory import MemoryQueue
from fencepost_queue.message import Message, is_tick
from fencepost_queue.protocol import Delivery, EnqueueOutcome, Entry, Settled, step_key, tick_key
from fencepost_store.events import NewEvent
from fencepost_store.memory import MemoryStore
from fencepost_store.protocol import DueRun, FactOutcome, FactVerdict, Reason

RECOVERY, TURNS = "engine/test_hazards_recovery.py", "engine/test_hazards_turns.py"
SWEEP = "engine/test_hazards_sweep.py"
STEPS, PARKING = "engine/test_hazards_steps.py", "engine/test_hazards_parking.py"
CLOCKS = "docs/test_hazards_of_clocks_and_rounds.py"


@removal("H31", guard="workers of another build take parked runs up", tests=[
    f"{PARKING}::test_h30_h31_h105_a_run_is_parked_and_taken_up_by_a_fitting_build",
])  # fmt: skip
def parked_for_ever(patch: pytest.MonkeyPatch) -> None:
    """Nobody looks for them."""

    async def take_parked(self: MemoryStore, build: str, limit: int) -> list[DueRun]:
        return []

    patch.setattr(MemoryStore, "take_parked", take_parked)


@removal("H40", guard="a turn with recover dispatches every open step again", tests=[
    f"{RECOVERY}::test_h40_the_owner_dies_after_step_created_and_before_its_message",
])  # fmt: skip
def no_recovery_dispatch(patch: pytest.MonkeyPatch) -> None:
    """A turn with recover does not re-dispatch open steps (H40)."""

    def without(shell: Shell, live: LiveRun, what: Owed, *, recover: bool) -> list[Entry]:
        return owed.follow_ups(shell, live, what, recover=False)

    patch.setattr(tick, "follow_ups", without)


@removal("H41", guard="settle is the last act", tests=[
    f"{RECOVERY}::test_h41_a_message_is_there_until_what_progress_needs_is_durable",
])  # fmt: skip
def settle_before_append(patch: pytest.MonkeyPatch) -> None:
    """H41: a step's message is removed before its end is in the log."""
    real = hotpath.complete

    async def complete(shell: Shell, live: LiveRun, delivery: Delivery, event: NewEvent) -> None:
        with contextlib.suppress(Exception):
            await shell.queue.settle(delivery, lease_ms=shell.keeper.lease_ms)
        await real(shell, live, delivery, event)

    patch.setattr(steps, "complete", complete)


@removal("H42", guard="a wake marks a leased tick dirty (the engine over the model)", tests=[
    f"{TURNS}::test_h42_a_wake_while_the_tick_runs_is_not_lost",
])  # fmt: skip
def wakes_of_leased_ticks_are_lost(patch: pytest.MonkeyPatch) -> None:
    """As if the turn under way would see it."""
    patch.setattr(Lane, "_enqueue_leased", lambda self, entry, held: EnqueueOutcome.absorbed)


@removal("H44", guard="who finds the generation gone sweeps all deadlines", tests=[
    f"{RECOVERY}::test_h44_after_a_flush_all_runs_move_within_a_reconcile_period",
])  # fmt: skip
def no_full_reconcile(patch: pytest.MonkeyPatch) -> None:
    """Nobody sweeps after a flush (H44)."""

    async def full(self: Reconciler, queue: str, generation: str) -> None:
        return

    patch.setattr(Reconciler, "full", full)


@removal("H127", guard="who sweeps says that it is at it, and when it is done", tests=[
    f"{SWEEP}::test_h127_a_sweep_that_takes_longer_than_a_lease_is_nobody_elses",
    f"{SWEEP}::test_h127_a_sweep_that_did_not_get_to_its_end_is_done_within_a_lease",
])  # fmt: skip
def a_sweep_in_silence(patch: pytest.MonkeyPatch) -> None:
    """Others are asked to sweep as well, again and again."""

    async def sweep(self: MemoryQueue, queue: str, generation: str, lease_ms: int) -> bool:
        return True

    patch.setattr(MemoryQueue, "sweep", sweep)


@removal("H127", guard="who is told that its sweep is nobody's any more stops", tests=[
    f"{SWEEP}::test_h127_a_sweep_of_data_that_is_lost_again_leaves_it_to_the_next_one",
])  # fmt: skip
def a_sweep_goes_on_whatever_it_is_told(patch: pytest.MonkeyPatch) -> None:
    """It sweeps for a loss for which another sweeps."""
    real = MemoryQueue.sweep

    async def sweep(self: MemoryQueue, queue: str, generation: str, lease_ms: int) -> bool:
        await real(self, queue, generation, lease_ms)
        return True

    patch.setattr(MemoryQueue, "sweep", sweep)


@removal("H128", guard="who walks away gives back the slots of what it was to run", tests=[
    "engine/test_found_by_simulation.py::test_h128_a_turn_that_walks_away_keeps_no_slots",
])  # fmt: skip
def who_walks_away_keeps_slots(patch: pytest.MonkeyPatch) -> None:
    """Until the process ends."""
    patch.setattr(tick, "_give_back", lambda shell, owed: None)


@removal("H45", guard="the reconciler ticks what is overdue", tests=[
    f"{TURNS}::test_h45_the_producer_dies_before_its_tick",
])  # fmt: skip
def nobody_reconciles(patch: pytest.MonkeyPatch) -> None:
    """Deadlines pass."""

    async def take_due(self: MemoryStore, limit: int, next_in: int) -> list[DueRun]:
        return []

    patch.setattr(MemoryStore, "take_due", take_due)


@removal("H47", guard="Redis holds near waits only", tests=[
    "engine/test_hazards_waits.py::test_h47_a_hundred_sleeps_of_a_year_hold_nothing_in_the_queue",
])  # fmt: skip
def far_waits_are_queued(patch: pytest.MonkeyPatch) -> None:
    """Every wait has its delayed message."""

    def all_waits(shell: Shell, live: LiveRun, what: Owed, *, recover: bool) -> list[Entry]:
        entries = owed.follow_ups(shell, live, what, recover=recover)
        if live.instance is not None and live.run is not None and live.instance.work.waits:
            due = min(live.instance.work.waits.values())
            delay = owed.delay_ms(due, shell.clock.now(), shell.settings.delay_floor_ms)
            entries.append(Entry(queue=live.run.queue, key=tick_key(live.run_id), delay_ms=delay))
        return entries

    patch.setattr(tick, "follow_ups", all_waits)


@removal("H46", guard="a wake that comes early is armed again for the rest", tests=[
    "engine/test_hazards_waits.py::test_h46_a_wake_that_comes_early_or_twice_is_armed_again",
])  # fmt: skip
def early_wakes_count(patch: pytest.MonkeyPatch) -> None:
    """Whoever is woken believes that it is time."""
    from fencepost.replay.instance import Instance

    real = Instance.fire_due
    patch.setattr(Instance, "fire_due", lambda self, now: real(self, now + 3_600_000_000))


@removal("H49", guard="turns that move nothing are counted", tests=[
    f"{PARKING}::test_h49_due_and_never_taken_parks_the_run",
])  # fmt: skip
def nobody_counts(patch: pytest.MonkeyPatch) -> None:
    """The run is woken for ever."""

    async def watch(shell: Shell, live: LiveRun, what: Owed, loaded: Any) -> Progress:
        return Progress.quiet

    patch.setattr(tick, "watch_stuck", watch)


@removal("H53", guard="after some conflicts a turn takes the row's lock first", tests=[
    f"{TURNS}::test_h53_a_flood_of_signals_cannot_starve_a_run",
])  # fmt: skip
def no_last_resort(patch: pytest.MonkeyPatch) -> None:
    """It tries again, and again."""

    async def play(shell: Shell, live: LiveRun, what: Owed, delivery: Delivery) -> Progress | None:
        loaded = await shell.store.load(live.run_id, live.instance.work.seen if live.instance else 0)
        return await tick._with_loaded(shell, live, what, delivery, loaded, None)

    patch.setattr(tick, "_play", play)


@removal("H54", guard="a draining worker has no slots", tests=[
    "engine/test_slots.py::test_a_draining_worker_takes_no_next_step",
])  # fmt: skip
def slots_stay_open(patch: pytest.MonkeyPatch) -> None:
    """It takes one more step, and one more."""
    patch.setattr(Slots, "close", lambda self: None)


@removal("H56", guard="a redelivered step that has ended places a recovering tick", tests=[
    f"{RECOVERY}::test_h56_the_owner_dies_on_the_hot_path",
])  # fmt: skip
def no_recovering_tick_after_an_ended_step(patch: pytest.MonkeyPatch) -> None:
    """A redelivered step that has ended is settled and nothing more (F7, H56)."""

    async def gone(shell: Shell, live: LiveRun, delivery: Delivery) -> None:
        await handback.settle(shell, delivery, recovered=True)

    patch.setattr(steps, "_settle_gone", gone)


@removal("H57", guard="a request to recover is OR-ed into a leased tick (the engine over the model)", tests=[
    f"{TURNS}::test_h57_recover_is_ored_into_a_leased_tick",
])  # fmt: skip
def leased_ticks_learn_nothing(patch: pytest.MonkeyPatch) -> None:
    """Dirty, and no more."""
    real = Lane._enqueue_leased

    def plain(self: Lane, entry: Entry, held: Message) -> EnqueueOutcome:
        return real(self, Entry(entry.queue, entry.key, entry.body), held)

    patch.setattr(Lane, "_enqueue_leased", plain)


@removal("H58", "H97", guard="a turn that appends nothing touches under the fence", tests=[
    f"{TURNS}::test_h58_h97_a_turn_that_appends_nothing_does_not_disarm_a_newer_deadline",
])  # fmt: skip
def touches_are_blind(patch: pytest.MonkeyPatch) -> None:
    """The deadline is set whatever has landed."""
    real = MemoryStore.touch

    async def touch(
        self: MemoryStore, run_id: str, fence: int, seen: int, wake_at: int | None, stamp: int | None = None
    ) -> Any:
        run = await self.get(run_id)
        assert run is not None
        return await real(self, run_id, run.fence, run.last_seq, wake_at)

    patch.setattr(MemoryStore, "touch", touch)


@removal("H97", guard="a turn that appends nothing sets the deadline exactly", tests=[
    f"{TURNS}::test_a_run_that_waits_for_signals_only_has_no_deadline",
])  # fmt: skip
def nobody_touches(patch: pytest.MonkeyPatch) -> None:
    """The deadline that a signal armed stays for ever."""

    async def touch(shell: Shell, live: LiveRun, instance: Any) -> Progress:
        return Progress.quiet

    patch.setattr(advance, "_touch", touch)


@removal("H60", guard="a tick dispatches only what it created, and the message of a running step absorbs", tests=[
    f"{STEPS}::test_h60_a_wake_does_not_dispatch_a_running_step_again",
])  # fmt: skip
def every_tick_dispatches(patch: pytest.MonkeyPatch) -> None:
    """Each open step, each time, as a message of its own."""

    def all_steps(shell: Shell, live: LiveRun, what: Owed, *, recover: bool) -> list[Entry]:
        return owed.follow_ups(shell, live, what, recover=True)

    real = Lane._enqueue_leased

    def again(self: Lane, entry: Entry, held: Message) -> EnqueueOutcome:
        if is_tick(entry.key):
            return real(self, entry, held)
        self._make_ready(0, entry.key, held)
        return EnqueueOutcome.ready

    patch.setattr(tick, "follow_ups", all_steps)
    patch.setattr(Lane, "_enqueue_leased", again)


@removal("H72", guard="a client only produces", tests=[f"{STEPS}::test_h72_a_client_consumes_nothing"])
def clients_consume(patch: pytest.MonkeyPatch) -> None:
    """Whoever starts a run takes its tick as well."""
    real = Client.start

    async def start(self: Any, *args: Any, **kwargs: Any) -> Any:
        started = await real(self, *args, **kwargs)
        await self._connected.queue.claim("default", 10, 10_000_000)
        return started

    patch.setattr(Client, "start", start)


@removal("H90", guard="who loses its fence leaves with the run's own tick", tests=[
    f"{TURNS}::test_h90_a_fact_without_a_tick_makes_the_loser_owe_one",
])  # fmt: skip
def no_tick_after_a_conflict(patch: pytest.MonkeyPatch) -> None:
    """The loser leaves without the run's own tick (I5, H90)."""

    real = tick._entries

    async def without(
        shell: Shell, live: LiveRun, what: Owed, delivery: Delivery, verdict: Progress | None
    ) -> list[Entry]:
        return [] if verdict is Progress.conflict else await real(shell, live, what, delivery, verdict)

    patch.setattr(tick, "_entries", without)


@removal("H91", guard="what earlier rounds landed is owed also after a conflict", tests=[
    f"{CLOCKS}::test_h91_what_round_one_owes_is_placed_although_round_two_conflicts",
])  # fmt: skip
def nothing_owed_after_a_conflict(patch: pytest.MonkeyPatch) -> None:
    """A turn that loses its fence forgets what its earlier rounds landed."""
    real = tick._entries

    async def without(shell: Any, live: Any, what: Owed, delivery: Any, verdict: Any) -> Any:
        return await real(shell, live, Owed() if verdict is Progress.conflict else what, delivery, verdict)

    patch.setattr(tick, "_entries", without)


@removal("H92", guard="a body starts after its grant", tests=[
    f"{STEPS}::test_h92_a_follow_up_is_leased_only_if_its_key_is_absent",
])  # fmt: skip
def bodies_start_without_a_grant(patch: pytest.MonkeyPatch) -> None:
    """The log says that it is ours."""

    def start(shell: Shell, live: LiveRun, what: Owed, settled: Settled) -> None:
        granted = {delivery.key: delivery for delivery in settled.granted}
        for entity in what.inline:
            key = step_key(live.run_id, entity)
            delivery = granted.get(key) or Delivery("default", key, f"{shell.worker}.made-up")
            shell.keeper.hold(delivery, shell.ports.monotonic())
            shell.start_granted(delivery, live, entity, what.steps[entity], what.stamps[entity])

    for module in (tick, hotpath):
        patch.setattr(module, "start_granted", start)


@removal(
    "H100", guard="only delays cross between the servers", tests=[f"{CLOCKS}::test_h100_redis_clock_is_its_own_affair"]
)
def instants_cross(patch: pytest.MonkeyPatch) -> None:
    """The worker hands Redis the instant, which lies in the past there."""
    epoch = 1_700_000_000_000_000

    def by_instant(due: int, now: int, floor_ms: int) -> int:
        redis = int(asyncio.get_running_loop().time() * 1000) + 3_600_000
        return max(floor_ms, (due - epoch) // 1000 - redis)

    patch.setattr(owed, "delay_ms", by_instant)


@removal("H106", guard="a start that another took is followed by the next attempt", tests=[
    f"{STEPS}::test_h76_h106_an_attempt_that_another_took_is_followed_by_the_next",
])  # fmt: skip
def refused_starts_give_up(patch: pytest.MonkeyPatch) -> None:
    """Somebody else has it."""
    real = steps._append_fact

    async def append(shell: Shell, live: LiveRun, event: NewEvent) -> tuple[FactVerdict, int | None]:
        verdict, stamp = await real(shell, live, event)
        if verdict.reason is Reason.other_attempt:
            return FactVerdict(FactOutcome.refused, reason=Reason.entity_ended), None
        return verdict, stamp

    patch.setattr(steps, "_append_fact", append)


@removal("H108", guard="on conflict the hot path sends the fact alone, with a tick", tests=[
    f"{RECOVERY}::test_h108_a_result_that_asks_nothing_new_meets_another",
])  # fmt: skip
def no_fallback_after_a_lost_fence(patch: pytest.MonkeyPatch) -> None:
    """On conflict the hot path forgets the fact (G4, H108)."""

    async def cold(shell: Shell, live: LiveRun, what: Owed, dones: list[Done]) -> None:
        for done in dones:
            await handback.settle(shell, done.delivery)

    patch.setattr(hotpath, "_cold", cold)
