"""Guards of what a worker has in hand, of whose step is next, and of who is blamed for a worker's loss."""

# Mutants reach where no caller does.
# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from msgspec.structs import replace
from tests.simulate.mutants.switches import Patch, mutant

from fencepost.engine import advance, alone, claims, handback, redelivered
from fencepost.engine.shell import Shell
from fencepost.engine.slots import Slots
from fencepost_queue import message
from fencepost_queue.lane import Lane
from fencepost_queue.message import Message, is_tick
from fencepost_queue.protocol import Delivery

TURNS, IN_HAND = "queue/test_turns.py", "engine/test_in_hand.py"
SEEDS = 150
"""As many as have some of the plans under pressure."""


@mutant(f"{TURNS}::test_h200_steps_come_in_turn_over_their_runs[memory]", seeds=SEEDS)
def steps_come_in_the_order_of_their_enqueues(patch: Patch) -> None:
    """H200: a run that has asked for many steps holds all others up."""
    real = Lane._make_ready

    def make_ready(self: Lane, now: int, key: str, held: Message, *, first: bool = False) -> None:
        real(self, now, key, held, first=first)
        made = self.messages[key]
        if not first and not is_tick(key) and not made.refused:
            self.messages[key] = replace(made, at=self.counter)

    patch.set(Lane, "_make_ready", make_ready)


@mutant(f"{IN_HAND}::test_h204_chains_that_never_end_let_others_in", seeds=SEEDS)
def chains_never_let_go(patch: Patch) -> None:
    """H204: a run whose next step always follows keeps its slot to its end."""
    patch.set(advance, "INLINE_MAX", 1_000_000_000)
    patch.set(advance, "INLINE_SECONDS", 1_000_000_000.0)


@mutant(f"{IN_HAND}::test_h203_concurrency_is_a_bound_over_all_queues", seeds=SEEDS)
def each_claim_is_promised_all(patch: Patch) -> None:
    """H203: claims of several queues are under way, and each has been promised every free slot."""

    @contextmanager
    def reserved(self: Slots, least: int = 1) -> Generator[int]:
        yield max(0, self.free)

    patch.set(Slots, "reserved", reserved)
    patch.set(Slots, "room", property(lambda self: True))


@mutant(f"{TURNS}::test_h202_of_many_that_are_lost_together_none_is_blamed[memory]", seeds=SEEDS)
def all_who_are_lost_are_blamed(patch: Patch) -> None:
    """H202: two losses of a machine make suspects of all that it had in hand."""
    patch.set(message, "COMPANY_MAX", 1_000_000)

    @asynccontextmanager
    async def place(self: redelivered.Redelivered) -> AsyncGenerator[None]:
        yield

    patch.set(redelivered.Redelivered, "place", place)


@mutant(f"{IN_HAND}::test_h202_what_was_lost_begins_few_at_a_time", seeds=SEEDS)
def all_that_was_lost_begins_at_once(patch: Patch) -> None:
    """H202: what kills its worker has many in its company each time, and goes on for as long as they are forgiven."""

    @asynccontextmanager
    async def place(self: redelivered.Redelivered) -> AsyncGenerator[None]:
        yield

    patch.set(redelivered.Redelivered, "place", place)


@mutant(f"{TURNS}::test_h201_what_nobody_began_is_no_crash[memory]", seeds=0)
def every_claim_has_begun(patch: Patch) -> None:
    """H201: a claim whose answer was lost counts as a crash of all that it took."""
    real = Lane._lease

    def lease(self: Lane, now: int, key: str, *rest: Any, **options: Any) -> Delivery:
        delivery = real(self, now, key, *rest, **options)
        self.messages[key] = replace(self.messages[key], begun=now)
        return delivery

    patch.set(Lane, "_lease", lease)


# Not by schedules: what kills each worker that it meets takes long to play.
@mutant(f"{IN_HAND}::test_h201_who_takes_what_was_lost_says_that_it_begins", seeds=0)
def nobody_says_that_it_begins(patch: Patch) -> None:
    """H201, H66: what kills its worker at once is never blamed, and kills the next one."""

    async def begin(shell: Shell, delivery: Delivery) -> bool:
        return True

    patch.set(claims, "begin", begin)


@mutant("engine/test_hazards_poison.py::test_h205_a_process_that_cannot_start_is_no_proof", seeds=SEEDS)
def any_death_is_a_proof(patch: Patch) -> None:
    """H205: a suspect's process that cannot start is taken for one that its body has ended."""

    async def hand_back(shell: Shell, delivery: Delivery, missing: str) -> None:
        await handback.release(shell, delivery, proof=True)

    patch.set(alone, "hand_back_unbegun", hand_back)


@mutant(f"{IN_HAND}::test_h206_ticks_in_hand_are_bounded_and_the_rest_is_left_to_others", seeds=0)
def all_ticks_are_taken(patch: Patch) -> None:
    """H206: who comes first takes all ticks that there are."""
    patch.set(claims, "TICKS_MAX", 100_000)
