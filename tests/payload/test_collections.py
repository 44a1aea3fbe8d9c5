"""Types of the standard library that msgspec does not know, and what stands in for a list, a set or a dict."""

from __future__ import annotations

import collections
import collections.abc as abc
import dataclasses
import datetime
import decimal
import enum
import types
from typing import Any, ForwardRef, Literal, NotRequired

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import ReadOnly, TypedDict

from fencepost import PayloadError, payload


class Shape(enum.Enum):
    pair = (1, 2)
    word = "pair"
    half = 0.5


class Colour(enum.StrEnum):
    red = "r"


@dataclasses.dataclass(frozen=True)
class Card:
    number: int


@dataclasses.dataclass(frozen=True)
class Cash:
    number: int


@dataclasses.dataclass
class Order:
    paid: Card | Cash
    shape: Shape = Shape.pair
    last: collections.deque[int] = dataclasses.field(default_factory=lambda: collections.deque([1], 3))
    more: Any = None


class Limits(TypedDict):
    most: ReadOnly[int]
    least: NotRequired[ReadOnly[decimal.Decimal]]


class Tagged(msgspec.Struct, tag=True, rename="camel", omit_defaults=True):
    own_size: int
    own_name: str = "x"


class Below(Tagged, tag="below"):
    more: int | str = 1


class Row(msgspec.Struct, array_like=True, tag="row"):
    size: int


class Shelf(pydantic.BaseModel):
    last: collections.deque[int]
    shapes: list[Shape]
    counts: collections.Counter[int]


def there_and_back(value: Any, kind: Any) -> Any:
    return payload.decode(payload.encode(value, kind), kind)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Shape.pair, Shape),
        (Shape.word, Shape),
        ({Shape.half: 1, Shape.pair: 2}, dict[Shape, int]),
        ([Shape.half, None], list[Shape | None]),
        ([Shape.word, "word"], list[Shape | str]),
        ({datetime.date(2026, 1, 1): 1, "2026-01-01": 2}, dict[datetime.date | str, int]),
        ({Card(1): 1, Cash(1): 2}, dict[Card | Cash, int]),
        ({Card(1): Cash(2)}, dict[Card, Card | Cash]),
        ({(1, Card(1)): 1, (1, Cash(1)): 2}, dict[tuple[int, Card | Cash], int]),
        ([{Shape.half: 1}, True], list[bool | dict[Shape, int]]),
        (collections.deque([Card(1), Cash(2)], 4), collections.deque[Card | Cash]),
        ([collections.deque([1], 4), {"a": 1}], list[collections.deque[int] | dict[str, int]]),
        ((1, Cash(1), Card(2), "x"), tuple[int, *tuple[Card | Cash, ...], str]),
        ((1, "a"), tuple[int, *tuple[str]]),
        ({"most": 1, "least": decimal.Decimal("1.10")}, Limits),
        ([Colour.red, b"r", 1, True], list[Literal[Colour.red, b"r", 1, True]]),
        (Shelf(last=collections.deque([1], 3), shapes=[Shape.half], counts=collections.Counter([1])), Shelf),
    ],
)
def test_what_is_annotated_comes_back_as_itself(value: Any, kind: Any) -> None:
    """With the bound of a deque, and with each member's own class."""
    again = there_and_back(value, kind)
    assert again == value
    assert repr(again) == repr(value)


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (1, collections.deque[int], "value: int is no deque"),
        ([{1}], list[collections.deque[int]], "[0]: set is no deque"),
        ([1], collections.OrderedDict[str, Card | Cash], "value: list is no dict"),
        (collections.deque(["x"]), collections.deque[int], "[0]: does not fit its annotation int"),
        (collections.Counter(a="x"), collections.Counter[str], "['a']: does not fit its annotation int"),  # type: ignore[arg-type]
        (collections.defaultdict(lambda: 0, a=1), collections.defaultdict[str, int], "value: its default_factory is <"),
        (collections.deque([1]), Any, "value: collections.deque cannot be encoded: annotate deque[...], or pass list("),
        ((1,), tuple[int, int, *tuple[str, ...]], "value: has 1 members, its type has at least 2"),
        ((1, "a", 2), tuple[int, *tuple[str, ...]], "[2]: does not fit its annotation str"),
        ("x", Shape, "value: 'x' is no member of Shape"),
        ("r", Literal[Colour.red, b"r"], "value: 'r' is none of <Colour.red: 'r'>, b'r'"),
        (
            (n for n in [1]),
            abc.Iterable[int],
            "value: would come back from the log as another value, by its annotation",
        ),
        ("ab", abc.Sequence[str], "value: does not fit its annotation collections.abc.Sequence[str]"),
        (range(3), list[int], "value: range cannot be encoded"),
        ({"a": range(3)}, dict[str, abc.Sequence[str]], "['a'][0]: does not fit its annotation str"),
        (datetime.time(1, tzinfo=datetime.timezone(datetime.timedelta(seconds=3601))), datetime.time, "value: would"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path(value: Any, kind: Any, said: str) -> None:
    """When it is written."""
    with pytest.raises(PayloadError) as caught:
        payload.encode(value, kind)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    "kind", [collections.defaultdict[str, Card], Literal[Shape.word, "word"], collections.ChainMap]
)
def test_what_could_not_be_read_is_refused_by_its_type(kind: Any) -> None:
    """Whatever the value is."""
    with pytest.raises(PayloadError, match="there is no way to decode the type"):
        payload.codec_of(kind)


@pytest.mark.parametrize(
    ("value", "kind", "again"),
    [
        (collections.deque([1, True]), abc.Sequence[int], [1, 1]),
        (range(3), abc.Sequence[int], [0, 1, 2]),
        ({"a": 1}.keys(), abc.Set[str], {"a"}),
        ({"a": True}.values(), abc.Collection[int], [1]),
        (types.MappingProxyType({"a": collections.deque([1])}), abc.Mapping[str, abc.Iterable[int]], {"a": [1]}),
        (collections.ChainMap({"a": 1}, {"b": 2}), abc.Mapping[str, int], {"b": 2, "a": 1}),
        (Below(1, more=2), Tagged, Tagged(1)),
        ([Below(1, "y")], list[Tagged | None], [Tagged(1, "y")]),
        ([1, 2], collections.deque[int], collections.deque([1, 2])),
        ({"a": 1}, collections.OrderedDict[str, int], collections.OrderedDict(a=1)),
    ],
)
def test_what_type_checkers_accept_comes_back_as_annotated(value: Any, kind: Any, again: Any) -> None:
    """A collection as the one that is built in."""
    found = there_and_back(value, kind)
    assert found == again
    assert type(found) is type(again)


@pytest.mark.parametrize(
    "value",
    [
        Order(Cash(1)),
        Order(Card(1), Shape.half, collections.deque([1, 2]), more={"a": (1,)}),
        [Order(Cash(1)), Order(Card(1))],
        {"a": (Order(Cash(1)),)},
        Tagged(1),
        [Tagged(1, "y"), Tagged(1)],
        Row(1),
        Below(1, more="x"),
    ],
)
def test_h163_an_object_without_a_type_is_written_by_its_class(value: Any) -> None:
    """A signal, a start by name, a heartbeat: whoever reads it with its type gets the right member of each union."""
    kinds: dict[type, Any] = {list: list[Any], dict: dict[str, tuple[Order, ...]]}
    kind = kinds.get(type(value), type(value))
    if isinstance(value, list):
        kind = list[type(value[0])]  # type: ignore[misc]
    assert payload.decode(payload.encode(value), kind) == value


def test_without_a_type_such_values_are_shown_as_lists_dicts_and_names() -> None:
    """What the command line sees."""
    order = Order(Cash(1), Shape.half, collections.deque([1], 3), {"a": (1,)})
    seen = {"paid": {"number": 1}, "shape": "half", "last": [1], "more": {"a": (1,)}}
    assert payload.decode(payload.encode(order, Order)) == seen
    assert payload.decode(payload.encode({Shape.half: 1}, dict[Shape, int])) == {"half": 1}
    assert payload.decode(payload.encode({Card(1): 1}, dict[Card | Cash, int])) == [[{"number": 1}, 1]]


def test_who_knows_only_an_enums_value_may_give_that() -> None:
    """A sender of a signal."""
    assert payload.decode(payload.encode([1, 2]), Shape) is Shape.pair
    assert payload.decode(payload.encode(0.5), Shape) is Shape.half
    with pytest.raises(PayloadError, match=r"Invalid enum value 7"):
        payload.decode(payload.encode(7), Shape)


@pytest.mark.parametrize("kind", [Any, datetime.datetime, list[Any]])
@given(hours=st.integers(1, 23), latest=st.booleans())
def test_an_instant_outside_the_years_says_so(kind: Any, hours: int, latest: bool) -> None:
    """``datetime.min`` with an offset is in the year 0 of UTC."""
    zone = datetime.timezone(datetime.timedelta(hours=-hours if latest else hours))
    moment = datetime.datetime.max.replace(tzinfo=zone) if latest else datetime.datetime.min.replace(tzinfo=zone)
    value = [moment] if kind == list[Any] else moment
    with pytest.raises(PayloadError, match=r"no instant of the years 1 to 9999 in UTC, .*: give it in UTC, or without"):
        payload.encode(value, kind)


def test_a_lock_beside_a_deque_is_the_one_that_is_named() -> None:
    """Where the deque's annotation is not known any more, either."""
    order = Order(Cash(1), more=[Order(Card(1), more=object())])
    with pytest.raises(PayloadError, match=r"^\.more\[0\]\.more: object cannot be encoded"):
        payload.encode(order, Order)


def test_an_alias_that_holds_itself_by_a_text_names_the_way_out() -> None:
    """Nobody knows the module that the text belongs to."""
    with pytest.raises(PayloadError, match=r"'Texts'.*: write an alias that holds itself as `type X = \.\.\.`"):
        payload.codec_of(dict[str, ForwardRef("Texts")])  # type: ignore[misc]
