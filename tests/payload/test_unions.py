"""Unions whose members msgpack cannot tell apart come back as the member that they were, or are refused before
anything is written."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fencepost import PayloadError, Registry, payload, step, workflow

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Card:
    number: str
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Cash:
    cents: int
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Gold(Card):
    limit: int = 0


@attrs.define
class Voucher:
    code: str
    _left: int = 0


class Wire(msgspec.Struct, frozen=True):
    iban: str
    on: datetime.date


class Stock(msgspec.Struct, array_like=True, tag=True):
    held: list[Card | Cash]
    pieces: int = 0


class Renamed(msgspec.Struct, rename="camel", tag_field="is", tag="renamed", forbid_unknown_fields=True):
    what_is_held: Card | Cash


class Colour(enum.Enum):
    red = "r"


Payment = Card | Cash | Voucher | Wire | None
Cents = NewType("Cents", int)


@dataclasses.dataclass
class Box(Generic[T]):
    content: T
    more: list[T] = dataclasses.field(default_factory=list["T"])
    kind: ClassVar[str] = "box"


@dataclasses.dataclass
class Order:
    id: uuid.UUID
    payment: Payment
    history: list[Card | Cash]
    by_name: dict[str, Card | Cash | None]
    pair: tuple[Card | Cash, int]
    amount: decimal.Decimal | str
    tags: frozenset[Card | Cash]
    anything: Any
    parts: list[Order] = dataclasses.field(default_factory=list["Order"])
    made: str = dataclasses.field(init=False, default="here")


class Line(NamedTuple):
    what: Card | Cash
    pieces: int


class Told(TypedDict, total=False):
    by: Card | Cash
    at: datetime.datetime


@attrs.frozen
class Wallet:
    first: Card | Cash
    _second: Voucher | Card | None = None


def there_and_back(value: Any, kind: Any) -> Any:
    """Through the bytes."""
    return payload.decode(payload.encode(value, kind), kind)


CARDS = st.builds(Card, number=st.text(), note=st.text()) | st.builds(Cash, cents=st.integers(-9, 9), note=st.text())
PAYMENTS = st.one_of(
    CARDS,
    st.none(),
    st.builds(Voucher, code=st.text(), left=st.integers(0, 9)),
    st.builds(Wire, iban=st.text(), on=st.dates()),
)
PLAIN = st.one_of(
    st.none(), st.integers(), st.text(), st.decimals(allow_nan=False), st.tuples(st.integers(), st.text())
)


def orders(parts: st.SearchStrategy[list[Order]]) -> st.SearchStrategy[Order]:
    """Orders with parts of their own kind."""
    return st.builds(
        Order,
        id=st.uuids(),
        payment=PAYMENTS,
        history=st.lists(CARDS, max_size=3),
        by_name=st.dictionaries(st.text(), CARDS | st.none(), max_size=3),
        pair=st.tuples(CARDS, st.integers(-9, 9)),
        amount=st.decimals(allow_nan=False) | st.text(),
        tags=st.frozensets(CARDS, max_size=3),
        anything=PLAIN | st.lists(PLAIN, max_size=3),
        parts=parts,
    )


@given(orders(st.lists(orders(st.just([])), max_size=2)))
def test_a_dataclass_full_of_unions_comes_back_as_itself(order: Order) -> None:
    """In fields, lists, dicts, tuples and sets, in a class that holds itself, beside untyped fields."""
    again = there_and_back(order, Order)
    assert again == order
    assert type(again.amount) is type(order.amount)
    assert type(again.anything) is type(order.anything)
    assert list(map(type, again.history)) == list(map(type, order.history))


@given(st.one_of(PAYMENTS, st.builds(Gold, number=st.text(), limit=st.integers(-9, 9))))
def test_equal_fields_do_not_make_equal_classes(value: Any) -> None:
    """The name decides, never the fields; a subclass that is a member is itself, not its base."""
    kind = Card | Cash | Gold | Voucher | Wire | None
    again = there_and_back(value, kind)
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Box[Card | Cash](Card("1"), [Cash(2)]), Box[Card | Cash]),
        (Box[list[Card | Cash]]([Cash(1)], [[Card("2")]]), Box[list[Card | Cash]]),
        (Line(Cash(1), 2), Line),
        ({"by": Card("x"), "at": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)}, Told),
        ({}, Told),
        (Wallet(Card("1"), Voucher("v", 3)), Wallet),
        (Wallet(Cash(1)), Wallet),
        (Wallet(Cash(1)), Wallet | Card),
        (Stock([Card("1"), Cash(2)], 3), Stock),
        ([Stock([])], list[Stock]),
        (Renamed(Cash(1)), Renamed),
        (decimal.Decimal("1.10"), decimal.Decimal | str),
        ("1.10", decimal.Decimal | str),
        (b"x", bytes | str | None),
        (datetime.date(2026, 1, 1), datetime.date | datetime.datetime),
        (datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), datetime.date | datetime.datetime),
        (uuid.UUID(int=5), uuid.UUID | str),
        ({1, 2}, set[int] | list[int]),
        ([1, 2], set[int] | list[int]),
        ((1,), tuple[int, ...] | list[int]),
        ({"a": 1}, dict[str, int] | Card),
        (Card("a"), dict[str, int] | Card),
        ("a", Literal["a", "b"] | decimal.Decimal),
        (decimal.Decimal(2), Literal["a", "b"] | decimal.Decimal),
        (Colour.red, Colour | Card | Cash),
        (True, Card | Cash | bool | int),
        (1, Card | Cash | bool | int),
        (Cents(3), Cents | Card | Cash),
        ([Card("1")], Annotated[list[Card | Cash], "said"]),
        ((Cash(1), Card("2")), tuple[Card | Cash, ...]),
        ([Cash(1)], Sequence[Card | Cash]),
        ({"a": Cash(1)}, Mapping[str, Card | Cash]),
        ({"a": {"b": [Cash(1), None]}}, dict[str, dict[str, list[Card | Cash | None]]]),
    ],
)
def test_unions_of_many_kinds(value: Any, kind: Any) -> None:
    """Values and their classes."""
    again = there_and_back(value, kind)
    assert again == value
    assert type(again) is type(value)


def test_a_whole_number_is_taken_for_a_float() -> None:
    """As everywhere in Python's annotations."""
    assert there_and_back(1, Card | Cash | float) == 1.0


def test_the_bytes_hold_the_members_name_and_are_stable() -> None:
    """Part of the log's format. Sets of members are in the order of their bytes."""
    data = payload.encode(Cash(1), Card | Cash)
    assert data.hex() == "03c7140c92a44361736882a563656e747301a46e6f7465a0"
    cards = [Card(str(number)) for number in range(20)]
    kind = frozenset[Card | Cash]
    assert payload.encode(frozenset(cards), kind) == payload.encode(frozenset(reversed(cards)), kind)


def test_without_a_type_a_member_is_shown_as_its_fields() -> None:
    """What the command line sees: the name is not in the way."""
    assert payload.decode(payload.encode([Cash(1)], list[Card | Cash])) == [{"cents": 1, "note": ""}]


def test_a_type_that_becomes_a_union_reads_what_was_recorded_before() -> None:
    """If exactly one member fits; otherwise the members that do are named. And back again."""
    before = payload.encode([Cash(1)], list[Cash])
    assert payload.decode(before, list[Card | Cash]) == [Cash(1)]
    assert payload.decode(payload.encode([Cash(1)], list[Card | Cash]), list[Cash]) == [Cash(1)]
    with pytest.raises(PayloadError, match="recorded without a name, it fits Card, Gold"):
        payload.decode(payload.encode(Card("1"), Card), Card | Gold)
    with pytest.raises(PayloadError, match="it fits none of them"):
        payload.decode(payload.encode(1, int), Card | Cash)


def test_a_member_that_is_gone_is_named() -> None:
    """A renamed class does not fit what was recorded under its old name."""
    with pytest.raises(PayloadError, match=r"result of f: .*Expected Card \| Voucher, got a 'Cash'"):
        payload.decode(payload.encode(Cash(1), Card | Cash), Card | Voucher, path="result of f")


def test_two_classes_of_one_name_are_told_apart_by_their_modules() -> None:
    """And are still found when one of them leaves."""

    @dataclasses.dataclass
    class Twin:
        a: int

    other = dataclasses.make_dataclass("Card", [("number", str)])
    other.__module__ = "elsewhere"
    kind: Any = Card | Twin | other
    data = payload.encode(other("1"), kind)
    assert type(payload.decode(data, kind)) is other
    assert type(payload.decode(data, Twin | other)) is other  # type: ignore[valid-type]


def test_a_value_of_none_of_the_members_is_refused_with_its_path() -> None:
    """Before anything is written."""
    with pytest.raises(PayloadError, match=r"^args\[0\]\['a'\]\[1\]: Voucher is none of Card \| Cash"):
        payload.encode({"a": [Cash(1), Voucher("v")]}, dict[str, list[Card | Cash]], path="args[0]")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (list[Card] | list[Cash], r"list and list of a union are both list, .*\(list\[A \| B\]\)"),
        (Told | dict[str, int] | None, "are both dict"),
        (dict[list[Card] | list[Cash], int], "are both list"),
        (Card | Cash | complex, "no codec for the class complex"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(kind: Any, said: str) -> None:
    """With the way out, by the type alone: no value is needed."""
    with pytest.raises(PayloadError, match=said):
        payload.codec_of(kind)


@pytest.mark.parametrize("kind", [dict[str, object], object, list[object]])
def test_object_says_as_little_as_any(kind: Any) -> None:
    """So what a plain decode would lose is marked."""
    value: Any = {"a": (1, {2})}
    value = [value] if kind == list[object] else value
    assert there_and_back(value, kind) == value


@pytest.mark.parametrize("kind", [complex, range, dict[str, range]])
async def test_a_result_that_cannot_be_written_is_refused_before_the_step_is_recorded(kind: Any) -> None:
    """Its body would do its work, and the worker could not say so. The same for a workflow before it is started."""

    async def body() -> None: ...

    body.__annotations__["return"] = kind
    made = step(registry=Registry())(body)
    with pytest.raises(PayloadError, match="the result of body: there is no way to decode"):
        made.arguments.encode((), {})
    with pytest.raises(PayloadError, match="the result of body"):
        workflow(registry=Registry())(body).encode_input((), {})
