"""Guards of signals, and of what durations count from."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.hazards.registry import removal, without_sql

from fencepost.authoring.hook import Hook
from fencepost.client import replies, signals
from fencepost.engine import advance
from fencepost.replay import facts
from fencepost.replay.asking import AskingFace
from fencepost.replay.loop import WorkflowLoop
from fencepost_store import tables

HANDOVER = "engine/test_hazards_handover.py"
STORE = "store/test_handover.py"
DURATIONS = "engine/test_hazards_durations.py"


@removal(
    "H173",
    guard="the run that goes on starts in the transaction of run_continued, with what it inherits",
    tests=[
        f"{HANDOVER}::test_h173_payloads_that_nobody_has_taken_go_over_to_the_run_that_goes_on",
        f"{HANDOVER}::test_h173_an_answer_comes_from_the_run_that_goes_on",
    ],
)
def successors_inherit_nothing(patch: pytest.MonkeyPatch) -> None:
    """It is started by the duties of the end, as if nobody had listened."""
    patch.setattr(advance, "with_successor", lambda batch, live, work: batch)


@removal(
    "H173",
    guard="append hands over what the batch says",
    tests=[f"{STORE}::test_h173_the_run_that_goes_on_begins_with_hooks_and_payloads_in_order"],
)
def append_hands_nothing_over(patch: pytest.MonkeyPatch) -> None:
    """In Postgres."""
    without_sql(patch, ("append_continued", "IF o_outcomes[p_places[n]] = 0 THEN", "IF o_now < 0 THEN"))


@removal(
    "H173",
    guard="a token that the run has inherited goes to the hook that it opens",
    tests=[f"{STORE}::test_h173_a_payload_is_taken_for_what_was_inherited_until_a_hook_is_opened"],
)
def inherited_tokens_stay(patch: pytest.MonkeyPatch) -> None:
    """The run is in conflict with itself."""
    without_sql(patch, ("take_inherited", "IF v_owner = p_run AND starts_with", "IF v_owner IS NULL AND starts_with"))


@removal(
    "H174",
    guard="a payload that comes after its hook's closing or its run's end was decided is counted, or goes over",
    tests=[
        f"{HANDOVER}::test_h174_a_payload_that_lands_between_the_end_of_the_code_and_the_runs_end_goes_over",
        f"{HANDOVER}::test_h174_a_payload_that_lands_while_its_hook_is_closed_is_counted",
    ],
)
def late_payloads_are_nobodys(patch: pytest.MonkeyPatch) -> None:
    """It is passed over."""
    patch.setattr(facts, "late", lambda run, ask, event: None)


@removal(
    "H175",
    guard="a token passes from one run to the next in one transaction",
    tests=[f"{HANDOVER}::test_h175_a_sender_is_never_refused_while_the_run_goes_on_as_another"],
)
def tokens_are_free_in_between(patch: pytest.MonkeyPatch) -> None:
    """The run that goes on has the payloads, and asks for the token when it opens its hook."""
    real = tables.Tables._hand_over

    def without_tokens(self: Any, before: Any, after: Any, batch: Any, stamp: int) -> None:
        real(self, before, after, batch, stamp)
        for hook in batch.hooks:
            self.tokens.pop(hook.token, None)

    patch.setattr(tables.Tables, "_hand_over", without_tokens)


@removal(
    "H176",
    guard="a duration counts from the clock that came with the turn",
    tests=[
        f"{DURATIONS}::test_h176_a_timeout_around_the_first_step_does_not_fire_when_the_outage_is_over",
        f"{DURATIONS}::test_h176_a_duration_in_the_first_turn_is_not_used_up_by_the_time_before_it",
    ],
)
def durations_count_from_the_event(patch: pytest.MonkeyPatch) -> None:
    """A wait is due workflow time plus its delay."""
    patch.setattr(AskingFace, "turn_time", AskingFace.time)


@removal(
    "H177",
    guard="an instant is told apart from a duration",
    tests=[f"{DURATIONS}::test_h177_an_instant_stays_what_it_is"],
)
def instants_are_moved(patch: pytest.MonkeyPatch) -> None:
    """Every deadline counts from the turn that arms it."""
    real = WorkflowLoop.call_at

    def call_at(self: Any, when: float, *args: Any, **options: Any) -> Any:
        self._deadlines.add(when)
        return real(self, when, *args, **options)

    patch.setattr(WorkflowLoop, "call_at", call_at)


@removal(
    "H178",
    guard="the end of a run ends the wait for its answer",
    tests=["web/test_replies.py::test_h178_who_waits_for_an_answer_that_cannot_come_hears_so_at_once"],
)
def askers_wait_for_ever(patch: pytest.MonkeyPatch) -> None:
    """Only an answer or the deadline ends it."""
    real = replies.Reply

    def reply(*given: Any, ended: str | None = None, **more: Any) -> Any:
        if ended is not None:
            raise TimeoutError  # as if the deadline had come
        return real(*given, **more)

    patch.setattr(replies, "Reply", reply)


@removal(
    "H179",
    guard="the payload of a delivery that comes again is compared",
    tests=["engine/test_signal_edges.py::test_h179_the_same_id_with_another_payload_is_a_conflict"],
)
def the_id_alone_counts(patch: pytest.MonkeyPatch) -> None:
    """Whatever it brings is a duplicate."""
    patch.setattr(signals, "_same_payload", lambda *given: None)


@removal(
    "H180",
    guard="what does not fit is passed over",
    tests=["engine/test_signal_edges.py::test_h180_what_a_stranger_sends_does_not_fail_the_run"],
)
def what_does_not_fit_is_raised(patch: pytest.MonkeyPatch) -> None:
    """The code has to catch it."""

    def drop(self: Any, event: Any, error: Exception) -> None:
        raise error

    patch.setattr(Hook, "_drop", drop)


@removal(
    "H212",
    guard="a sender asks how many bytes the run's hooks have received",
    tests=["engine/test_hazards_log_bytes.py::test_h212_a_sender_is_refused_before_a_log_has_more_bytes_than_it_may"],
)  # fmt: skip
def senders_fill_a_log(patch: pytest.MonkeyPatch) -> None:
    """Each payload is within its own bound."""
    real = tables.Tables.trace

    def trace(self: tables.Tables, token: str, delivery: str | None) -> Any:
        found = real(self, token, delivery)
        return None if found is None else msgspec.structs.replace(found, received=0)

    patch.setattr(tables.Tables, "trace", trace)
