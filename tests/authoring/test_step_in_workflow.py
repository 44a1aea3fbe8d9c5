"""Steps awaited in a workflow: what is recorded, in which order, and what comes back."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import threading
import traceback
import warnings
from decimal import Decimal
from typing import Any

import pytest

from fencepost import errors
from fencepost.authoring.registry import Registry
from fencepost.authoring.step import step
from fencepost.authoring.workflow import workflow
from fencepost.records import Policy

registry = Registry()


@dataclasses.dataclass
class Order:
    id: int
    amount: Decimal = Decimal(0)


class Declined(Exception):
    def __init__(self, order_id: int, *, reason: str) -> None:
        super().__init__(f"order {order_id} was declined")
        self.order_id = order_id
        self.reason = reason


@step(registry=registry, retries=5, timeout=30, queue="payments")
async def charge(order: Order, *, currency: str = "EUR") -> Order:
    return order


@step(registry=registry)
def label(order: Order) -> str:
    return "label"


def test_a_step_is_asked_for_with_name_arguments_queue_and_policy(start: Any) -> None:
    """And its result comes back by the return annotation."""

    @workflow(registry=registry)
    async def pays(order: Order) -> Order:
        return await charge(order, currency="USD")

    run = start(pays, Order(7, Decimal("1.10")))
    asked = run.asked()["charge#1"]
    assert (asked.name, asked.queue, asked.mode) == ("charge", "payments", "async")
    assert asked.policy == Policy(retries=5, timeout=30)
    assert charge.decode_args(asked.args) == ((Order(7, Decimal("1.10")),), {"currency": "USD"})
    run.complete("charge#1", charge.encode_result(Order(8, Decimal("2.20"))))
    assert run.result == Order(8, Decimal("2.20"))


def test_options_hold_for_the_calls_made_through_them_only(start: Any) -> None:
    """The step itself, its name and its registration stay."""

    @workflow(registry=registry)
    async def optional(order: Order) -> None:
        await charge.with_options(retries=0, timeout=None, queue=None)(order)
        await charge.with_options(timeout=5)(order)

    run = start(optional, Order(1))
    run.complete("charge#1", charge.encode_result(Order(1)))
    first, second = run.asked().values()
    assert (first.name, first.queue, first.policy) == ("charge", None, Policy(retries=0))
    assert (second.queue, second.policy) == ("payments", Policy(retries=5, timeout=5))
    assert registry.find_step("charge") is charge
    assert charge.policy.retries == 5


def test_ids_follow_the_calls_not_the_awaits(start: Any) -> None:
    """A coroutine that is awaited later keeps the place of its call."""

    @workflow(registry=registry)
    async def backwards() -> list[str]:
        first, second = label(Order(1)), label(Order(2))
        return [await second, await first]

    run = start(backwards)
    assert list(run.asked()) == ["label#2"]
    assert label.decode_args(run.asked()["label#2"].args) == ((Order(2),), {})
    run.complete("label#2", label.encode_result("two"))
    run.complete("label#1", label.encode_result("one"))
    assert run.result == ["two", "one"]


def test_gather_asks_for_all_at_once(start: Any) -> None:
    """In the order of the calls; results in that order too, whoever ends first."""

    @workflow(registry=registry)
    async def wide() -> list[str]:
        return await asyncio.gather(*(label(Order(n)) for n in range(3)))

    run = start(wide)
    assert list(run.asked()) == ["label#1", "label#2", "label#3"]
    for n in (3, 1, 2):
        run.complete(f"label#{n}", label.encode_result(str(n)))
    assert run.result == ["1", "2", "3"]


def test_h83_a_user_exception_is_caught_as_itself_with_its_causes(start: Any) -> None:
    """Class, attributes, cause and traceback text survive the log."""

    @workflow(registry=registry)
    async def careful(order: Order) -> list[str]:
        try:
            await charge(order)
        except Declined as declined:
            note = "".join(traceback.format_exception(declined))
            return [declined.reason, str(declined), repr(declined.__cause__), str("in_the_bank" in note)]
        return []

    def in_the_bank() -> None:
        raise KeyError("funds")

    def body() -> None:
        try:
            in_the_bank()
        except KeyError as error:
            raise Declined(7, reason="poor") from error

    with pytest.raises(Declined) as caught:
        body()
    run = start(careful, Order(7))
    run.fail("charge#1", caught.value)
    assert run.result == ["poor", "order 7 was declined", "KeyError('funds')", "True"]


def test_h83_an_uncaught_step_error_fails_the_run_with_its_chain(start: Any) -> None:
    """The run's failure names the user's class, carries the cause, and is the user's."""

    @workflow(registry=registry)
    async def careless(order: Order) -> None:
        await charge(order)

    error = Declined(7, reason="poor")
    error.__cause__ = KeyError("funds")
    run = start(careless, Order(7))
    run.fail("charge#1", error)
    failure = run.failure
    assert failure.code == errors.USER_ERROR
    assert failure.type.endswith("test_step_in_workflow.Declined")
    assert failure.cause.type == "builtins.KeyError"
    assert "careless" in failure.traceback


def test_h33_an_argument_that_cannot_be_encoded_is_catchable_and_asks_nothing(start: Any) -> None:
    """The step fails at once with the path; the workflow goes on."""

    @workflow(registry=registry)
    async def tries() -> str:
        try:
            await charge({"items": [threading.Lock()]})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        except errors.PayloadError as error:
            return str(error)
        return ""

    run = start(tries)
    assert not run.asked()
    assert run.result.startswith("args[0]['items'][0]: _thread.lock cannot be encoded")
    assert "parameter 'order' of charge" in run.result


def test_wrong_arguments_are_refused_where_they_are_awaited_and_ask_nothing(start: Any) -> None:
    """Named by step, parameter and signature."""

    @workflow(registry=registry)
    async def wrong() -> str:
        call: Any = charge
        try:
            await call(Order(1), curency="EUR")
        except TypeError as error:
            return f"{type(error).__name__} {error}"
        return ""

    run = start(wrong)
    assert not run.asked()
    assert run.result.startswith("ArgumentError charge(order: ")
    assert "curency" in run.result


def test_h33_an_uncaught_payload_error_ends_the_run_under_its_own_code(start: Any) -> None:
    """Also when it is the workflow's own result."""

    @workflow(registry=registry)
    async def returns_a_lock() -> Any:
        return threading.Lock()

    assert start(returns_a_lock).failure.code == errors.PAYLOAD_ERROR


def test_a_call_that_is_never_awaited_warns_at_its_line(start: Any) -> None:
    """By the step's name, in this file, at the call."""
    line = 0

    @workflow(registry=registry)
    async def forgets(order: Order) -> int:
        nonlocal line
        line = 1 + traceback.extract_stack(limit=1)[0].lineno  # type: ignore[operator]  # pyright: ignore
        charge(order)  # pyright: ignore[reportUnusedCoroutine] - checkers warn as well
        return 1

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = start(forgets, Order(1))
        gc.collect()
    assert run.result == 1
    assert not run.asked()
    (warning,) = [w for w in caught if "never awaited" in str(w.message)]
    assert str(warning.message) == "coroutine 'charge' was never awaited"
    assert (warning.filename, warning.lineno) == (__file__, line)


def test_a_cancelled_step_is_withdrawn(start: Any) -> None:
    """Cancelling the awaiting task ends the step in the log."""

    @workflow(registry=registry)
    async def gives_up(order: Order) -> str:
        task = asyncio.create_task(charge(order))
        await label(order)
        task.cancel()
        await asyncio.wait([task])
        return "cancelled" if task.cancelled() else "not"

    run = start(gives_up, Order(1))
    (created,) = [entity for entity in run.asked() if "label" in entity]
    run.complete(created, label.encode_result("x"))
    assert run.result == "cancelled"
    assert "step_cancelled" in run.types()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.StepTimeout("attempt 4 ran past 30 s"), errors.StepTimeout),
        (errors.StepCrashed("killed its process twice"), errors.StepCrashed),
        (errors.StepNotRegistered("charge is not registered"), errors.StepNotRegistered),
    ],
)
def test_what_the_engine_says_of_a_step_is_catchable_and_keeps_its_code(start: Any, error: Any, kind: type) -> None:
    """As StepFailed, by its own class, and as the run's code if nobody catches it."""

    @workflow(registry=registry, name=f"flow_{kind.__name__}")
    async def runs(order: Order, catch: bool) -> str:
        if not catch:
            await charge(order)
        try:
            await charge(order)
        except errors.StepFailed as failed:
            return f"{type(failed).__name__} {failed.code}"
        return ""

    caught = start(runs, Order(1), True)
    caught.fail("charge#1", error, code=error.code)
    assert caught.result == f"{kind.__name__} {error.code}"
    uncaught = start(runs, Order(1), False)
    uncaught.fail("charge#1", error, code=error.code)
    assert uncaught.failure.code == error.code


def test_a_step_timeout_is_a_timeout_error() -> None:
    """So that `except TimeoutError` covers it."""
    assert isinstance(errors.StepTimeout("x"), TimeoutError)
    assert str(errors.StepTimeout("x")) == "x"


def test_a_replay_of_the_log_asks_for_the_same(start: Any) -> None:
    """The whole log delivered to a fresh instance leads to the same end, with nothing left to ask."""
    from fencepost.replay.instance import Instance

    @workflow(registry=registry)
    async def whole() -> list[str]:
        return await asyncio.gather(*(label(Order(n)) for n in range(2)))

    run = start(whole)
    run.complete("label#2", label.encode_result("b"))
    run.complete("label#1", label.encode_result("a"))
    again = Instance("run-1", whole)
    again.deliver(run.log)
    assert again.pending() == ()
    again.evict()
