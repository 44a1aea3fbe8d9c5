"""Exceptions through several logs, and what of them no annotation says. H169."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import sys
from datetime import UTC, datetime
from typing import Any, NamedTuple

import attrs
import msgspec
import pydantic
import pytest

from fencepost import errors
from fencepost.failure import exception_of, failure_of


class Kind(enum.Enum):
    hard = "h"
    pair = (1, 2)


@dataclasses.dataclass
class Card:
    number: int


@dataclasses.dataclass
class Cash:
    number: int


@dataclasses.dataclass
class Order:
    paid: Card | Cash
    at: datetime


class Point(NamedTuple):
    x: int


class Size(msgspec.Struct, rename="upper"):
    width: int


@attrs.define
class Parcel:
    weight: int


class Invoice(pydantic.BaseModel):
    at: datetime


class Loose(Exception):
    """As most people write them: not a word on types."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args)
        self.__dict__.update(more)

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.args} {self.__dict__.get('kind')}"


class Wraps(Exception):
    """Its text is made of an exception that it carries."""

    def __init__(self, orig: BaseException) -> None:
        super().__init__("wrapped")
        self.orig = orig

    def __str__(self) -> str:
        return f"({type(self.orig).__name__}) {self.orig}"


class Unset(OSError):
    """Says nothing to OSError's own ``__init__``, which has a number all the same."""

    def __init__(self, key: str, number: int) -> None:
        OSError.__init__(self, number, "no answer")
        self.args = (key,)

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.errno}"


def through(exc: BaseException, hops: int = 1) -> Any:
    """Raised, there and back, as often as that."""
    for _ in range(hops):
        try:
            raise exc
        except BaseException as caught:  # noqa: BLE001 - that is the point
            exc = exception_of(failure_of(caught))
    return exc


def local(code: int) -> ValueError:
    class Local(ValueError):
        def __init__(self, code: int) -> None:
            super().__init__("is local")
            self.code = code

    return Local(code)


class Renamed(LookupError):
    def __init__(self, code: int, kind: Kind) -> None:
        super().__init__(code)
        self.code = code
        self.kind = kind


@pytest.mark.parametrize(
    "value",
    [
        Kind.hard,
        Kind.pair,
        Card(1),
        Order(Cash(2), datetime(2026, 1, 1, tzinfo=UTC)),
        Point(1),
        Size(3),
        Parcel(4),
        Invoice(at=datetime(2026, 1, 1, tzinfo=UTC)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("hops", [1, 3])
def test_h169_what_has_no_annotation_comes_back_as_the_class_that_it_had(value: Any, hops: int) -> None:
    """Attributes and args alike; so what prints itself by them prints the same."""
    error = Loose("x", value, kind=value, plain={"a": (1, 2)})
    again = through(error, hops)
    assert again.__class__ is Loose
    assert again.args == error.args
    assert (again.kind, type(again.kind)) == (value, type(value))
    assert again.plain == {"a": (1, 2)}
    assert str(again) == str(error)
    assert type(through(ValueError(value), hops)) is ValueError


def test_a_class_of_an_attribute_that_is_gone_leaves_plain_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that is another now, too."""
    record = failure_of(Loose(Card(1), kind=Order(Cash(2), datetime(2026, 1, 1, tzinfo=UTC))))
    monkeypatch.delattr(sys.modules[__name__], "Order")
    monkeypatch.setattr(sys.modules[__name__], "Card", Point)
    again: Any = exception_of(record)
    assert issubclass(again.__class__, Loose)
    assert again.args == ({"number": 1},)
    assert again.kind == {"paid": {"number": 2}, "at": datetime(2026, 1, 1, tzinfo=UTC)}


def test_a_text_that_is_made_of_a_carried_exception_is_no_reason_for_a_stand_in() -> None:
    """Also where that is the cause, and stands in the record once."""
    orig = KeyError("dup")
    error = Wraps(orig)
    error.__cause__ = orig
    again = through(error, 2)
    assert type(again) is Wraps
    assert str(again) == "(KeyError) 'dup'"
    assert again.orig is again.__cause__


def test_an_attribute_that_is_the_exception_itself_is_said_to_be_missing() -> None:
    """Not passed over in silence."""
    error = Loose("x")
    error.me = error  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    again = through(error)
    assert not hasattr(again, "me")
    assert "Not there, because it was not recorded (no encoding, or too large): me (" in again.__notes__[0]


@pytest.mark.parametrize(
    ("error", "names"),
    [
        (ImportError("x", name="n", path="p"), ("name", "path")),
        (ModuleNotFoundError("x", name="n"), ("name", "path")),
        (NameError("x", name="n"), ("name",)),
        (AttributeError("x", name="n", obj=1), ("name",)),
        (Unset("key", 7), ("errno", "strerror", "filename")),
        (FileNotFoundError(2, "no", "f"), ("errno", "strerror", "filename")),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_built_in_exceptions_keep_apart_is_kept(error: Any, names: tuple[str, ...]) -> None:
    """It is in neither ``args`` nor ``__dict__``."""
    again = through(error, 2)
    assert type(again) is type(error)
    assert [getattr(again, name) for name in names] == [getattr(error, name) for name in names]
    assert str(again) == str(error)


@pytest.mark.parametrize("hops", [1, 2, 4])
def test_h169_who_stands_for_another_class_is_written_as_that_class(hops: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The class is said once, however many logs it went through; who has it gets it, with all that it carried."""
    with monkeypatch.context() as patch:
        error = Renamed(7, Kind.pair)
        patch.delattr(sys.modules[__name__], "Renamed")
        again = through(error, hops)
        assert isinstance(again, errors.StepFailed)
        assert isinstance(again, LookupError)
        assert str(again) == f"{__name__}.Renamed: 7"
        assert (again.code, again.type) == (errors.USER_ERROR, f"{__name__}.Renamed")
        record = failure_of(again)
        assert (record.type, record.message) == (f"{__name__}.Renamed", "7")
    back: Any = exception_of(record)
    assert type(back) is Renamed
    assert (back.code, back.kind, back.args, str(back)) == (7, Kind.pair, (7,), "7")
    assert not hasattr(back, "type")


@pytest.mark.parametrize("hops", [1, 3])
def test_a_local_class_keeps_base_and_text(hops: int) -> None:
    """``except ValueError`` catches it in each place."""
    again = through(local(3), hops)
    assert isinstance(again, ValueError)
    assert str(again) == f"{__name__}.local.<locals>.Local: is local"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SystemExit(9), "builtins.SystemExit: 9"),
        (SystemExit(), "builtins.SystemExit"),
        (KeyboardInterrupt(), "builtins.KeyboardInterrupt"),
        (asyncio.CancelledError("c"), "asyncio.exceptions.CancelledError: c"),
    ],
    ids=repr,
)
def test_what_would_act_on_the_loop_is_said_once_everywhere(error: BaseException, text: str) -> None:
    """In the workflow, in the run's end, in the client."""
    assert str(through(error)) == text
    assert str(through(error, 3)) == text
