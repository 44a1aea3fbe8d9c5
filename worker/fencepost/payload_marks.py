"""How a value is written so that nothing is lost and equal values have equal bytes.

Marks stand for what plain msgpack forgets, and sets are put in order. Marks are msgpack extension types 1 to 11; 12
names the member of a union (``payload_unions``), 13 is a model of pydantic (``payload_models``), 14 a deque with a
bound (``payload_collections``). They are part of the log's format: a number never changes its meaning.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime
import decimal
import enum
import operator
import sys
import uuid
from collections.abc import Callable, Iterable
from typing import Any, cast

import msgspec

DEPTH_MAX = 200
"""Deeper nesting is refused by name, before the interpreter's limit is near (1000 frames, shared with the user's)."""

_TUPLE, _SET, _FROZENSET, _DECIMAL, _UUID, _DATE, _TIME, _TIMEDELTA, _DATETIME, _INTEGER, PAIRS = range(1, 12)
TAGGED = 12
MODEL = 13
BOUNDED = 14
_SAFE = frozenset({str, float, bool, type(None), bytes})
_INT64 = range(-(2**63), 2**64)


def to_builtins(value: Any) -> Any:
    """What msgspec asks for a class that it does not know: instances of subclasses are written as their base."""
    for kind, plain in _PLAIN_OF_SUBCLASS.items():
        if isinstance(value, kind):
            return plain(value)
    raise TypeError("no codec for this class")


def _plain_datetime(value: datetime.datetime) -> datetime.datetime:
    fields = (value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond)
    return datetime.datetime(*fields, tzinfo=value.tzinfo, fold=value.fold)


_PLAIN_OF_SUBCLASS: dict[type, Callable[[Any], Any]] = {
    # What the class overrides must not be asked: only the value of its base is written.
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    bytes: lambda value: bytes(memoryview(value)),
    datetime.datetime: _plain_datetime,  # before date, its base
    datetime.date: lambda value: datetime.date(value.year, value.month, value.day),
    datetime.time: lambda v: datetime.time(v.hour, v.minute, v.second, v.microsecond, tzinfo=v.tzinfo, fold=v.fold),
    datetime.timedelta: lambda value: datetime.timedelta(value.days, value.seconds, value.microseconds),
    decimal.Decimal: decimal.Decimal,
    uuid.UUID: lambda value: uuid.UUID(int=value.int),
}


def plain_of(value: Any) -> Any:
    """An instance of a subclass of a plain type as an instance of that type; anything else as it is."""
    if type(value) in _PLAIN_OF_SUBCLASS or isinstance(value, enum.Enum):
        return value
    return next((plain(value) for kind, plain in _PLAIN_OF_SUBCLASS.items() if isinstance(value, kind)), value)


encoder: msgspec.msgpack.Encoder = msgspec.msgpack.Encoder(enc_hook=to_builtins)


def written_plainly(value: object) -> bytes | None:
    """The value's plain msgpack if a decode without a type gives an equal value back; None if something would be lost.

    Most untyped values are made of str, numbers, lists and dicts. To write, read and compare them runs in C and takes a
    tenth of the time of looking at each member here. What a plain decode loses is never equal to what it makes of it: a
    tuple is not a list, a Decimal not its text.
    """
    try:
        body = encoder.encode(value)
        return body if bool(_plain_decoder.decode(body) == value) else None
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None  # the slow path either writes it or says where the trouble is


_plain_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder()


def rewrite(value: object, *, mark: bool, depth: int) -> Any:
    """The value with sets in a stable order and, if ``mark``, with what a plain decode would lose as extensions.

    The same object if nothing changes.
    """
    kind = type(value)
    if kind in _SAFE:
        return value
    if kind is int:
        return _ext(_INTEGER, f"{value:x}") if mark and value not in _INT64 else value
    if depth > DEPTH_MAX:
        raise RecursionError(f"nested more than {DEPTH_MAX} levels deep")
    if isinstance(value, dict):
        return _rewrite_dict(cast(dict[object, object], value), mark, depth)
    if isinstance(value, (list, tuple)):
        old = cast(list[object], value)
        new = _rewrite_all(old, mark, depth)
        if mark and isinstance(value, tuple):
            return msgspec.msgpack.Ext(_TUPLE, encoder.encode(new))
        return old if all(map(operator.is_, old, new)) else new
    if isinstance(value, (set, frozenset)):
        members = cast(set[object], value)
        encoded = sorted(encoder.encode(rewrite(member, mark=mark, depth=depth + 1)) for member in members)
        body = encoder.encode([msgspec.Raw(member) for member in encoded])
        code = _SET if isinstance(value, set) else _FROZENSET
        return msgspec.msgpack.Ext(code, body) if mark else msgspec.Raw(body)
    if mark:
        for marked, writer in _WRITERS.items():
            if isinstance(value, marked):
                return writer(value)
        if is_model(value):
            from fencepost.payload import written_model  # it knows the types of the model's fields

            return written_model(value)
        if has_fields(value):
            from fencepost.payload import written_object

            if (written := written_object(value)) is not None:
                return written
    return _rewrite_fields(value, mark, depth)


def _rewrite_all(members: list[object], mark: bool, depth: int) -> list[Any]:
    return [m if type(m) in _SAFE else rewrite(m, mark=mark, depth=depth + 1) for m in members]


def _rewrite_dict(value: dict[object, object], mark: bool, depth: int) -> Any:
    """Keys that need marks (tuples, UUIDs, ...) cannot be keys as marks, so such a dict is written as its pairs.

    Without marks keys stay as they are: a type says what they become.
    """
    old = list(value.values())
    new = _rewrite_all(old, mark, depth)
    if mark:
        keys = [_rewrite_key(key, depth) for key in value]
        if not all(map(operator.is_, keys, value)):
            return msgspec.msgpack.Ext(PAIRS, encoder.encode(list(zip(keys, new, strict=True))))
    return value if all(map(operator.is_, old, new)) else dict(zip(value, new, strict=True))


def _rewrite_key(value: object, depth: int) -> Any:
    """Without a type an object would come back as a dict, which cannot be a key."""
    if field_names(value) or is_model(value):
        raise TypeError("without a type it comes back as a dict, which cannot be a key: annotate its class")
    return rewrite(value, mark=True, depth=depth + 1)


def _rewrite_fields(value: object, mark: bool, depth: int) -> Any:
    """A shallow copy of a Struct, dataclass or attrs object in which the fields that must change are replaced."""
    changed: dict[str, Any] = {}
    for name in field_names(value):
        old = getattr(value, name)
        new = rewrite(old, mark=mark, depth=depth + 1)
        if new is not old:
            changed[name] = new
    if not changed:
        return value
    twin = copy.copy(value)
    for name, new in changed.items():
        if isinstance(twin, msgspec.Struct):
            msgspec.structs.force_setattr(twin, name, new)
        else:
            object.__setattr__(twin, name, new)  # a frozen dataclass refuses plain assignment; the twin is ours alone
    return twin


def field_names(value: object) -> tuple[str, ...]:
    """The fields of a Struct, dataclass or attrs object; none for anything else (classes themselves included)."""
    kind = type(value)
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind) if hasattr(value, field.name))
    if (attributes := getattr(kind, "__attrs_attrs__", None)) is not None:
        return tuple(attribute.name for attribute in attributes)
    return ()


def unhashable(value: object) -> bool:
    """Whether it can be in no set."""
    try:
        hash(value)
    except TypeError:
        return True
    return False


def has_fields(value: object) -> bool:
    """Whether it is a Struct, dataclass or attrs object, be it one without fields."""
    kind = type(value)
    return isinstance(value, msgspec.Struct) or dataclasses.is_dataclass(kind) or hasattr(kind, "__attrs_attrs__")


def written_names(value: object) -> tuple[str, ...]:
    """What the fields of ``field_names`` are called where they are written."""
    return value.__struct_encode_fields__ if isinstance(value, msgspec.Struct) else field_names(value)


def _ext(code: int, text: str) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(code, text.encode())


def _text(code: int) -> Callable[[Any], Any]:
    return lambda value: _ext(code, msgspec.to_builtins(plain_of(value)))


def _write_datetime(value: datetime.datetime) -> Any:
    # An aware one has a msgpack type of its own (an instant); only a naive one would come back as text.
    value = plain_of(value)
    return value if value.tzinfo is not None else _ext(_DATETIME, value.isoformat())


_WRITERS: dict[type, Callable[[Any], Any]] = {
    decimal.Decimal: lambda value: _ext(_DECIMAL, str(plain_of(value))),
    uuid.UUID: lambda value: msgspec.msgpack.Ext(_UUID, value.bytes),
    datetime.datetime: _write_datetime,  # before date, its base
    datetime.date: _text(_DATE),
    datetime.time: _text(_TIME),
    datetime.timedelta: _text(_TIMEDELTA),
}


# --- reading --------------------------------------------------------------------------------------------------------

_READERS: dict[int, Callable[[memoryview], Any]] = {
    PAIRS: lambda data: _keyed(marked_decoder.decode(data)),
    _TUPLE: lambda data: tuple(marked_decoder.decode(data)),
    _SET: lambda data: _hashed(set, marked_decoder.decode(data)),
    _FROZENSET: lambda data: _hashed(frozenset, marked_decoder.decode(data)),
    _DECIMAL: lambda data: decimal.Decimal(str(data, "utf-8")),
    _UUID: lambda data: uuid.UUID(bytes=bytes(data)),
    _DATE: lambda data: msgspec.convert(str(data, "utf-8"), datetime.date),
    _TIME: lambda data: msgspec.convert(str(data, "utf-8"), datetime.time),
    _TIMEDELTA: lambda data: msgspec.convert(str(data, "utf-8"), datetime.timedelta),
    _DATETIME: lambda data: datetime.datetime.fromisoformat(str(data, "utf-8")),
    _INTEGER: lambda data: int(str(data, "ascii"), 16),
    TAGGED: lambda data: marked_decoder.decode(data)[1],
    MODEL: lambda data: _as_dict(Held(*marked_decoder.decode(data))),
    BOUNDED: lambda data: marked_decoder.decode(data)[1],
}


def _keyed(pairs: list[Any]) -> Any:
    """Objects are dicts here, which are no keys: they stay pairs."""
    try:
        return dict(pairs)
    except TypeError:
        return pairs


_NESTED: dict[int, Callable[[list[Any]], Any]] = {_TUPLE: tuple, _SET: set, _FROZENSET: frozenset}


def _hashed(make: Callable[[list[Any]], Any], members: list[Any]) -> Any:
    """Objects are dicts here, which no set holds: they stay a list, and the type makes both of it."""
    try:
        return make(members)
    except TypeError:
        return members


@dataclasses.dataclass(frozen=True, slots=True)
class Tagged:
    """A value with the name of its union's member."""

    name: str
    body: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """What a model holds. ``given``: the fields that were set (None: all of them)."""

    name: str
    fields: dict[str, Any]
    given: list[str] | None
    extra: dict[str, Any] | None
    private: dict[str, Any] | None


@dataclasses.dataclass(frozen=True, slots=True)
class Bounded:
    """What a deque with a bound holds."""

    bound: int
    members: list[Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Pairs:
    """The keys and values of a dict."""

    pairs: list[Any]


def _as_dict(held: Held) -> dict[str, Any]:
    return {**held.fields, **(held.extra or {})}


FORMS: dict[type[object], type[object]] = {
    Held: dict,
    Pairs: dict,
    Bounded: list,
    tuple: list,
    set: list,
    frozenset: list,
}
"""What would stand there if msgpack had a form for it."""


def form_of(tree: object) -> type[object]:
    """The class that what the decoder gave has in msgpack."""
    return FORMS.get(type(tree)) or type(tree)


def untold(tree: Any) -> Any:
    """What ``tagged_decoder`` made, as a reader without types sees it."""
    match tree:
        case Tagged(body=body):
            return untold(body)
        case Held():
            return untold(_as_dict(tree))
        case Bounded(members=members):
            return untold(members)
        case Pairs(pairs=pairs):
            return _keyed(untold(pairs))
        case dict():
            return {key: untold(member) for key, member in cast("dict[object, object]", tree).items()}
        case list():
            return [untold(member) for member in cast("list[object]", tree)]
        case tuple():
            return tuple(untold(member) for member in cast("tuple[object, ...]", tree))
        case set():
            return _hashed(set, [untold(member) for member in cast("set[object]", tree)])
        case frozenset():
            return _hashed(frozenset, [untold(member) for member in cast("frozenset[object]", tree)])
        case _:
            return tree


def _read_tagged(code: int, data: memoryview) -> Any:
    if code == MODEL:
        return Held(*tagged_decoder.decode(data))
    if code == BOUNDED:
        return Bounded(*tagged_decoder.decode(data))
    if code == PAIRS:
        return Pairs(tagged_decoder.decode(data))
    if (make := _NESTED.get(code)) is not None:
        return _hashed(make, tagged_decoder.decode(data))
    return Tagged(*tagged_decoder.decode(data)) if code == TAGGED else _read_marked(code, data)


def _read_marked(code: int, data: memoryview) -> Any:
    reader = _READERS.get(code)
    if reader is None:
        raise ValueError(f"unknown extension type {code}: written by a newer version")
    return reader(data)


marked_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(ext_hook=_read_marked)
tagged_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(ext_hook=_read_tagged)


def is_known(kind: type) -> bool:
    """Whether values of a class that msgspec does not know are read without a plan: ``object`` says as much as Any."""
    return kind is object


def is_model(value: object) -> bool:
    """Whether it is an instance of one of pydantic's models."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(value, pydantic.BaseModel)


def model_parts(value: Any) -> dict[str, Any]:
    """What a model holds: its fields, extra ones and private attributes."""
    return {**model_fields(value), **(value.__pydantic_extra__ or {}), **(value.__pydantic_private__ or {})}


def model_fields(value: Any) -> dict[str, Any]:
    """The fields of a model that have a value. A cached property stands beside them, and is none."""
    names: Iterable[str] = value.__class__.model_fields
    return {name: value.__dict__[name] for name in names if name in value.__dict__}


def from_builtins(kind: type, value: Any) -> Any:
    """What msgspec asks for a class that it does not know when decoding."""
    if isinstance(value, kind):
        return value
    raise TypeError(f"Expected `{kind.__qualname__}`, got `{type(value).__qualname__}`")
