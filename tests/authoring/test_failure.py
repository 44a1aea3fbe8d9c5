"""Exceptions through the log: what survives, what is bounded, what is refused. H83."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
import threading
import traceback
import uuid
from decimal import Decimal
from typing import Any

import pytest

from fencepost import errors
from fencepost.failure import DEPTH_MAX, NODES_MAX, RECORD_BYTES_MAX, exception_of, failure_of
from fencepost.records import Failure, StepEnded, pack, unpack


def through(exc: BaseException, **options: Any) -> Any:
    """There and back, through the bytes of a record."""
    return exception_of(unpack(pack(StepEnded(failure_of(exc, **options))), StepEnded).error)


def raised(exc: BaseException) -> BaseException:
    """With a traceback."""
    try:
        raise exc
    except BaseException as caught:  # noqa: BLE001 - that is the point
        return caught


class Declined(Exception):
    """As people write them: keyword arguments, a composed message, attributes."""

    calls = 0

    def __init__(self, order_id: int, *, limit: Decimal) -> None:
        type(self).calls += 1
        super().__init__(f"order {order_id} is over {limit}")
        self.order_id = order_id
        self.limit = limit
        self.lock = threading.Lock()


class Coded(Exception):
    """Composes its text when asked."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code

    def __str__(self) -> str:
        return f"<{self.code}>"


@dataclasses.dataclass
class Structured(Exception):
    """An exception that is a dataclass: no args at all."""

    code: int
    parts: tuple[int, ...] = ()


class Picky(Exception):
    """Cannot be made of its args."""

    def __new__(cls, *, only: str) -> Picky:
        made = super().__new__(cls)
        made.only = only  # type: ignore[attr-defined]  # pyright: ignore
        return made

    def __init__(self, *, only: str) -> None:
        super().__init__()


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text today")


def test_h83_the_users_class_comes_back_without_calling_its_init_again() -> None:
    """Message, args, attributes that can be encoded (Decimals as Decimals); what cannot be encoded is left out."""
    error = raised(Declined(7, limit=Decimal("1.50")))
    calls = Declined.calls
    again = through(error)
    assert type(again) is Declined
    assert Declined.calls == calls
    assert (str(again), again.args) == ("order 7 is over 1.50", ("order 7 is over 1.50",))
    assert (again.order_id, again.limit) == (7, Decimal("1.50"))
    assert not hasattr(again, "lock")


@pytest.mark.parametrize(
    "error",
    [
        Coded(4, "x"),
        Structured(3, (1, 2)),
        KeyError("k"),
        FileNotFoundError(2, "No such file", "name.txt"),
        OSError(18, "Cross-device link", "a", None, "b"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        json.JSONDecodeError("bad", "{", 1),
        TimeoutError(),
        ConnectionResetError(104, "reset"),
        ValueError(uuid.UUID(int=1), {"a": (1, 2)}),
        errors.Retry("later", after=5),
        errors.HookConflict("token", "run-0"),
        errors.HookNotFound("token"),
        errors.RunFailed("run-1", "x", code=errors.STEP_CRASHED, type="builtins.ValueError"),
        errors.RunNotFound("run-1"),
        errors.RunCancelled("run-1", "asked"),
        errors.ResultTimeout("run-1"),
        errors.StartConflict("flow", "key", "run-1"),
        errors.StepFailed("x", type="a.B", traceback="t"),
        errors.PayloadTooLarge("x", size=2, limit=1),
        errors.ServerUnavailable("no route"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_h83_exceptions_of_many_kinds_come_back_equal(error: Exception) -> None:
    """Type, args, text and attributes; the fields of built-in ones, too."""
    again = through(error)
    assert type(again) is type(error)
    assert again.args == error.args
    assert str(again) == str(error)
    kept = {k: v for k, v in vars(again).items() if k != "__notes__"}
    assert kept == vars(error)
    for field in ("errno", "strerror", "filename", "reason", "start"):
        assert getattr(again, field, None) == getattr(error, field, None)


def test_h83_causes_and_contexts_survive_as_python_prints_them() -> None:
    """`from`, `from None`, and during handling."""

    def chain() -> None:
        try:
            try:
                raise KeyError("first")
            except KeyError as first:
                raise Declined(1, limit=Decimal(1)) from first
        except Declined:
            raise ValueError("last")  # noqa: B904 - the context is what is tested

    with pytest.raises(ValueError, match="last") as caught:
        chain()
    again = through(caught.value)
    assert isinstance(again.__context__, Declined)
    assert again.__cause__ is None
    assert repr(again.__context__.__cause__) == "KeyError('first')"
    text = "".join(traceback.format_exception(again))
    assert "direct cause" in text
    assert "During handling" in text
    assert text.count("Recorded where it happened") == 3
    assert "in chain" in text

    hidden = ValueError("x")
    hidden.__context__ = KeyError("noise")
    hidden.__suppress_context__ = True
    assert through(hidden).__suppress_context__


def test_h83_a_group_comes_back_as_a_group() -> None:
    """So that except* works in the workflow."""
    group = ExceptionGroup("two", [Declined(1, limit=Decimal(1)), ExceptionGroup("in", [KeyError("k")])])
    again = through(group)
    assert isinstance(again, ExceptionGroup)
    assert again.message == "two"
    declined, inner = again.exceptions
    assert isinstance(declined, Declined)
    assert repr(inner.exceptions) == "(KeyError('k'),)"
    caught, rest = again.split(Declined)
    assert caught is not None
    assert caught.exceptions == (declined,)
    assert repr(rest) == "ExceptionGroup('two', [ExceptionGroup('in', [KeyError('k')])])"


def test_a_class_that_is_not_loaded_becomes_step_failed_with_all_that_is_known() -> None:
    """Nothing is imported because a log says so."""
    record = Failure("tests_no_such_module.Gone", "over the limit", traceback="Traceback ...", code="USER_ERROR")
    again = exception_of(record)
    assert type(again) is errors.StepFailed
    assert (again.type, again.message, again.traceback, again.code) == (
        "tests_no_such_module.Gone",
        "over the limit",
        "Traceback ...",
        "USER_ERROR",
    )
    assert str(again) == "tests_no_such_module.Gone: over the limit"
    unloaded = "wave" if "wave" not in sys.modules else "sndhdr"
    exception_of(Failure(f"{unloaded}.Error", "x"))
    assert unloaded not in sys.modules


@pytest.mark.parametrize(
    "error",
    [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), StopIteration(1), GeneratorExit()],
    ids=lambda error: type(error).__name__,
)
def test_what_cannot_or_must_not_be_raised_again_becomes_step_failed(error: BaseException) -> None:
    """Exceptions that would act on the loop or end the process."""
    again = through(error)
    assert type(again) is errors.StepFailed
    assert again.type.endswith(type(error).__qualname__)


def test_a_class_local_to_a_function_becomes_step_failed() -> None:
    """It cannot be found by name."""

    class Local(Exception):
        pass

    assert through(Local("x")).type.endswith("<locals>.Local")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errors.STEP_TIMEOUT, errors.StepTimeout),
        (errors.STEP_CRASHED, errors.StepCrashed),
        (errors.RUNTIME_ERROR, errors.StepFailed),
    ],
)
def test_records_that_the_engine_writes_itself_are_known_by_code(code: str, kind: type) -> None:
    """Without args and attributes, and whatever their type's name."""
    again = exception_of(Failure("somewhere.Else", "text", code=code))
    assert type(again) is kind
    again = exception_of(Failure("fencepost.errors.StepNotRegistered", "text", code=code))
    assert isinstance(again, errors.StepNotRegistered)
    assert (again.message, again.code, str(again)) == ("text", code, "text")


def test_blame_is_the_records_not_the_exceptions() -> None:
    """A body that raises a StepCrashed it got from elsewhere did not crash."""
    assert through(errors.StepCrashed("of another run")).code == errors.USER_ERROR
    assert through(errors.StepCrashed("proven"), code=errors.STEP_CRASHED).code == errors.STEP_CRASHED


def test_notes_survive_and_the_recorded_traceback_is_not_repeated_at_every_passage() -> None:
    """Each passage through a log adds one."""
    error = ValueError("x")
    error.add_note("seen at noon")
    once = through(raised(error))
    assert once.__notes__[0] == "seen at noon"
    assert len(once.__notes__) == 2
    thrice = through(raised(through(raised(once))))
    assert len(thrice.__notes__) == 2
    assert thrice.__notes__[0] == "seen at noon"


def test_cycles_and_depth_are_cut() -> None:
    """By construction of a cycle, and of a chain longer than the bound."""
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first
    record = failure_of(first)
    assert record.cause is not None
    assert (record.cause.message, record.cause.cause) == ("2", None)

    chain: Exception = ValueError("0")
    for n in range(1, 500):
        outer = ValueError(str(n))
        outer.__cause__ = chain
        chain = outer
    depth, top = 0, failure_of(chain)
    while top is not None:
        depth, top = depth + 1, top.cause
    assert depth == DEPTH_MAX


def test_a_record_that_is_too_deep_is_cut_when_it_is_read() -> None:
    """Whoever wrote it."""
    record = Failure("builtins.ValueError", "0")
    for n in range(1, 100):
        record = Failure("builtins.ValueError", str(n), cause=record)
    depth, top = 0, exception_of(record)
    while top is not None:
        depth, top = depth + 1, top.__cause__
    assert depth == DEPTH_MAX


def test_width_and_size_are_cut_and_what_comes_first_is_kept_best() -> None:
    """A record never grows into a payload that cannot be written."""
    members = [ValueError("m" * 50_000, "a" * 50_000) for _ in range(1000)]
    for member in members:
        member.filler = "f" * 50_000  # type: ignore[attr-defined]  # pyright: ignore
    record = failure_of(ExceptionGroup("wide " * 10_000, members))
    assert len(record.exceptions) == NODES_MAX - 1
    assert len(pack(StepEnded(record))) < 2 * RECORD_BYTES_MAX
    assert record.message.startswith("wide wide")
    assert "characters left out" in record.message
    assert "characters left out" in record.exceptions[-1].message


def test_broken_exceptions_are_recorded_all_the_same() -> None:
    """A __str__ that raises, text that is no UTF-8, args that cannot be encoded."""
    assert "raised RuntimeError" in failure_of(Broken()).message
    assert failure_of(ValueError("\ud800")).message == "\\ud800"
    record = failure_of(ValueError(threading.Lock()))
    assert record.args is None
    again = exception_of(record)
    assert type(again) is ValueError
    assert "lock" in str(again)
