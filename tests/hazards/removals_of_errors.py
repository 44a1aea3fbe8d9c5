"""Guards of outcomes: whose fault it was, and what a failure may cost."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.hazards.registry import removal

from fencepost import errors, failure, failure_reading, failure_writing, log
from fencepost.authoring import retry
from fencepost.engine import bodies, gates, handback, hotpath, steps
from fencepost.engine.bodies import Attempt
from fencepost.engine.owed import own_tick
from fencepost.engine.shell import Shell
from fencepost.log import RunLog
from fencepost.records import Failure, Policy, StepEnded, pack, unpack
from fencepost_queue.protocol import Delivery
from fencepost_store.events import EventType, NewEvent
from fencepost_store.protocol import Batch, StoreTrouble

ERRORS = "engine/test_error_table.py"


@removal("H33", guard="what cannot be encoded is not tried again", tests=[
    f"{ERRORS}::test_h33_an_unserialisable_result_fails_that_step_at_once",
])  # fmt: skip
def unserialisable_values_are_retried(patch: pytest.MonkeyPatch) -> None:
    """As any other error."""
    patch.setattr(errors, "NOT_RETRYABLE_CODES", frozenset())


@removal("H69", guard="n retries are n + 1 executions that ended in an error", tests=[
    "engine/test_basics.py::test_retries_back_off_and_count_errors",
    "authoring/test_retry.py::test_h69_n_retries_are_n_plus_one_executions_that_ended_in_an_error",
])  # fmt: skip
def one_retry_fewer(patch: pytest.MonkeyPatch) -> None:
    """Off by one."""

    def next_delay(errors: int, policy: Policy, failure: Failure, uniform: Callable[[], float]) -> float | None:
        if not failure.retryable or errors >= policy.retries:
            return None
        return failure.retry_after if failure.retry_after is not None else policy.first_delay

    patch.setattr(retry.next_delay, "__code__", next_delay.__code__)


@removal("H80", guard="an error that a body raises is the step's own, whatever its class", tests=[
    f"{ERRORS}::test_h80_a_servers_error_raised_by_user_code_is_the_steps_own",
])  # fmt: skip
def blame_by_class(patch: pytest.MonkeyPatch) -> None:
    """A StoreTrouble is the store's trouble."""
    real = bodies.run_attempt

    async def run_attempt(ports: Any, registry: Any, attempt: Attempt, *rest: Any) -> NewEvent:
        event = await real(ports, registry, attempt, *rest)
        if event.type in (EventType.step_failed, EventType.step_retrying):
            found = unpack(event.payload, StepEnded).error.type
            if found.endswith(("Trouble", "ServerUnavailable", "PostgresError", "ConnectionError")):
                raise StoreTrouble(found)
        return event

    patch.setattr(steps, "run_attempt", run_attempt)


@removal("H81", guard="trouble at the append of a result is handed back", tests=[
    "engine/test_hazards_steps.py::test_h81_trouble_with_the_store_is_not_the_steps_failure",
])  # fmt: skip
def trouble_fails_the_step(patch: pytest.MonkeyPatch) -> None:
    """Something went wrong in the step, after all."""

    async def blame(shell: Shell, delivery: Delivery, trouble: Exception) -> None:
        _, run_id, entity = delivery.key.split(":", 2)
        payload = pack(StepEnded(failure.failure_of(trouble)))
        event = NewEvent(EventType.step_failed, entity, attempt=1, dedupe=delivery.token, payload=payload)
        await shell.store.append([Batch(run_id=run_id, fence=None, events=(event,))])
        await handback.settle(shell, delivery, [own_tick(run_id, delivery.queue)])

    patch.setattr(hotpath, "hand_back", blame)


@removal("H83", guard="causes, arguments and attributes go into the record", tests=[
    f"{ERRORS}::test_h83_an_exception_comes_back_as_itself",
    "authoring/test_failure.py::test_h83_causes_and_contexts_survive_as_python_prints_them",
])  # fmt: skip
def only_the_message_survives(patch: pytest.MonkeyPatch) -> None:
    """Class and text."""
    real = failure_writing.Writer.write

    def write(self: Any, *args: Any) -> Failure:
        record = real(self, *args)
        return msgspec.structs.replace(record, cause=None, context=None, args=None, attributes={}, traceback="")

    patch.setattr(failure_writing.Writer, "write", write)


CLASSES = "authoring/test_failure_classes.py"


@removal("H169", guard="what cannot be made again is stood in for by a subclass of it", tests=[
    f"{CLASSES}::test_h169_what_cannot_be_made_again_is_caught_by_its_class_and_says_what_was_recorded",
    f"{CLASSES}::test_h169_a_class_that_is_not_here_is_caught_by_its_base",
])  # fmt: skip
def no_standins(patch: pytest.MonkeyPatch) -> None:
    """StepFailed, or an instance whose str() raises."""

    def none(*args: object) -> None:
        return None

    patch.setattr(failure_reading, "standin_for", none)
    patch.setattr(failure_reading, "standin_below", none)


@removal("H170", guard="what is met twice is referred to", tests=[
    "authoring/test_failure_groups.py::test_h170_the_body_s_own_error_stays_a_member_of_its_group",
    "authoring/test_failure_groups.py::test_h170_what_was_one_object_is_one_again",
])  # fmt: skip
def seen_once(patch: pytest.MonkeyPatch) -> None:
    """What was written is left out where it comes again."""
    real = failure_writing.Writer._next

    def next_(self: Any, exc: BaseException | None, depth: int) -> Failure | None:
        found = real(self, exc, depth)
        return None if found is not None and found.ref else found

    patch.setattr(failure_writing.Writer, "_next", next_)


@removal("H84", guard="limits are checked before the append", tests=[
    "engine/test_hazards_parking.py::test_h84_a_run_over_its_limits_fails_alone",
])  # fmt: skip
def no_limits(patch: pytest.MonkeyPatch) -> None:
    """A log grows as it likes."""
    patch.setattr(RunLog, "check", lambda self, batch, open_entities=0, log_bytes=0: None)


@removal("H86", guard="full jitter", tests=[
    "authoring/test_retry.py::test_h86_the_delay_is_anywhere_between_zero_and_the_bound",
])  # fmt: skip
def no_jitter(patch: pytest.MonkeyPatch) -> None:
    """Everybody comes at the bound."""

    def delay_before(attempt_that_failed: int, policy: Policy, uniform: Callable[[], float]) -> float:
        return min(policy.first_delay * policy.factor ** (attempt_that_failed - 1), policy.cap)

    patch.setattr(retry.delay_before, "__code__", delay_before.__code__)


@removal("H126", guard="an error's record is shortened until it fits", tests=[
    "engine/test_hazards_fitting.py::test_h126_a_steps_error_fits_and_reads_the_same_in_every_replay",
])  # fmt: skip
def records_of_errors_keep_their_length(patch: pytest.MonkeyPatch) -> None:
    """Neither before the delivery nor at the write seam."""

    def as_it_is(event: NewEvent, bound: int) -> NewEvent:
        return event

    patch.setattr(hotpath, "fitted", as_it_is)
    patch.setattr(log, "fitted", as_it_is)


AWAY = "engine/test_gates.py::test_h188_runs_that_wait_for_a_server_are_claimed_when_it_is_back"


@removal("H188", guard="nothing is claimed while a server is away", tests=[AWAY])
def claims_go_on(patch: pytest.MonkeyPatch) -> None:
    """Each message is claimed and handed back for as long as it lasts."""

    async def opened(self: Any) -> None:
        return

    patch.setattr(gates.Gates, "opened", opened)


@removal("H188", guard="what is known of a server is said once", tests=[AWAY])
def trouble_is_told_each_time(patch: pytest.MonkeyPatch) -> None:
    """By everybody who meets it."""
    trouble = gates.Gate.trouble

    def told(self: Any, error: BaseException, *, handed_back: int = 0) -> bool:
        trouble(self, error, handed_back=handed_back)
        return True

    patch.setattr(gates.Gate, "trouble", told)


@removal("H188", guard="a server that refuses the work is given pauses", tests=[
    "engine/test_gates.py::test_h188_a_server_that_answers_probes_and_refuses_work_is_asked_less_and_less",
])  # fmt: skip
def probes_decide_alone(patch: pytest.MonkeyPatch) -> None:
    """Its answers to probes open the gate at once, again and again."""
    patch.setattr(gates, "FLAP_SECONDS", 0.0)


@removal("H188", guard="the first probe comes at once", tests=[
    "engine/test_gates.py::test_h188_the_trouble_of_one_call_stops_nobody",
])  # fmt: skip
def one_call_stops_all(patch: pytest.MonkeyPatch) -> None:
    """Whatever trouble it was, the worker pauses."""
    patch.setattr(gates, "StoreTrouble", ())
