"""Types and values of them, at random: everything that docs/values.md promises, inside each other."""

# Types are made of what is drawn, which type checkers do not follow.
# pyright: reportUnknownLambdaType=false, reportInvalidTypeForm=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportArgumentType=false, reportUnknownMemberType=false
# ruff: noqa: UP007

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import itertools
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypeVar, Union

import attrs
import msgspec
import pydantic
from hypothesis import strategies as st
from typing_extensions import TypedDict  # typing's is refused by pydantic before 3.12

T = TypeVar("T")


class Colour(enum.Enum):
    red = "r"
    blue = "b"


class Level(enum.IntEnum):
    low = 1
    high = 2


class Word(enum.StrEnum):
    yes = "y"
    no = "n"


class Mixed(enum.Enum):
    """Neither all texts nor all numbers."""

    text = "read"
    number = 1
    pair = (1, 2)
    nothing = None
    read = 1.5


class Rights(enum.Flag):
    read = 1
    write = 2


@dataclasses.dataclass
class Page(Generic[T]):
    items: list[T]
    first: T | None = None


class Chain(msgspec.Struct):
    """Holds itself."""

    n: int
    next: Chain | None = None


Cents = NewType("Cents", int)


@dataclasses.dataclass(frozen=True)
class Sample:
    """``kind``: the annotation; ``runtime``: of which class its values are; ``hashable``: whether all of them are.
    ``made``: how it was made of others."""

    kind: Any
    values: st.SearchStrategy[Any]
    runtime: Any
    hashable: bool = True
    made: str = ""


def unfolded(value: Any) -> Any:
    """``fold`` is not kept, and says nothing without a zone."""
    return value.replace(fold=0)


INTEGERS = st.integers(-(2**63), 2**64 - 1)
DECIMALS = st.decimals(allow_nan=False) | st.just(decimal.Decimal("NaN"))
INSTANTS = st.datetimes(timezones=st.just(datetime.UTC)).map(unfolded)
MOMENTS = st.datetimes().map(unfolded) | INSTANTS
TIMES = st.times().map(unfolded)
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.floats(), st.binary(max_size=8))
KEYS = PLAIN | st.uuids() | DECIMALS | st.dates() | TIMES | st.timedeltas() | MOMENTS
HASHED = st.recursive(KEYS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=2), max_leaves=3)
UNTYPED = st.recursive(
    HASHED,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner),
        st.dictionaries(HASHED, inner, max_size=3),
        st.sets(HASHED, max_size=3),
    ),
    max_leaves=6,
)
LEAVES: tuple[Sample, ...] = (
    Sample(None, st.none(), type(None)),
    Sample(bool, st.booleans(), bool),
    Sample(int, INTEGERS, int),
    Sample(float, st.floats(), float),
    Sample(str, st.text(max_size=8), str),
    Sample(bytes, st.binary(max_size=8), bytes),
    Sample(datetime.datetime, MOMENTS, datetime.datetime),
    Sample(datetime.date, st.dates(), datetime.date),
    Sample(datetime.time, TIMES, datetime.time),
    Sample(datetime.timedelta, st.timedeltas(), datetime.timedelta),
    Sample(decimal.Decimal, DECIMALS, decimal.Decimal),
    Sample(uuid.UUID, st.uuids(), uuid.UUID),
    Sample(Colour, st.sampled_from(Colour), Colour),
    Sample(Level, st.sampled_from(Level), Level),
    Sample(Word, st.sampled_from(Word), Word),
    Sample(Rights, st.sampled_from([Rights.read, Rights.write, Rights.read | Rights.write, Rights(0)]), Rights),
    Sample(Mixed, st.sampled_from(Mixed), Mixed),
    Sample(Literal[Colour.red, b"x", 1, True], st.sampled_from([Colour.red, b"x", 1, True]), Literal),
    Sample(Literal["fast", "slow", 3], st.sampled_from(["fast", "slow", 3]), Literal),
    Sample(Annotated[int, msgspec.Meta(ge=0, le=9)], st.integers(0, 9), int),
    Sample(Annotated[str, "said"], st.text(max_size=3), str),
    Sample(Cents, st.integers(0, 9), int),
)
OPEN = (
    Sample(Any, UNTYPED, Any, hashable=False),
    Sample(bytearray, st.binary(max_size=4).map(bytearray), bytearray, hashable=False),
    Sample(object, UNTYPED, Any, hashable=False),
    Sample(dict[str, Any], st.dictionaries(st.text(max_size=3), UNTYPED, max_size=2), dict, hashable=False),
    Sample(Chain, st.builds(Chain, st.integers(0, 9), st.builds(Chain, st.integers(0, 9))), Chain, hashable=False),
)
_names = itertools.count()
COLLECTIONS = ("deque", "ordered", "counter", "defaultdict")
CONTAINERS = (
    "list",
    "tuple",
    "row",
    "star",
    "set",
    "frozenset",
    "dict",
    "keyed",
    "optional",
    "union",
    "page",
    *COLLECTIONS,
)
CLASSES = ("dataclass", "struct", "attrs", "typeddict", "namedtuple", "model")


@st.composite
def samples(draw: st.DrawFn, depth: int = 3) -> Sample:
    """A type, with a strategy for its values."""
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        return draw(st.sampled_from(LEAVES + OPEN))
    made = draw(st.sampled_from(CONTAINERS + CLASSES))
    if made in CLASSES:
        return dataclasses.replace(_class(draw, made, depth), made=made)
    inner = draw(samples(depth - 1))
    found = _container(draw, made, inner, depth)
    return found if found is inner else dataclasses.replace(found, made=made)


def _container(draw: st.DrawFn, made: str, inner: Sample, depth: int) -> Sample:
    if made in ("set", "frozenset", "keyed", "counter") and not inner.hashable:
        return inner
    if made in COLLECTIONS:
        return _collection(draw, made, inner)
    match made:
        case "list":
            return Sample(list[inner.kind], st.lists(inner.values, max_size=3), list, hashable=False)
        case "tuple":
            return Sample(tuple[inner.kind, ...], st.lists(inner.values, max_size=3).map(tuple), tuple, inner.hashable)
        case "row":
            other = draw(samples(depth - 1))
            both = inner.hashable and other.hashable
            return Sample(tuple[inner.kind, other.kind], st.tuples(inner.values, other.values), tuple, both)
        case "star":
            other = draw(samples(depth - 1))
            rest = st.lists(inner.values, max_size=3).map(tuple)
            rows = st.tuples(other.values, rest, other.values).map(lambda row: (row[0], *row[1], row[2]))
            kind = tuple[other.kind, *tuple[inner.kind, ...], other.kind]
            return Sample(kind, rows, tuple, inner.hashable and other.hashable)
        case "keyed":
            other = draw(samples(depth - 1))
            table = st.dictionaries(inner.values, other.values, max_size=3)
            return Sample(dict[inner.kind, other.kind], table, dict, hashable=False)
        case "set":
            return Sample(set[inner.kind], st.sets(inner.values, max_size=3), set, hashable=False)
        case "frozenset":
            return Sample(frozenset[inner.kind], st.frozensets(inner.values, max_size=3), frozenset)
        case "dict":
            key = draw(st.sampled_from([leaf for leaf in LEAVES if leaf.kind is not None]))
            table = st.dictionaries(key.values, inner.values, max_size=3)
            return Sample(dict[key.kind, inner.kind], table, dict, hashable=False)
        case "optional":
            if inner.runtime in (Any, type(None)):
                return inner
            return Sample(Union[inner.kind, None], st.none() | inner.values, Union, inner.hashable)
        case "page":
            pages = st.builds(Page, st.lists(inner.values, max_size=2), st.none() | inner.values)
            return Sample(Page[inner.kind], pages, Page, hashable=False)
        case _:
            return _union(draw, inner, depth)


def _collection(draw: st.DrawFn, made: str, inner: Sample) -> Sample:
    """Of the module ``collections``."""
    texts = st.dictionaries(st.text(max_size=3), inner.values, max_size=3)
    match made:
        case "deque":
            bound = st.none() | st.integers(0, 4)
            deques = st.builds(collections.deque, st.lists(inner.values, max_size=3), bound)
            return Sample(collections.deque[inner.kind], deques, collections.deque, hashable=False)
        case "ordered":
            cls: Any = collections.OrderedDict
            return Sample(cls[str, inner.kind], texts.map(cls), cls, hashable=False)
        case "counter":
            counts = st.dictionaries(inner.values, INTEGERS, max_size=3).map(collections.Counter)
            return Sample(collections.Counter[inner.kind], counts, collections.Counter, hashable=False)
        case _:
            cls = draw(st.sampled_from([int, list, str]))
            values = {int: INTEGERS, list: st.lists(inner.values, max_size=2), str: st.text(max_size=3)}[cls]
            kind = list[inner.kind] if cls is list else cls
            tables = st.dictionaries(st.text(max_size=3), values, max_size=3)
            found = tables.map(lambda held: collections.defaultdict(cls, held))
            return Sample(collections.defaultdict[str, kind], found, collections.defaultdict, hashable=False)


def _union(draw: st.DrawFn, first: Sample, depth: int) -> Sample:
    """Of members that are of different classes: others are refused."""
    members = [first]
    for _ in range(draw(st.integers(1, 3))):
        other = draw(samples(depth - 1))
        if other.runtime not in [member.runtime for member in members]:
            members.append(other)
    if len(members) < 2 or any(member.runtime in (Any, Union) for member in members):
        return first
    kind = Union[tuple(member.kind for member in members)]
    values = st.one_of(*(member.values for member in members))
    return Sample(kind, values, Union, all(member.hashable for member in members))


def _class(draw: st.DrawFn, made: str, depth: int) -> Sample:
    count = draw(st.integers(1, 3))
    fields = {f"f{n}": draw(samples(depth - 1)) for n in range(count)}
    name = f"{made.capitalize()}{next(_names)}"
    kinds = {field: sample.kind for field, sample in fields.items()}
    held = st.fixed_dictionaries({field: sample.values for field, sample in fields.items()})
    hashable = all(sample.hashable for sample in fields.values())
    make: Callable[..., Any]
    match made:
        case "dataclass":
            options = draw(st.fixed_dictionaries({key: st.booleans() for key in ("slots", "kw_only", "frozen", "eq")}))
            cls: Any = dataclasses.make_dataclass(name, list(kinds.items()), **options)
            make, hashable = cls, hashable and options["frozen"] and options["eq"]
        case "struct":
            flags = ("frozen", "omit_defaults", "forbid_unknown_fields", "array_like", "tag", "kw_only")
            options = draw(st.fixed_dictionaries({key: st.booleans() for key in flags}))
            options["rename"] = draw(st.sampled_from([None, "upper", "camel"]))
            cls = msgspec.defstruct(name, list(kinds.items()), **options)
            make, hashable = cls, hashable and options["frozen"]
        case "attrs":
            private = draw(st.booleans())
            written = {f"_{field}" if private else field: attrs.field(type=kind) for field, kind in kinds.items()}
            annotated = draw(st.booleans())
            cls = attrs.make_class(name, written, slots=draw(st.booleans()))
            if annotated:
                cls.__annotations__ = {field: one.type for field, one in zip(written, attrs.fields(cls), strict=True)}
            make, hashable = cls, False
        case "typeddict":
            total = draw(st.booleans())
            cls = TypedDict(name, kinds, total=total)  # type: ignore[misc]  # pyright: ignore
            if not total:
                held = st.fixed_dictionaries({}, optional={field: sample.values for field, sample in fields.items()})
            make, hashable = dict, False
            return Sample(cls, held, dict, hashable)
        case "namedtuple":
            cls = NamedTuple(name, list(kinds.items()))  # type: ignore[misc]  # pyright: ignore
            make = cls
        case _:
            cls = type(name, (pydantic.BaseModel,), {
                "__annotations__": kinds,
                "__module__": __name__,
                "model_config": pydantic.ConfigDict(arbitrary_types_allowed=True),
            })  # fmt: skip
            make, hashable = cls.model_construct, False
    return Sample(cls, held.map(lambda values: make(**values)), cls, hashable)


def held(value: Any) -> Any:
    """A value with the types of all that it holds; NaN is itself."""
    if isinstance(value, enum.Enum):
        return value
    if isinstance(value, pydantic.BaseModel):
        return type(value), held(dict(value.__dict__)), sorted(value.model_fields_set)
    if isinstance(value, msgspec.Struct):
        return type(value), [held(getattr(value, name)) for name in value.__struct_fields__]
    if dataclasses.is_dataclass(value):
        return type(value), [held(getattr(value, field.name)) for field in dataclasses.fields(value)]
    if hasattr(type(value), "__attrs_attrs__"):
        return type(value), [held(getattr(value, field.name)) for field in attrs.fields(type(value))]
    if isinstance(value, dict):
        more = getattr(value, "default_factory", None)
        return type(value), more, [(held(key), held(member)) for key, member in value.items()]
    if isinstance(value, collections.deque):
        return type(value), value.maxlen, [held(member) for member in value]
    if isinstance(value, (list, tuple)):
        return type(value), [held(member) for member in value]
    if isinstance(value, (set, frozenset)):
        return type(value), sorted(repr(held(member)) for member in value)
    if isinstance(value, (float, decimal.Decimal)):
        return type(value), repr(value)  # 0.0 and -0.0, NaN
    return type(value), value
