"""pydantic's models come back as what they were, whatever their dump is for the outside; or are refused by path."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import ipaddress
import pathlib
import re
import threading
import uuid
from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

import pydantic
import pytest
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from fencepost import PayloadError, payload

T = TypeVar("T")
UTC = datetime.UTC


class Colour(enum.Enum):
    red = "r"


class Aliased(BaseModel):
    a: int = Field(alias="theA")
    b: int = Field(default=0, validation_alias="readB", serialization_alias="writtenB")
    c: int = Field(default=0, validation_alias=pydantic.AliasChoices("c1", "c2"))
    d: int = Field(default=0, validation_alias=pydantic.AliasPath("deep", 0))


class Generated(BaseModel):
    model_config = ConfigDict(alias_generator=lambda name: "x" + name.upper(), extra="forbid")
    my_field: int


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    when: datetime.datetime
    tags: set[int]
    pair: tuple[int, str]
    amount: decimal.Decimal
    id: uuid.UUID
    colour: Colour


class Computed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    n: int

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def twice(self) -> int:
        return 2 * self.n


class Serialized(BaseModel):
    when: datetime.date

    @pydantic.field_serializer("when")
    def _german(self, value: datetime.date) -> str:
        return value.strftime("%d.%m.%Y")


class Whole(BaseModel):
    n: int

    @pydantic.model_serializer
    def _all(self) -> dict[str, int]:
        return {"number": self.n}


class Excluded(BaseModel):
    n: int
    kept: str = Field(default="default", exclude=True)


class Hashed(BaseModel):
    word: str

    @pydantic.field_validator("word")
    @classmethod
    def _hash(cls, value: str) -> str:
        return "#" + value


class Parsed(BaseModel):
    numbers: pydantic.Json[list[int]]


class Network(BaseModel):
    url: pydantic.HttpUrl
    hosts: list[ipaddress.IPv4Address]
    path: pathlib.Path
    pattern: re.Pattern[str] | None = None


class Special(BaseModel):
    aware: pydantic.AwareDatetime
    size: pydantic.ByteSize
    coded: pydantic.Base64Bytes
    positive: pydantic.PositiveInt


class Given(BaseModel):
    a: int = 1
    b: int = 2


class Private(BaseModel):
    n: int
    _count: int = PrivateAttr(default=5)
    _seen: dict[str, Any] = PrivateAttr(default_factory=dict[str, Any])


class Guarded(BaseModel):
    n: int = 0
    _lock: Any = PrivateAttr(default_factory=threading.Lock)


class Anything(BaseModel):
    held: Any = None


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")
    n: int


class Days(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, datetime.date]  # pyright: ignore[reportIncompatibleVariableOverride]


class Numbers(pydantic.RootModel[list[int]]):
    pass


class Table(pydantic.RootModel[dict[str, int]]):
    pass


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    n: int


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    n: int


class Pet(BaseModel):
    pet: Cat | Dog = Field(discriminator="kind")
    either: Given | Computed | None = None


class Page(BaseModel, Generic[T]):
    items: list[T]


class Tree(BaseModel):
    kids: list[Tree] = []
    up: Tree | None = None


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    n: int


class ByValue(BaseModel):
    model_config = ConfigDict(use_enum_values=True)
    colour: Colour
    more: list[Colour] = []


class Arbitrary(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    lock: Any = None
    check: Callable[[], None] | None = None


class Secret(BaseModel):
    word: pydantic.SecretStr


class Special2(Given):
    more: int = 3


@dataclasses.dataclass
class Order:
    model: Aliased
    many: dict[str, Generated]


def private() -> Private:
    """One whose private attributes are not their defaults."""
    made = Private(n=1)
    made._count = 9  # pyright: ignore[reportPrivateUsage]
    made._seen["x"] = (1, {2})  # pyright: ignore[reportPrivateUsage]
    return made


def frozen(n: int) -> Any:
    """Hashable, which type checkers do not know."""
    return Frozen(n=n)


ALIASED = Aliased.model_validate({"theA": 1, "readB": 2, "c2": 3, "deep": [4]})
GENERATED = Generated.model_validate({"xMY_FIELD": 3})
STRICT = Strict(
    when=datetime.datetime(2026, 1, 1, tzinfo=UTC),
    tags={1, 2},
    pair=(1, "a"),
    amount=decimal.Decimal("1.10"),
    id=uuid.UUID(int=7),
    colour=Colour.red,
)
NETWORK = Network.model_validate({"url": "http://x/y", "hosts": ["1.2.3.4"], "path": "/x", "pattern": "a+"})
SPECIAL = Special.model_validate(
    {"aware": datetime.datetime(2026, 1, 1, tzinfo=UTC), "size": "1KB", "coded": b"eA==", "positive": 1}
)
EXTRA = Extra.model_validate({"n": 1, "pair": (1, {2}), "day": datetime.date(2026, 1, 1), "none": None})
CASES: list[tuple[Any, Any]] = [
    (ALIASED, Aliased),
    (GENERATED, Generated),
    (STRICT, Strict),
    (Computed(n=1), Computed),
    (Serialized(when=datetime.date(2026, 1, 2)), Serialized),
    (Whole(n=1), Whole),
    (Excluded(n=1, kept="this"), Excluded),
    (Hashed(word="x"), Hashed),
    (Parsed.model_validate({"numbers": "[1, 2]"}), Parsed),
    (NETWORK, Network),
    (SPECIAL, Special),
    (Given(b=2), Given),
    (Given(), Given),
    (private(), Private),
    (Anything(held=(1, {2}, [decimal.Decimal("1.0")], {(1, 2): 2**80})), Anything),
    (Anything(held=float("nan")), Anything),
    (EXTRA, Extra),
    (Days.model_validate({"first": datetime.date(2026, 1, 1)}), Days),
    (Numbers([1, 2]), Numbers),
    (Table({"a": 1}), Table),
    (Pet(pet=Dog(n=1), either=Computed(n=2)), Pet),
    (Page[Aliased](items=[ALIASED]), Page[Aliased]),
    (Page[int | str](items=[1, "a"]), Page[int | str]),
    (Tree(kids=[Tree(), Tree(up=Tree())]), Tree),
    (set(map(frozen, (1, 2))), set[Frozen]),
    (ByValue(colour=Colour.red, more=[Colour.red]), ByValue),
    (Order(ALIASED, {"a": GENERATED}), Order),
    (Dog(n=1), Cat | Dog),
    (Dog(n=1), Dog | None),
    (None, Dog | None),
    (3, Dog | int),
    (Numbers([1]), Numbers | Table),
    ([(ALIASED, {"x": GENERATED})], list[tuple[Aliased, dict[str, Generated]]]),
]


def held(value: Any) -> Any:
    """All that a value holds, with the types."""
    if isinstance(value, BaseModel):
        fields = {name: held(value.__dict__[name]) for name in type(value).model_fields}
        inner = (held(value.__pydantic_extra__), held(value.__pydantic_private__))
        return type(value), fields, sorted(value.model_fields_set), inner
    if dataclasses.is_dataclass(value):
        return type(value), [held(member) for member in vars(value).values()]
    if isinstance(value, dict):
        return dict, [(held(key), held(member)) for key, member in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [held(member) for member in value]
    if isinstance(value, (set, frozenset)):
        return type(value), sorted(repr(held(member)) for member in value)
    return type(value), value if value == value else repr(value)  # NaN


@pytest.mark.parametrize(("value", "kind"), CASES, ids=lambda case: getattr(case, "__name__", ""))
def test_h164_a_model_comes_back_as_what_it_was(value: Any, kind: Any) -> None:
    """Fields, which of them were set, extra ones and private attributes, with their types. No validator runs again."""
    data = payload.encode(value, kind)
    assert held(payload.decode(data, kind)) == held(value)
    assert payload.encode(value, kind) == data
    payload.decode(data)  # what the command line does


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (Secret(word=pydantic.SecretStr("x")), Secret, ".word: SecretStr hides its value"),
        ([Guarded()], list[Guarded], "[0]._lock: _thread.lock cannot be encoded"),
        (Arbitrary(lock=threading.Lock()), Arbitrary, ".lock: _thread.lock cannot be encoded"),
        (Extra.model_validate({"n": 1, "deep": [{"x": object()}]}), Extra, ".deep[0]['x']: object cannot be encoded"),
        (Anything(held=[Colour.red]), Anything, ".held[0]: would come back from the log as another"),
        (Anything(held=Given()), Anything, ".held: would come back from the log as another"),
        (Extra.model_validate({"n": 1, "deep": [Given()]}), Extra, ".deep[0]: would come back from the log as another"),
        (Given.model_construct(a="x"), Given, ".a: does not fit its annotation int"),
        (Given.model_construct(_fields_set=set(), b=1), Given, None),
        (Frozen.model_construct(), Frozen, "value: Frozen has no value for its field 'n'"),
        (Order(ALIASED, {"a": Given()}), Order, ".many['a']: Given is no Generated"),  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
        (NETWORK.model_copy(update={"pattern": re.compile("x", re.IGNORECASE)}), Network, ".pattern: would come"),
    ],
)
def test_h164_what_would_be_lost_of_a_model_is_refused(value: Any, kind: Any, said: str | None) -> None:
    """At writing, with the path."""
    if said is None:
        assert held(payload.decode(payload.encode(value, kind), kind)) == held(value)
        return
    with pytest.raises(PayloadError) as caught:
        payload.encode(value, kind)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("kind", [BaseModel, list[BaseModel], dict[BaseModel, int]])
def test_a_model_that_cannot_be_read_is_refused_by_its_type(kind: Any) -> None:
    """Before anything is recorded."""
    with pytest.raises(PayloadError, match="there is no way to decode the type"):
        payload.codec_of(kind)


def test_without_a_type_a_model_is_shown_as_its_fields() -> None:
    """What the command line and a caller by name see; it cannot be a key there."""
    data = payload.encode({"a": [private(), EXTRA]})
    extra = {"n": 1, "pair": (1, {2}), "day": datetime.date(2026, 1, 1), "none": None}
    assert payload.decode(data) == {"a": [{"n": 1}, extra]}
    with pytest.raises(PayloadError, match="annotate its own class"):
        payload.encode({frozen(1)})


def test_a_subclass_comes_back_as_the_annotated_model() -> None:
    """As any class does."""
    again = payload.decode(payload.encode(Special2(a=5), Given), Given)
    assert held(again) == held(Given(a=5))


@pytest.mark.parametrize(
    ("plain", "model"),
    [
        ({"theA": 1, "readB": 2, "c2": 3, "deep": [4]}, ALIASED),
        ({"a": 1, "b": 2, "c": 3, "d": 4}, ALIASED),
        ({"xMY_FIELD": 3}, GENERATED),
        ({"my_field": 3}, GENERATED),
        ({"n": "7"}, Computed(n=7)),
        ({"when": "2026-01-02"}, Serialized(when=datetime.date(2026, 1, 2))),
        ([1, 2], Numbers([1, 2])),
        ({"pet": {"kind": "dog", "n": 1}}, Pet(pet=Dog(n=1))),
        (
            {
                "when": "2026-01-01T00:00:00Z",
                "tags": [1, 2],
                "pair": [1, "a"],
                "amount": "1.10",
                "id": str(uuid.UUID(int=7)),
                "colour": "r",
            },
            STRICT,
        ),
    ],
)
def test_what_comes_from_elsewhere_is_validated(plain: Any, model: Any) -> None:
    """A signal's payload, a start by name, what an older version has recorded: by alias or by name."""
    again = payload.decode(payload.encode(plain), type(model))
    assert again == model


def test_a_model_that_is_sent_without_a_type_is_read_as_it_was() -> None:
    """A client's payload for a hook."""
    assert held(payload.decode(payload.encode(private()), Private)) == held(private())
    with pytest.raises(PayloadError, match="does not fit the expected type"):
        payload.decode(payload.encode({"n": "seven"}), Computed)


def test_a_model_of_another_version_is_validated() -> None:
    """New fields have their defaults, those that are gone are passed over, and extra is still forbidden."""

    class Grown(BaseModel):
        model_config = ConfigDict(extra="forbid")
        a: int
        c: str = "new"

    name = f"{Grown.__module__}.{Grown.__qualname__}"
    data = payload.encode(Given(a=5), Given)
    for recorded in (data, data.replace(b"test_models.Given", name.encode()[-17:])):
        assert payload.decode(recorded, Grown) == Grown(a=5)
