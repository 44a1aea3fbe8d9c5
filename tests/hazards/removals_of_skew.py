"""Guards of two versions of the code beside each other."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

from typing import Any, NoReturn

import pytest
from tests.hazards.registry import removal, without_lua

from fencepost import errors
from fencepost.authoring.registry import Registry
from fencepost.engine import steps
from fencepost.replay.asking import AskingFace
from fencepost_queue.lane import Lane

SKEW, REFUSALS = "engine/test_hazards_skew.py", "queue/test_refusals.py"


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
    f"{SKEW}::test_h132_innocent_runs_beside_a_foreign_application_are_quick",
])  # fmt: skip
def refused_messages_come_back(patch: pytest.MonkeyPatch) -> None:
    """Whoever claims."""
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
