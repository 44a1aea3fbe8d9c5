"""Guards of what a worker has in hand, of whose step is next, and of who is blamed for a worker's loss."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import pytest
from tests.hazards.registry import removal, without_lua

from fencepost.engine import advance, alone, claims, redelivered
from fencepost.engine.shell import Shell
from fencepost.engine.slots import Slots
from fencepost_queue.protocol import Delivery

TURNS, IN_HAND = "queue/test_turns.py", "engine/test_in_hand.py"


@removal("H200", guard="a run's next step goes into the next round", tests=[
    f"{TURNS}::test_h200_steps_come_in_turn_over_their_runs",
])  # fmt: skip
def steps_come_in_the_order_of_their_enqueues(patch: pytest.MonkeyPatch) -> None:
    """Who has asked for many is served first."""
    without_lua(patch, "", "at = tonumber(round or at) + count", "at = at + 0", everywhere=True)


@removal("H200", guard="what leaves the steps' set is counted no more", tests=[
    f"{TURNS}::test_h200_what_is_withdrawn_costs_its_run_no_turn",
])  # fmt: skip
def withdrawn_steps_are_counted(patch: pytest.MonkeyPatch) -> None:
    """Their run goes on as if they were there."""
    without_lua(patch, "", "  if set == STEPS then counted(key, -1) end\n", "", everywhere=True)


@removal("H200", guard="a round is over when the next one's step is taken", tests=[
    f"{TURNS}::test_h200_a_run_that_comes_again_and_again_passes_nobody",
])  # fmt: skip
def rounds_stand_still(patch: pytest.MonkeyPatch) -> None:
    """A run whose step was taken goes into the first round again."""
    without_lua(
        patch, "claim", "if home == STEPS and message[AT] >= 0 then redis.call('SET', ROUND, message[AT]) end", ""
    )


@removal("H201", guard="what was lost before begins when its taker says so", tests=[
    f"{TURNS}::test_h201_what_nobody_began_is_no_crash",
])  # fmt: skip
def every_claim_has_begun(patch: pytest.MonkeyPatch) -> None:
    """Also one that nobody heard the answer of."""
    without_lua(
        patch, "", "message[BEGUN] = message[CRASHES] == 0 and now or 0", "message[BEGUN] = now", everywhere=True
    )


@removal("H201", guard="who takes what was lost before says that it begins", tests=[
    f"{IN_HAND}::test_h201_who_takes_what_was_lost_says_that_it_begins",
])  # fmt: skip
def nobody_says_that_it_begins(patch: pytest.MonkeyPatch) -> None:
    """Whatever kills its worker at once is never blamed."""

    async def begin(shell: Shell, delivery: Delivery) -> bool:
        return True

    patch.setattr(claims, "begin", begin)


@removal("H202", guard="many that are lost together are not blamed", tests=[
    f"{TURNS}::test_h202_of_many_that_are_lost_together_none_is_blamed",
])  # fmt: skip
def all_who_are_lost_are_blamed(patch: pytest.MonkeyPatch) -> None:
    """Two losses of a host make suspects of all that it had."""
    without_lua(patch, "claim", "local spared = mine and", "local spared = false and")


@removal("H202", guard="of many those are blamed that began last", tests=[
    f"{TURNS}::test_h202_of_many_those_are_blamed_that_began_last",
])  # fmt: skip
def the_youngest_are_spared_too(patch: pytest.MonkeyPatch) -> None:
    """What kills its worker among long bodies kills the next one as well."""
    without_lua(patch, "claim", "(mine.young > COMPANY_MAX or not is_young(message, mine))", "true")


@removal("H202", guard="what was lost before begins few at a time", tests=[
    f"{IN_HAND}::test_h202_what_was_lost_begins_few_at_a_time",
])  # fmt: skip
def all_that_was_lost_begins_at_once(patch: pytest.MonkeyPatch) -> None:
    """In the company of each other."""
    patch.setattr(redelivered, "COMPANY_MAX", 1_000)


@removal("H202", guard="nobody is forgiven for ever", tests=[
    f"{TURNS}::test_h202_of_many_that_are_lost_together_none_is_blamed",
])  # fmt: skip
def all_is_forgiven(patch: pytest.MonkeyPatch) -> None:
    """What kills its worker in company kills each that comes."""
    without_lua(patch, "claim", "spared and message[FORGIVEN] < FORGIVEN_MAX and", "spared and")


@removal("H203", guard="slots are reserved before the claim", tests=[
    f"{IN_HAND}::test_h203_what_finds_its_slot_taken_is_handed_back",
])  # fmt: skip
def what_is_claimed_is_begun(patch: pytest.MonkeyPatch) -> None:
    """Whether there is a slot or not."""
    patch.setattr(Slots, "room", property(lambda self: True))


@removal("H203", guard="what one claim was promised no other is", tests=[
    f"{IN_HAND}::test_h203_concurrency_is_a_bound_over_all_queues",
])  # fmt: skip
def each_claim_is_promised_all(patch: pytest.MonkeyPatch) -> None:
    """And begins what it brings."""

    @contextmanager
    def reserved(self: Slots, least: int = 1) -> Generator[int]:
        yield max(0, self.free)

    patch.setattr(Slots, "reserved", reserved)
    patch.setattr(Slots, "room", property(lambda self: True))


@removal("H204", guard="a run yields its slot to those who wait", tests=[
    f"{IN_HAND}::test_h204_chains_that_never_end_let_others_in",
])  # fmt: skip
def chains_never_let_go(patch: pytest.MonkeyPatch) -> None:
    """The next step always has the slot of the one before."""
    patch.setattr(advance, "INLINE_MAX", 1_000_000_000)
    patch.setattr(advance, "INLINE_SECONDS", 1_000_000_000.0)


@removal("H204", guard="only where others wait", tests=[
    f"{IN_HAND}::test_h204_where_nobody_waits_a_chain_keeps_its_slot",
])  # fmt: skip
def chains_always_let_go(patch: pytest.MonkeyPatch) -> None:
    """Each step goes through the queue."""
    real = Slots.__init__

    def init(self: Slots, size: int) -> None:
        real(self, size)
        self.wanted = _Always()

    patch.setattr(Slots, "__init__", init)


class _Always(set[str]):
    def __len__(self) -> int:
        return 1

    def __bool__(self) -> bool:
        return True


@removal("H205", guard="a death before user code begins is no proof", tests=[
    "engine/test_alone_processes.py::test_h205_a_process_that_ends_before_user_code_begins_is_no_proof",
])  # fmt: skip
def any_death_is_a_proof(patch: pytest.MonkeyPatch) -> None:
    """Whatever the child has come to."""
    real = alone.Words.__init__

    def init(self: alone.Words) -> None:
        real(self)
        self.begun = True

    patch.setattr(alone.Words, "__init__", init)


@removal("H205", guard="the second proof waits", tests=[
    "engine/test_hazards_poison.py::test_h205_the_second_proof_waits",
])  # fmt: skip
def proofs_come_at_once(patch: pytest.MonkeyPatch) -> None:
    """One after the other, whatever is wrong with the machine."""
    patch.setattr(alone, "PROOF_DELAY_MS", 0)


@removal("H206", guard="ticks in hand are bounded", tests=[
    f"{IN_HAND}::test_h206_ticks_in_hand_are_bounded_and_the_rest_is_left_to_others",
])  # fmt: skip
def all_ticks_are_taken(patch: pytest.MonkeyPatch) -> None:
    """By who comes first."""
    patch.setattr(claims, "TICKS_MAX", 100_000)


@removal("H206", guard="free places are used though they are few", tests=[
    f"{IN_HAND}::test_h206_turns_that_hang_keep_no_places_empty",
])  # fmt: skip
def few_places_are_left_empty(patch: pytest.MonkeyPatch) -> None:
    """Until many have become free."""
    real = Slots.reserved
    patch.setattr(Slots, "reserved", lambda self, least=1: real(self, 1 if self.size < 64 else 16))
