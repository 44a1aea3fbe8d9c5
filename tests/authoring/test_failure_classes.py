"""Exceptions of the user's and of libraries through the log. H169."""

from __future__ import annotations

import asyncio
import copy
import json
import pathlib
import sqlite3
import subprocess
import sys
import traceback
import types
import uuid
from collections.abc import AsyncGenerator, Generator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import msgspec
import psycopg.errors
import pydantic
import pytest
import sqlalchemy.exc
from tests.authoring.failure_zoo import (
    CALLS,
    Annotated,
    Attrs,
    Disk,
    Driver,
    Frozen,
    FrozenAttrs,
    FrozenSlots,
    Handle,
    KeywordOnly,
    Kind,
    Made,
    Metaclassed,
    OverArgs,
    Place,
    Reduced,
    Registered,
    ResponseError,
    Slotted,
    StatusError,
)

from fencepost import errors
from fencepost.blocks import async_block, block
from fencepost.failure import exception_of, failure_of
from fencepost.records import Failure, StepEnded, pack, unpack


def through(exc: BaseException) -> Any:
    """Raised, there and back, through the bytes of a record."""
    try:
        raise exc
    except BaseException as caught:  # noqa: BLE001 - that is the point
        record = failure_of(caught)
    return exception_of(unpack(pack(StepEnded(record)), StepEnded).error)


def annotated() -> Annotated:
    return Annotated(Kind.soft, Place(3, "x"), datetime(2026, 1, 2, tzinfo=UTC), Decimal("1.50"))


def state(exc: BaseException) -> dict[str, Any]:
    return {name: value for name, value in getattr(exc, "__dict__", {}).items() if name != "__notes__"}


@pytest.mark.parametrize(
    "error",
    [
        Frozen(3),
        FrozenSlots(3),
        FrozenAttrs(3),
        Attrs(3, Kind.soft),
        annotated(),
        KeywordOnly(limit=3),
        Made(only="x"),
        Slotted(3),
        Reduced(1, 2),
        OverArgs("7"),
        Disk("/dev/x", 5),
        Metaclassed("x"),
        FileNotFoundError(2, "No such file", pathlib.Path("a")),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        KeyError("k"),
        json.JSONDecodeError("bad", "{", 1),
        subprocess.CalledProcessError(3, ["ls", "-l"], b"out", b"err"),
        subprocess.TimeoutExpired("ls", 1.5),
        asyncpg.UniqueViolationError("twice"),
        psycopg.errors.UniqueViolation("twice"),
        msgspec.ValidationError("no"),
        sqlite3.OperationalError("locked"),
        ValueError(uuid.UUID(int=1), Decimal(2)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_h169_it_comes_back_as_itself(error: Exception) -> None:
    """Class, text, args and attributes, those in slots too; by annotation where there is one. Nothing of the user's is
    called.
    """
    CALLS.clear()
    again = through(error)
    assert type(again) is type(error)
    assert (str(again), repr(again)) == (str(error), repr(error))
    assert again.args == error.args
    assert [type(arg) for arg in again.args] == [type(arg) for arg in error.args]
    assert state(again) == state(error)
    assert {name: type(value) for name, value in state(again).items()} == {n: type(v) for n, v in state(error).items()}
    for name in ("code", "hidden", "only", "kind", "place", "errno", "filename", "device", "reason"):
        assert getattr(again, name, None) == getattr(error, name, None)
    assert CALLS == []
    assert "Recorded where it happened" in "".join(traceback.format_exception(again))
    assert "not recorded" not in "".join(again.__notes__)


@pytest.mark.parametrize(
    ("error", "lost", "kept"),
    [
        (ResponseError(Handle("http://x"), (), status=404), "request", {"status": 404}),
        (Registered(Handle("text")), "handle", {}),
        (subprocess.CalledProcessError(3, [Handle("x")]), "cmd", {"returncode": 3}),  # type: ignore[list-item]  # pyright: ignore
        (KeyError(Handle("x")), "args", {}),
        (UnicodeDecodeError("utf-8", b"\xff" * 100_000, 0, 1, "bad"), "args", {}),
        (KeywordOnly(limit=Handle("x")), "limit", {}),  # type: ignore[arg-type]  # pyright: ignore
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_h169_what_cannot_be_made_again_is_caught_by_its_class_and_says_what_was_recorded(
    error: Exception, lost: str, kept: dict[str, Any]
) -> None:
    """A stand-in: text, what could be kept, and a note of what could not. Asking for that says so."""
    CALLS.clear()
    known = list(Registered.known)
    again = through(error)
    assert isinstance(again, type(error))
    assert (type(again).__name__, type(again).__module__) == (type(error).__name__, type(error).__module__)
    recorded = str(error)
    assert str(again) == recorded
    assert recorded in repr(again)
    for name, value in kept.items():
        assert getattr(again, name) == value
    [note] = [note for note in again.__notes__ if "not recorded" in note]
    assert lost in note
    if lost != "args":
        with pytest.raises(AttributeError, match=f"{lost}.*not recorded"):
            getattr(again, lost)
    assert hash(again)
    assert again == again
    assert str(copy.copy(again)) == recorded
    twice = through(again)
    assert isinstance(twice, type(error))
    assert str(twice) == recorded
    assert CALLS == []
    assert Registered.known == known, "no subclass of the user's class announces itself"


def test_h169_what_says_all_it_said_is_no_stand_in_and_names_what_it_lacks() -> None:
    """As httpx' errors: the text is its own, the response is not there."""
    again = through(StatusError("500 of http://x", Handle("http://x")))
    assert type(again) is StatusError
    [note] = [note for note in again.__notes__ if "not recorded" in note]
    assert "response (" in note
    assert "failure_zoo.Handle" in note
    with pytest.raises(AttributeError):
        _ = again.response


def test_an_attribute_that_is_an_exception_comes_back_and_is_its_cause() -> None:
    """SQLAlchemy's ``orig`` is its ``__cause__``: one object."""

    def raises() -> None:
        try:
            raise sqlite3.OperationalError("no such table")
        except sqlite3.OperationalError as error:
            raise Driver("(sqlite3) no such table", error) from error

    with pytest.raises(Driver) as caught:
        raises()
    again = through(caught.value)
    assert again.orig is again.__cause__
    assert repr(again.orig) == "OperationalError('no such table')"
    assert repr(through(Driver("x", KeyError("alone"))).orig) == "KeyError('alone')"


def test_sqlalchemys_errors_come_back() -> None:
    """With the statement and the driver's error."""
    error = sqlalchemy.exc.OperationalError("select 1", (1,), sqlite3.OperationalError("locked"))
    again = through(error)
    assert isinstance(again, sqlalchemy.exc.DBAPIError)
    assert str(again) == str(error)
    assert (again.statement, again.params, repr(again.orig)) == ("select 1", (1,), "OperationalError('locked')")


class Order(pydantic.BaseModel):
    id: int
    name: str

    @pydantic.field_validator("name")
    @classmethod
    def _short(cls, value: str) -> str:
        if len(value) > 3:
            raise ValueError("too {long}")
        if value == "odd":
            raise pydantic_core_error()
        return value


def pydantic_core_error() -> Exception:
    from pydantic_core import PydanticCustomError

    return PydanticCustomError("odd_name", "an odd {what}", {"what": "name"})


@pytest.mark.parametrize("values", [{"id": "x", "name": "long name"}, {"id": 1, "name": "odd"}, {"id": 1}])
def test_pydantics_error_comes_back_with_its_lines(values: dict[str, Any]) -> None:
    """Its class has no constructor. Of types that pydantic knows, and of one's own."""
    with pytest.raises(pydantic.ValidationError) as caught:
        Order.model_validate(values)
    again = through(caught.value)
    assert type(again) is pydantic.ValidationError
    assert [(one["loc"], one["msg"], one["type"]) for one in again.errors()] == [
        (one["loc"], one["msg"], one["type"]) for one in caught.value.errors()
    ]
    assert again.title == "Order"


class Shop(Exception):
    pass


@pytest.mark.parametrize("bases", [(ValueError,), (Shop,), (KeyError, Shop), (OSError,), (errors.StepFailed,)])
def test_h169_a_class_that_is_not_here_is_caught_by_its_base(bases: tuple[type, ...]) -> None:
    """Local to a function, moved, or gone: a StepFailed that is a ValueError, too."""
    kind: Any = type("Gone", bases, {"__qualname__": "here.<locals>.Gone"})
    again = through(kind("over"))
    assert isinstance(again, errors.StepFailed)
    assert isinstance(again, bases[0])
    assert again.type.endswith("here.<locals>.Gone")
    assert again.message == "'over'" if issubclass(kind, KeyError) else again.message == "over"
    assert str(again) == f"{again.type}: {again.message}"


def test_a_class_that_moved_is_found_where_its_old_name_still_leads() -> None:
    """And one whose module has lost it is stood in for."""
    module = types.ModuleType("errs_moving")
    kind = type("Moving", (LookupError,), {"__module__": "errs_moving", "__qualname__": "Moving"})
    module.Moving = kind  # type: ignore[attr-defined]
    sys.modules["errs_moving"] = module
    try:
        record = failure_of(kind("x"))
        assert type(exception_of(record)) is kind
        del module.Moving  # type: ignore[attr-defined]
        again = exception_of(record)
        assert isinstance(again, LookupError)
        assert isinstance(again, errors.StepFailed)
    finally:
        del sys.modules["errs_moving"]


def test_a_class_that_has_changed_says_what_was_recorded() -> None:
    """Its newer version composes another text, and wants other attributes: a replay sees what the first turn saw."""
    record = msgspec.structs.replace(failure_of(KeywordOnly(limit=3)), message="above 3")
    again = exception_of(record)
    assert isinstance(again, KeywordOnly)
    assert (str(again), again.limit) == ("above 3", 3)


def test_notes_cycles_and_odd_attributes_survive() -> None:
    """Names that are no text, notes that are no list, a cause that is its own context."""
    error = ValueError("x")
    error.__dict__[3] = "three"  # type: ignore[index]  # pyright: ignore
    error.__dict__["self"] = error
    error.__dict__["__notes__"] = "no list"
    other = KeyError("y")
    error.__cause__, other.__context__ = other, error
    again = through(error)
    assert str(again) == "x"
    assert repr(again.__cause__) == "KeyError('y')"
    assert again.__cause__.__context__ is None
    traceback.format_exception(again)


@pytest.mark.parametrize("missing", ["args", "attributes", "message", "bases"])
def test_reading_never_raises(missing: str) -> None:
    """Whatever a record lacks, or has in a form of another version."""
    odd = {"kind": b"\xff", "errno": b"\x02\x01", "__dict__": b"\x02\x01", "args": b"\x02\x01"}
    broken: dict[str, Any] = {"args": b"\xff", "attributes": odd, "message": "", "bases": ("x", "")}
    decoding = UnicodeDecodeError("u", b"", 0, 1, "r")
    for error in (Frozen(3), annotated(), ResponseError(Handle("u"), ()), Disk("d", 5), decoding):
        again = exception_of(msgspec.structs.replace(failure_of(error), **{missing: broken[missing]}))
        assert isinstance(again, type(error))
        str(again)
    assert isinstance(exception_of(Failure("", "")), errors.StepFailed)
    assert isinstance(exception_of(Failure("builtins.print", "x")), errors.StepFailed)


@block
def passing() -> Generator[int]:
    yield 1


@async_block
async def passing_async() -> AsyncGenerator[int]:
    yield 1


@pytest.mark.parametrize("error", [Frozen(3), StopIteration(1), StopAsyncIteration(), ValueError("x")], ids=repr)
def test_h169_a_frozen_exception_passes_our_blocks(error: Exception) -> None:
    """As it is, with its traceback; contextlib's would make a FrozenInstanceError of it."""
    with pytest.raises(type(error)) as caught, passing():
        raise error
    assert caught.value is error
    assert caught.value.__traceback__ is not None

    async def main() -> None:
        async with passing_async():
            raise error

    if not isinstance(error, StopIteration):
        with pytest.raises((type(error), RuntimeError)):  # a coroutine turns a StopAsyncIteration into one
            asyncio.run(main())


def test_a_block_yields_once() -> None:
    """Both ways out of it, and what it swallows."""

    @block
    def twice() -> Any:
        yield 1
        yield 2

    @block
    def swallows() -> Any:
        try:
            yield 1
        except ValueError:
            return

    with pytest.raises(RuntimeError, match="yields once"), twice():
        pass
    with swallows():
        raise ValueError("x")
    with pytest.raises(KeyError), swallows():
        raise KeyError("x")
