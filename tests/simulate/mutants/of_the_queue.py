"""Guards of the queue, taken out of the reference model, which is what the scripts are held to by the differential
test.
"""

# Mutants reach where no caller does.
# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace
from tests.simulate.mutants.switches import Patch, mutant

from fencepost_queue.lane import Lane
from fencepost_queue.memory import MemoryQueue
from fencepost_queue.message import Message, Settling, State, is_tick
from fencepost_queue.protocol import Claimed, Delivery, EnqueueOutcome, Entry, Settled


@mutant(
    "queue/test_settle.py::test_h42_a_wake_during_a_turn_hands_the_tick_back_to_its_owner[memory]",
    historical=True,
    seeds=0,
)
def the_dirty_mark(patch: Patch) -> None:
    """H42: a wake that comes while the run's tick is at work is lost."""

    def enqueue_leased(self: Lane, entry: Entry, held: Message) -> EnqueueOutcome:
        return EnqueueOutcome.absorbed

    patch.set(Lane, "_enqueue_leased", enqueue_leased)


@mutant("queue/test_leases.py::test_h70_the_message_of_a_silent_owner_is_reclaimed_as_a_crash[memory]")
def reclaim_asks_for_no_recovery(patch: Patch) -> None:
    """F6, H40: a message whose lease ran out comes back as an ordinary one."""
    real = Lane.claim

    def claim(self: Lane, now: int, *rest: Any) -> Claimed:
        dead = {
            key: held.recover for key, held in self.messages.items() if held.state is State.leased and held.at <= now
        }
        claimed = real(self, now, *rest)
        for key, recover in dead.items():
            if key in self.messages:
                self.messages[key] = replace(self.messages[key], recover=recover)
        given = tuple(replace(one, recover=dead.get(one.key, one.recover)) for one in claimed.deliveries)
        return replace(claimed, deliveries=given)

    patch.set(Lane, "claim", claim)


@mutant("queue/test_messages.py::test_h68_a_hand_back_is_no_crash_and_asks_for_recovery[memory]", seeds=0)
def release_asks_for_no_recovery(patch: Patch) -> None:
    """F6, H94: what is handed back after trouble comes back as an ordinary message."""
    real = Lane.release

    def release(self: Lane, now: int, delivery: Delivery, delay_ms: int, proof: bool) -> bool:
        done = real(self, now, delivery, delay_ms, proof)
        if done:
            self.messages[delivery.key] = replace(self.messages[delivery.key], recover=delivery.recover)
        return done

    patch.set(Lane, "release", release)


@mutant(
    "queue/test_settle.py::test_h57_a_request_to_recover_is_or_ed_into_whatever_it_meets[memory-leased tick]",
    historical=True,
)
def recover_is_not_ored_in(patch: Patch) -> None:
    """H57: a recovering tick that meets a message which is there already is lost in it."""
    real = Lane.enqueue

    def enqueue(self: Lane, now: int, entry: Entry, *, conflicts: int = 0) -> EnqueueOutcome:
        there = entry.key in self.messages
        return real(self, now, replace(entry, recover=entry.recover and not there), conflicts=conflicts)

    patch.set(Lane, "enqueue", enqueue)


@mutant("queue/test_settle.py::test_h94_the_own_tick_of_a_turn_that_left_keeps_recover_and_conflicts[memory]")
def settle_forgets_recover(patch: Patch) -> None:
    """H94, H111: a settle clears the flag although it has placed no recovery."""
    real = Lane.settle

    def settle(self: Lane, now: int, settling: Settling, follow_ups: Sequence[Entry]) -> Settled:
        plain = [replace(one, recover=False) for one in follow_ups if one.key == settling.delivery.key]
        rest = [one for one in follow_ups if one.key != settling.delivery.key]
        return real(self, now, replace(settling, recovered=True), [*rest, *plain])

    patch.set(Lane, "settle", settle)


@mutant(
    "queue/test_leases.py::test_h63_only_the_delivery_that_holds_a_lease_may_renew_settle_or_release_it[memory]",
    historical=True,
)
def renewal_takes_any_lease(patch: Patch) -> None:
    """H63: a renewal without an owner check takes the message back from its new owner."""
    real = Lane.renew

    def renew(self: Lane, now: int, delivery: Delivery, lease_ms: int, *, begin: bool) -> tuple[bool, bool]:
        held = self.messages.get(delivery.key)
        if held is not None and held.state is State.leased:
            self.messages[delivery.key] = replace(held, token=delivery.token)
        return real(self, now, delivery, lease_ms, begin=begin)

    patch.set(Lane, "renew", renew)


@mutant("queue/test_leases.py::test_h63_only_the_delivery_that_holds_a_lease_may_renew_settle_or_release_it[memory]")
def settle_and_release_take_any_lease(patch: Patch) -> None:
    """H62, H98: who has lost a message settles it all the same, under its new owner."""

    def owned(self: Lane, delivery: Delivery) -> Message | None:
        held = self.messages.get(delivery.key)
        return held if held is not None and held.state is State.leased else None

    patch.set(Lane, "_owned", owned)


@mutant("queue/test_settle.py::test_h98_no_token_is_ever_used_twice[memory]", historical=True)
def tokens_are_reused(patch: Patch) -> None:
    """H98: a process gives every hand-over of its the same token."""
    patch.set(MemoryQueue, "_token", lambda self: f"{self._owner}.1")


@mutant("queue/test_settle.py::test_h95_follow_ups_of_a_settle_that_lost_are_enqueued_all_the_same[memory-ready again]")
def a_lost_settle_places_nothing(patch: Patch) -> None:
    """F8, H95: who has lost the message loses its follow-ups too."""
    real = Lane.settle

    def settle(self: Lane, now: int, settling: Settling, follow_ups: Sequence[Entry]) -> Settled:
        return real(self, now, settling, follow_ups if self._owned(settling.delivery) is not None else ())

    patch.set(Lane, "settle", settle)


@mutant("queue/test_settle.py::test_h92_a_follow_up_is_leased_only_if_its_key_is_absent[memory]")
def a_follow_up_is_leased_though_it_is_there(patch: Patch) -> None:
    """F4, H92: a step's message that another holds is leased to whoever settles."""
    real = Lane.settle

    def settle(self: Lane, now: int, settling: Settling, follow_ups: Sequence[Entry]) -> Settled:
        if self._owned(settling.delivery) is not None:
            for entry in follow_ups:
                if entry.lease:
                    self.messages.pop(entry.key, None)
        return real(self, now, settling, follow_ups)

    patch.set(Lane, "settle", settle)


@mutant(
    "queue/test_settle.py::test_h93_on_again_the_follow_ups_for_the_settled_key_are_dropped[memory]", historical=True
)
def an_again_places_its_own_tick(patch: Patch) -> None:
    """F5, H93: a tick that is dirty is handed back and made dirty by its own follow-up, for ever."""
    real = Lane.settle

    def settle(self: Lane, now: int, settling: Settling, follow_ups: Sequence[Entry]) -> Settled:
        settled = real(self, now, settling, follow_ups)
        for entry in follow_ups:
            if settled.again is not None and entry.key == settling.delivery.key:
                self.enqueue(now, replace(entry, delay_ms=0))
        return settled

    patch.set(Lane, "settle", settle)


@mutant("queue/test_messages.py::test_h48_a_step_key_lives_exactly_as_long_as_its_message[memory]", historical=True)
def a_key_outlives_its_message(patch: Patch) -> None:
    """H48: a step that was dispatched once is never dispatched again."""
    real = Lane.enqueue
    seen: set[tuple[int, str]] = set()

    def enqueue(self: Lane, now: int, entry: Entry, *, conflicts: int = 0) -> EnqueueOutcome:
        if not is_tick(entry.key) and entry.delay_ms <= 0:
            if (id(self), entry.key) in seen and entry.key not in self.messages:
                return EnqueueOutcome.absorbed
            seen.add((id(self), entry.key))
        return real(self, now, entry, conflicts=conflicts)

    patch.set(Lane, "enqueue", enqueue)


@mutant("queue/test_messages.py::test_h46_of_two_delays_the_earlier_holds_and_one_message_comes[memory]")
def a_sooner_wake_is_absorbed(patch: Patch) -> None:
    """An enqueue does not bring a delayed message forward."""
    real = Lane.enqueue

    def enqueue(self: Lane, now: int, entry: Entry, *, conflicts: int = 0) -> EnqueueOutcome:
        held = self.messages.get(entry.key)
        if held is not None and held.state is State.delayed:
            self.messages[entry.key] = replace(held, recover=held.recover or entry.recover)
            return EnqueueOutcome.absorbed
        return real(self, now, entry, conflicts=conflicts)

    patch.set(Lane, "enqueue", enqueue)


@mutant("queue/test_leases.py::test_h55_exactly_one_claim_is_told_that_the_generation_is_new[memory]")
def the_generation_check(patch: Patch) -> None:
    """H44: nobody notices that the queue's data is gone."""
    real = Lane.claim

    def claim(self: Lane, *rest: Any) -> Claimed:
        return replace(real(self, *rest), sweep=False)

    patch.set(Lane, "claim", claim)


@mutant("queue/test_leases.py::test_h127_a_sweep_that_nobody_says_to_be_at_is_asked_of_another_after_a_lease[memory]")
def a_sweep_is_asked_for_once(patch: Patch) -> None:
    """H127: whoever finds the queue's data gone dies before it has swept, and nobody follows."""
    real = Lane.claim

    def claim(self: Lane, *rest: Any) -> Claimed:
        if self.generation is not None:
            self.swept_until = None
        return real(self, *rest)

    patch.set(Lane, "claim", claim)


@mutant("queue/test_leases.py::test_h104_after_a_flush_renewals_take_leases_back[memory-False]")
def leases_are_not_taken_back(patch: Patch) -> None:
    """H104: after a flush every running body has lost its lease."""
    real = Lane.renew

    def renew(self: Lane, now: int, delivery: Delivery, lease_ms: int, *, begin: bool) -> tuple[bool, bool]:
        return real(self, now, replace(delivery, generation=self.generation or ""), lease_ms, begin=begin)

    patch.set(Lane, "renew", renew)


@mutant("queue/test_messages.py::test_h68_a_hand_back_is_no_crash_and_asks_for_recovery[memory]", historical=True)
def a_hand_back_counts_as_a_crash(patch: Patch) -> None:
    """H68: drains and outages make suspects."""
    real = Lane.release

    def release(self: Lane, now: int, delivery: Delivery, delay_ms: int, proof: bool) -> bool:
        done = real(self, now, delivery, delay_ms, True)
        if done:
            held = self.messages[delivery.key]
            self.messages[delivery.key] = replace(held, crashes=held.crashes + 1)
        return done

    patch.set(Lane, "release", release)


@mutant("engine/test_hazards_poison.py::test_h75_bystanders_of_a_poison_are_not_blamed", historical=True, seeds=0)
def any_crash_is_a_proof(patch: Patch) -> None:
    """H75: a bystander of two crashes is blamed."""
    real = Lane.claim

    def claim(self: Lane, *rest: Any) -> Claimed:
        claimed = real(self, *rest)
        return replace(claimed, deliveries=tuple(replace(one, proofs=one.crashes) for one in claimed.deliveries))

    patch.set(Lane, "claim", claim)


@mutant(
    "engine/test_hazards_poison.py::test_h66_a_step_that_kills_its_worker_is_run_alone_and_then_fails", historical=True
)
def a_start_forgets_the_crashes(patch: Patch) -> None:
    """H66: a step that kills its process every time never becomes a suspect."""
    real = Lane._lease

    def lease(self: Lane, now: int, key: str, lease_ms: int, token: str, held: Any = None, rounds: int = 0) -> Delivery:
        return replace(real(self, now, key, lease_ms, token, held, rounds), crashes=0)

    patch.set(Lane, "_lease", lease)


@mutant("queue/test_waiting.py::test_a_claim_that_leaves_work_rings_for_another[memory]")
def bells_do_not_ring(patch: Patch) -> None:
    """An enqueue wakes nobody: work waits for the end of somebody's block."""
    ring: Callable[..., None] = lambda self, kind=None: None  # noqa: E731
    patch.set(Lane, "ring", ring)


@mutant("engine/test_reach.py::test_h101_a_body_on_another_worker_is_reached[renewal-cancel]")
def withdrawn_work_is_not_told(patch: Patch) -> None:
    """H101: a body whose step was cancelled runs to its end."""

    async def withdraw(self: MemoryQueue, queue: str, keys: Sequence[str]) -> list[str]:
        return []

    patch.set(MemoryQueue, "withdraw", withdraw)
