"""Guards of two versions of the code beside each other."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

from typing import Any, NoReturn

import pytest
from tests.hazards.registry import removal, without_lua, without_statement

from fencepost import errors, lineage
from fencepost.authoring.registry import Registry
from fencepost.engine import endings, steps
from fencepost.replay import starting
from fencepost.replay.asking import AskingFace
from fencepost_queue.lane import Lane
from fencepost_store import memory

SKEW, REFUSALS = "engine/test_hazards_skew.py", "queue/test_refusals.py"
BY_NAME = "engine/test_started_by_name.py"


@removal("H131", guard="a step that this worker's code cannot do is refused before it is started", tests=[
    f"{SKEW}::test_h131_a_step_that_only_new_code_has",
    f"{SKEW}::test_h131_arguments_that_a_signature_cannot_take",
])  # fmt: skip
def every_step_is_started(patch: pytest.MonkeyPatch) -> None:
    """Whatever comes of it."""
    patch.setattr(steps, "step_lack", lambda registry, created: None)


@removal("H131", guard="the caller's own code says that its arguments are wrong", tests=[
    f"{SKEW}::test_h131_only_the_callers_own_code_blames_the_arguments",
])  # fmt: skip
def nobody_blames_arguments(patch: pytest.MonkeyPatch) -> None:
    """They are always said to be of other code."""
    real = Registry.find_step

    def find_step(self: Registry, name: str) -> Any:
        step = real(self, name)
        if step is not None:
            step.arguments._fingerprint = name.encode()[:6]
        return step

    patch.setattr(Registry, "find_step", find_step)
    patch.setattr(Registry, "fingerprint", "one")


@removal("H132", guard="a claim passes over what its own code has refused (the model)", tests=[
    f"{REFUSALS}::test_h132_what_a_code_has_refused_it_is_not_given_again",
])  # fmt: skip
def refused_messages_come_back(patch: pytest.MonkeyPatch) -> None:
    """Whoever claims. Whole workers would claim and refuse for ever, in no virtual time."""
    real = Lane.refused_in_order
    patch.setattr(Lane, "refused_in_order", lambda self, code="": real(self))


@removal("H132", guard="a claim passes over what its own code has refused (the script)", tests=[
    f"{REFUSALS}::test_h132_what_a_code_has_refused_it_is_not_given_again",
])  # fmt: skip
def refused_messages_come_back_from_the_server(patch: pytest.MonkeyPatch) -> None:
    """Whoever claims."""
    without_lua(
        patch, "claim", "elseif not string.find(',' .. codes .. ',', ',' .. ARGV[7] .. ',', 1, true) then", "else"
    )


@removal("H132", guard="a refusal rings for more than one worker", tests=[
    f"{REFUSALS}::test_h132_a_refusal_wakes_more_than_one",
])  # fmt: skip
def a_refusal_rings_once(patch: pytest.MonkeyPatch) -> None:
    """For whoever hears it first."""
    without_lua(patch, "refuse", "for _ = 2, REFUSED_RINGS do ring_for(key) end", "")


@removal("H133", guard="a value of other code ends the live run, not the user's", tests=[
    f"{SKEW}::test_h133_a_workflow_s_input_of_a_newer_client",
    f"{SKEW}::test_h133_values_of_newer_code",
])  # fmt: skip
def the_run_hears_of_it(patch: pytest.MonkeyPatch) -> None:
    """As an error of its own."""

    def unfit(self: AskingFace, why: str) -> NoReturn:
        raise errors.PayloadError(why)

    patch.setattr(AskingFace, "unfit", unfit)


@removal("H134", guard="what the starter has left open is settled by the first turn", tests=[
    f"{BY_NAME}::test_h134_a_declared_timeout_holds_for_a_start_by_name",
    f"{BY_NAME}::test_h134_a_run_is_moved_to_its_code_s_queue",
])  # fmt: skip
def nothing_is_left_open(patch: pytest.MonkeyPatch) -> None:
    """As if the starter had said that there is no timeout, and that the queue is any."""
    patch.setattr(starting, "OPEN", b"never")


@removal("H134", guard="a chain keeps what was settled", tests=[
    f"{BY_NAME}::test_h134_a_chain_keeps_what_was_settled",
])  # fmt: skip
def each_link_settles_anew(patch: pytest.MonkeyPatch) -> None:
    """By whatever code goes on."""
    patch.setattr(lineage, "closed", lambda created, started: created)


@removal("H135", guard="run_started and the row's queue change together", tests=[
    f"{BY_NAME}::test_h134_h135_a_worker_dies_while_it_moves_a_run",
])  # fmt: skip
def the_row_stays(patch: pytest.MonkeyPatch) -> None:
    """It says what it said before."""

    async def move(self: Any, queue: str) -> None: ...

    patch.setattr(memory._MemoryLocked, "move", move)


@removal("H136", guard="a build that has tried a parked run is not asked again", tests=[
    "engine/test_hazards_parking.py::test_h136_two_builds_do_not_park_one_run_in_turn",
])  # fmt: skip
def builds_forget_each_other(patch: pytest.MonkeyPatch) -> None:
    """Only the last one is remembered."""
    patch.setattr(endings, "tried_before", lambda run, build: ())


@removal("H136", guard="a build that has tried is not asked again (SQL)", tests=[
    "store/test_turns.py::test_h136_a_build_that_has_tried_is_not_asked_again",
])  # fmt: skip
def the_statement_forgets_them(patch: pytest.MonkeyPatch) -> None:
    """Only the last one is remembered."""
    without_statement(patch, "take_parked", "r.parked -> 'before'", "r.parked -> 'never'")
