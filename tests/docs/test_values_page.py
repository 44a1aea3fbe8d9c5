"""Every line of the table in docs/values.md comes back as itself."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import re
import uuid
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar

import attrs
import msgspec
import pydantic
import pytest
from tests.docs.markdown import read, rows, section

from fencepost import payload

T = TypeVar("T")
ROWS = rows(section(read("docs/values.md"), "What comes back as itself"))


class Colour(enum.Enum):
    red = "r"


@dataclasses.dataclass
class Order:
    id: int
    what: str


class Money(msgspec.Struct):
    amount: decimal.Decimal


@attrs.define
class Parcel:
    name: str
    items: set[int]


class Invoice(pydantic.BaseModel):
    id: int
    total: decimal.Decimal


class Address(TypedDict):
    street: str
    number: int


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Page(Generic[T]):
    items: list[T]
    next: str | None


@dataclasses.dataclass
class Card:
    number: str


@dataclasses.dataclass
class Cash:
    cents: int


NAMES: dict[str, Any] = {
    **globals(),
    "Annotated": Annotated,
    "Literal": Literal,
    "Any": Any,
    "collections": collections,
    "datetime": datetime,
    "uuid": uuid,
}


def evaluated(cell: str) -> list[Any]:
    """What stands in backquotes in a cell."""
    return [eval(text.replace("\\|", "|"), NAMES) for text in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_line_comes_back_as_itself(row: list[str]) -> None:
    """The value and its class. Several annotations of a line take one value each."""
    kinds, (value,) = evaluated(row[0]), evaluated(row[1])
    values = [value] if len(kinds) == 1 else value
    assert len(kinds) == len(values)
    for kind, one in zip(kinds, values, strict=True):
        again = payload.decode(payload.encode(one, kind), kind)
        assert again == one
        assert type(again) is type(one)


def test_all_lines_are_run() -> None:
    """A table that is not found would pass."""
    assert len(ROWS) >= 25
