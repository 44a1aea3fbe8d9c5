"""A value is checked against its annotation when it is written: what could not be read again is never recorded."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import math
import uuid
from typing import Annotated, Any, Generic, Literal, NamedTuple, Required, TypedDict, TypeVar

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencepost import PayloadError, chunks, payload, step, workflow
from fencepost import payload_check as checks
from fencepost.authoring.registry import Registry

T = TypeVar("T")
WRONG: Any = "x"
NAIVE = datetime.datetime(2026, 1, 2, 3)  # noqa: DTZ001 - naive ones are among what is given
UTC5 = datetime.timezone(datetime.timedelta(hours=5))


class Colour(enum.Enum):
    red = "r"


@dataclasses.dataclass
class Line:
    amount: int
    day: datetime.date | None = None


@dataclasses.dataclass
class Order:
    lines: dict[str, list[Line]]
    total: float = 0.0


class Stamp(NamedTuple):
    day: datetime.date
    pieces: int


class Told(TypedDict, total=False):
    by: Required[str]
    count: int


class Money(msgspec.Struct, frozen=True, rename="camel"):
    whole_cents: int


@attrs.frozen
class Parcel:
    weight: float


@dataclasses.dataclass
class Page(Generic[T]):
    items: list[T]


class Numbers(Page[int]):
    pass


@dataclasses.dataclass
class Grows:
    size: int

    def __post_init__(self) -> None:
        self.size += 1


@dataclasses.dataclass(eq=False)
class Bare:
    n: int


class OwnInstant(datetime.datetime):
    pass


class OwnDate(datetime.date):
    pass


class OwnTime(datetime.time):
    pass


class OwnDelta(datetime.timedelta):
    pass


class OwnDecimal(decimal.Decimal):
    def __str__(self) -> str:
        return "not a number"


class OwnId(uuid.UUID):
    pass


class OwnText(str):
    __slots__ = ()


class OwnNumber(int):
    pass


def there_and_back(value: Any, kind: Any) -> Any:
    """Through the bytes."""
    return payload.decode(payload.encode(value, kind), kind)


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        ("1", int, "value: does not fit its annotation int: Expected `int`, got `str`"),
        (None, int, "value: does not fit its annotation int: Expected `int`, got `None`"),
        (2.0, int, "value: does not fit its annotation int: Expected `int`, got `float`"),
        (b"x", str, "value: does not fit its annotation str: Expected `str`, got `bytes`"),
        ("x", bytes, "value: does not fit its annotation bytes"),
        (1, str, "value: does not fit its annotation str"),
        ("c", Literal["a", "b"], "value: does not fit its annotation Literal"),
        (True, Literal[1], "value: does not fit its annotation Literal"),
        (1, Annotated[int, msgspec.Meta(gt=3)], "value: does not fit its annotation Annotated"),
        ([1, "2"], list[int], "[1]: does not fit its annotation int"),
        ({"1": 2}, dict[int, int], "[key '1']: does not fit its annotation int"),
        ({"a": "2"}, dict[str, int], "['a']: does not fit its annotation int"),
        ({1}, set[str], "[0]: does not fit its annotation str"),
        ((1, 2), tuple[int, str], "[1]: does not fit its annotation str"),
        ((1, 2, 3), tuple[int, int], "value: does not fit its annotation tuple[int, int]"),
        ({"count": 1}, Told, "value: does not fit its annotation"),
        ({"by": "x", "count": "1"}, Told, "['count']: does not fit its annotation int"),
        (Money(WRONG), Money, ".whole_cents: does not fit its annotation int"),
        (Stamp(datetime.date(2026, 1, 1), WRONG), Stamp, ".pieces: does not fit its annotation int"),
        (Numbers([WRONG]), Numbers, ".items[0]: does not fit its annotation int"),
        (
            Order({"a": [Line(1), Line(WRONG)]}),
            Order,
            ".lines['a'][1].amount: does not fit its annotation int: Expected `int`, got `str`",
        ),
        ([Line(WRONG)], list[Line | Order], "[0].amount: does not fit its annotation int"),
        (2**53 + 1, float, "value: would come back from the log as another value, by its annotation float: no"),
        ({"by": "x", "more": 1}, Told, "['more']: would come back"),
        (Grows(1), Grows, ".size: would come back"),
        ([Grows(1)], list[Grows | Line], "[0].size: would come back"),
    ],
)
def test_h163_what_its_annotation_cannot_read_is_refused_with_its_path(value: Any, kind: Any, said: str) -> None:
    """Before anything is recorded. Nobody else's code is blamed."""
    with pytest.raises(PayloadError) as caught:
        payload.encode(value, kind)
    assert str(caught.value).startswith(said)
    assert "other code" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "kind", "again"),
    [
        (True, int, 1),
        (True, float, 1.0),
        (3, float, 3.0),
        (True, int | None, 1),
        (True, int | bool, True),
        (False, int | float, 0),
        ([True, 2], list[int], [1, 2]),
        ({True: [False]}, dict[int, list[int]], {1: [0]}),
        ((True, True), tuple[int, ...], (1, 1)),
        (frozenset({True}), frozenset[int], frozenset({1})),
        (datetime.datetime(2026, 1, 2, 23, tzinfo=UTC5), datetime.date, datetime.date(2026, 1, 2)),
        (NAIVE, datetime.date | None, datetime.date(2026, 1, 2)),
        (Line(True, NAIVE), Line, Line(1, datetime.date(2026, 1, 2))),
        (Line(True), Line | None, Line(1)),
        (Order({"a": [Line(True)]}, 3), Order, Order({"a": [Line(1)]}, 3.0)),
        (Order({"a": [Line(True)]}), Order | Line, Order({"a": [Line(1)]})),
        (Stamp(NAIVE, True), Stamp, Stamp(datetime.date(2026, 1, 2), 1)),
        (Money(True), Money, Money(1)),
        (Parcel(True), Parcel, Parcel(1.0)),
        ({"by": OwnText("x"), "count": True}, Told, {"by": "x", "count": 1}),
        (Numbers([True]), Numbers, Numbers([1])),
        (OwnInstant(2026, 1, 2, 3), datetime.datetime, NAIVE),
        (OwnInstant(2026, 1, 2, 3), datetime.date, datetime.date(2026, 1, 2)),
        (OwnInstant(2026, 1, 2, tzinfo=UTC5), datetime.datetime, datetime.datetime(2026, 1, 2, tzinfo=UTC5)),
        (OwnDate(2026, 1, 2), datetime.date, datetime.date(2026, 1, 2)),
        (OwnTime(3, 4), datetime.time, datetime.time(3, 4)),
        (OwnDelta(3, 4), datetime.timedelta, datetime.timedelta(3, 4)),
        (OwnDecimal("1.10"), decimal.Decimal, decimal.Decimal("1.10")),
        (OwnId(int=3), uuid.UUID, uuid.UUID(int=3)),
        (OwnText("x"), str, "x"),
        (OwnNumber(3), int, 3),
        (OwnNumber(3), float, 3.0),
    ],
)
def test_what_type_checkers_accept_comes_back_as_annotated(value: Any, kind: Any, again: Any) -> None:
    """The same value, of the annotated type."""
    found = there_and_back(value, kind)
    assert found == again
    assert type(found) is type(again)


@pytest.mark.parametrize(
    "value",
    [
        OwnInstant(2026, 1, 2, 3),
        OwnDate(2026, 1, 2),
        OwnTime(3, 4),
        OwnDelta(3, 4),
        OwnDecimal("1.10"),
        OwnId(int=3),
        {OwnDate(2026, 1, 2): [OwnDecimal("1.10")]},
    ],
)
def test_subclasses_without_an_annotation_come_back_as_their_base(value: Any) -> None:
    """As those of str and int always did."""
    again = payload.decode(payload.encode(value))
    if isinstance(value, decimal.Decimal):
        assert again.as_tuple() == value.as_tuple()
        assert type(again) is decimal.Decimal
    else:
        assert again == value
        assert type(again) is type(value).__mro__[1] or isinstance(value, dict)


@pytest.mark.parametrize(
    "value",
    [math.nan, -0.0, decimal.Decimal("NaN"), decimal.Decimal("sNaN1"), Bare(1), [math.nan], {math.nan}, "\0"],
)
def test_what_is_not_equal_to_itself_is_no_mismatch(value: Any) -> None:
    """Values are compared by what they hold."""
    kind: Any = {list: list[float], set: set[float]}.get(type(value), type(value))
    assert repr(there_and_back(value, kind))[:4] == repr(value)[:4]
    assert payload.encode(value, kind) == payload.encode(value, kind)


def test_a_value_is_left_as_it_was_given() -> None:
    """What is turned into the annotated type is a copy."""
    order = Order({"a": [Line(True)]}, 3)
    payload.encode(order, Order)
    assert order.lines["a"][0].amount is True
    assert type(order.total) is int


def test_the_functions_parameter_is_named() -> None:
    """And the place inside its value."""
    registry = Registry()

    @step(registry=registry)
    async def charge(order: Order, *, note: str = "") -> list[Line]:
        return []

    @workflow(registry=registry)
    async def shop(order: Order) -> int:
        return 1

    bad = Order({"a": [Line(WRONG)]})
    with pytest.raises(PayloadError, match=r"^args\[0\]\.lines\['a'\]\[0\]\.amount: .*'order' of charge\)$"):
        charge.arguments.encode((bad,), {})
    with pytest.raises(PayloadError, match=r"^kwargs\['note'\]: .*\(parameter 'note' of charge\)$"):
        charge.arguments.encode((Order({}),), {"note": 3})
    with pytest.raises(PayloadError, match=r"^args\[0\]\.lines\['a'\]\[0\]\.amount: .*'order' of shop\)$"):
        shop.encode_input((bad,), {})
    with pytest.raises(PayloadError, match=r"^result of charge\[1\]\.amount: does not fit its annotation int"):
        charge.encode_result([Line(1), Line(WRONG)])


def test_a_chunk_of_the_wrong_type_is_the_writers_error() -> None:
    """Not that of whoever reads the stream."""
    with pytest.raises(PayloadError, match=r"^stream 'n'\.amount: does not fit its annotation int"):
        chunks.plain(Line(WRONG), Line, "stream 'n'")
    with pytest.raises(PayloadError, match=r"^stream 'n': does not fit its annotation int"):
        chunks.plain(b"x", int, "stream 'n'")


LEAVES = {
    int: st.integers(-(2**63), 2**64 - 1),
    str: st.text(),
    bool: st.booleans(),
    bytes: st.binary(),
    float: st.floats(),
    type(None): st.none(),
    datetime.timedelta: st.timedeltas(),
    uuid.UUID: st.uuids(),
    decimal.Decimal: st.decimals(),
    datetime.date: st.dates(),
    datetime.time: st.times(),
    datetime.datetime: st.datetimes(),
}


@given(st.sampled_from(list(LEAVES)), st.one_of(*LEAVES.values()))
def test_what_is_not_checked_would_have_passed_the_check(kind: Any, value: Any) -> None:
    """The proof by type alone agrees with decoding what was encoded."""
    if type(value) is kind and kind in checks.AT_ONCE:
        again = payload.decode(payload.encode(value, kind), kind)
        assert checks.difference(value, again) is None
        assert type(again) is type(value)


def test_the_proof_covers_the_plain_types() -> None:
    """Else it would agree in vain; and it knows a bool from an int."""
    assert {int, str, bool, bytes, float, type(None)} <= checks.AT_ONCE
    assert type(payload.decode(payload.encode(True, int), int)) is int
    assert type(payload.decode(payload.encode(OwnText("x"), str), str)) is str
