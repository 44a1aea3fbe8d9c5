"""What is encoded comes back as itself: by its annotation, or without one as far as it can."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import math
import uuid
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencepost import payload

T = TypeVar("T")


class Colour(enum.Enum):
    red = "r"
    blue = "b"


class Level(enum.IntEnum):
    low = 1
    high = 2


class Point(NamedTuple):
    x: int
    y: int = 0


class Address(TypedDict):
    street: str
    tags: set[str]


class Money(msgspec.Struct, frozen=True):
    amount: decimal.Decimal
    currency: str = "EUR"


@dataclasses.dataclass
class Box(Generic[T]):
    content: T


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    id: uuid.UUID
    price: Money
    placed: datetime.datetime
    due: datetime.date
    at: datetime.time
    patience: datetime.timedelta
    colours: frozenset[Colour]
    level: Level
    blob: bytes
    path: tuple[Point, ...]
    where: Address
    anything: Any
    note: str | None = None


def unfolded(value: Any) -> Any:
    """``fold`` is not kept: it says nothing without a zone, and Python's own comparison ignores it."""
    return value.replace(fold=0)


TIMEDELTAS = st.timedeltas()
TIMES = st.times().map(unfolded)
AWARE = st.datetimes(timezones=st.just(datetime.UTC)).map(unfolded)
DECIMALS = st.decimals(allow_nan=False)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.uuids(),
    DECIMALS,
    st.dates(),
    TIMES,
    TIMEDELTAS,
    st.datetimes().map(unfolded),
    AWARE,
)
HASHABLE = st.recursive(LEAVES, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=5)
ANYTHING = st.recursive(
    HASHABLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(HASHABLE, inner, max_size=4),
        st.sets(HASHABLE, max_size=4),
    ),
    max_leaves=12,
)
ORDERS = st.builds(
    Order,
    id=st.uuids(),
    price=st.builds(Money, amount=DECIMALS, currency=st.text()),
    placed=AWARE,
    due=st.dates(),
    at=TIMES,
    patience=TIMEDELTAS,
    colours=st.frozensets(st.sampled_from(Colour)),
    level=st.sampled_from(Level),
    blob=st.binary(),
    path=st.lists(st.builds(Point, st.integers(-9, 9), st.integers(-9, 9)), max_size=3).map(tuple),
    where=st.fixed_dictionaries({"street": st.text(), "tags": st.sets(st.text())}),
    anything=ANYTHING,
    note=st.none() | st.text(),
)


def shape(value: object) -> object:
    """The value with its types: 1 == 1.0 == True, and a list is not a tuple."""
    if isinstance(value, dict):
        return dict, [(shape(k), shape(v)) for k, v in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [shape(member) for member in value]
    if isinstance(value, (set, frozenset)):
        return type(value), sorted(repr(shape(member)) for member in value)
    return type(value), value


@given(ANYTHING)
def test_without_a_type_plain_values_come_back_as_themselves(value: object) -> None:
    """Tuples stay tuples, sets sets, Decimals Decimals, keys what they were, dicts in their order."""
    assert shape(payload.decode(payload.encode(value))) == shape(value)


@given(ORDERS)
def test_annotated_classes_come_back_as_themselves(order: Order) -> None:
    """Every field type that is promised, in one dataclass, with an untyped field among them."""
    again = payload.decode(payload.encode(order, Order), Order)
    assert again == order
    assert shape(again.anything) == shape(order.anything)
    assert isinstance(again.path, tuple)
    assert all(isinstance(point, Point) for point in again.path)


@given(TIMEDELTAS, AWARE, DECIMALS, st.times())
def test_times_and_decimals_are_exact(
    delta: datetime.timedelta, instant: datetime.datetime, number: decimal.Decimal, time: datetime.time
) -> None:
    """To the microsecond and to the last digit, trailing zeros included."""
    for value, kind in ((delta, datetime.timedelta), (instant, datetime.datetime), (time, datetime.time)):
        assert payload.decode(payload.encode(value, kind), kind) == value
    again = payload.decode(payload.encode(number, decimal.Decimal), decimal.Decimal)
    assert again.as_tuple() == number.as_tuple()


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Box(Money(decimal.Decimal("1.10"))), Box[Money]),
        ([Point(1, 2)], list[Point]),
        ({Point(1, 2): Level.low}, dict[Point, Level]),
        ({Money(decimal.Decimal(2))}, set[Money]),
        ([frozenset({1}), frozenset()], list[frozenset[int]]),
        ({"a": (1, Colour.red)}, dict[str, tuple[int, Colour]]),
        (None, None),
        (3, int | str),
        ("x", int | str),
        (Money(decimal.Decimal(2)), Money | None),
        (b"\xff\x00", bytes),
        (2**63, int),
        (math.inf, float),
    ],
)
def test_annotations_of_many_kinds(value: object, kind: object) -> None:
    """Generics, unions, named tuples and classes as keys."""
    again = payload.decode(payload.encode(value, kind), kind)
    assert again == value
    assert shape(again) == shape(value)


def test_under_any_objects_come_back_as_dicts_and_enums_as_values() -> None:
    """The stated limit of values without a type."""
    assert payload.decode(payload.encode([Box(1), Colour.red])) == [{"content": 1}, "r"]


def test_an_aware_datetime_comes_back_as_the_same_instant_in_utc() -> None:
    """The zone is not kept, the instant is."""
    there = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=5)))
    for kind in (Any, datetime.datetime):
        again = payload.decode(payload.encode(there, kind), kind)
        assert again == there
        assert again.tzinfo == datetime.UTC


def test_subclasses_of_plain_types_are_written_as_their_base() -> None:
    """Whatever __str__ and the like they override."""

    class Loud(str):
        def __str__(self) -> str:
            return "LOUD"

    class Count(int):
        pass

    assert payload.decode(payload.encode([Loud("quiet"), Count(3)])) == ["quiet", 3]


@dataclasses.dataclass
class Grown:
    id: int
    colour: Colour = Colour.blue


def test_a_new_field_with_a_default_reads_what_was_recorded_before() -> None:
    """How a payload class grows."""
    assert payload.decode(payload.encode({"id": 1, "gone": 2}, dict[str, int]), Grown) == Grown(1)


def test_encoding_does_not_change_the_value() -> None:
    """Sets in fields are rewritten in a copy, frozen or not."""
    box = Box({3, 1, 2})
    payload.encode(box, Box[set[int]])
    payload.encode(box)
    assert box.content == {1, 2, 3}


def test_real_pydantic_models_round_trip() -> None:
    """With pydantic itself, where it is installed."""
    pydantic = pytest.importorskip("pydantic")

    model = pydantic.create_model("Model", id=(int, ...), amount=(decimal.Decimal, ...), tags=(set[str], ...))
    value = model(id=1, amount="1.10", tags={"a", "b"})
    assert payload.decode(payload.encode(value, model), model) == value
