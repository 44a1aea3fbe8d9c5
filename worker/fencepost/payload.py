"""User values in the log: msgpack behind one codec byte, converted by type annotations, never pickle.

Two codecs. ``PLAIN`` is what msgspec makes of a value whose type says everything (a dataclass, ``list[Order]``, ``Decimal``): a Decimal is
written as text, a UUID as text, and the type turns them back. ``MARKED`` is used where the type leaves something open (``Any``, no annotation at
all, ``dict[str, object]``): what a plain decode would lose (tuple, set, Decimal, UUID, date, time, timedelta, naive datetime, integers beyond 64 bits) is
marked by a msgpack extension type, so that it comes back as itself. Dataclasses and other classes of the user's come back as themselves only by
annotation; under ``Any`` they come back as dicts.

Stated: an aware datetime comes back as the same instant in UTC. Dicts keep their order. Sets are written in the order of their encoded members,
so that equal sets have equal bytes in every process.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime
import decimal
import enum
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any, cast

import msgspec
import msgspec.inspect

from fencepost.errors import PayloadError, PayloadTooLarge

__all__ = ["PayloadError", "PayloadTooLarge", "decode", "encode"]

PLAIN = b"\x02"
MARKED = b"\x03"
DEPTH_MAX = 200
"""Deeper nesting is refused by name here, before the interpreter's own limit is near (1000 frames, shared with the user's)."""


def encode(value: object, as_type: object = Any, *, path: str = "", limit: int | None = None) -> bytes:
    """The value in bytes, codec byte first. ``path`` is what error messages call the value; ``limit`` is in bytes.

    Raises PayloadError (naming the path inside the value) and PayloadTooLarge.
    """
    body, marked = encode_body(value, as_type, path)
    data = (MARKED if marked else PLAIN) + body
    check_size(data, limit, path or "value")
    return data


def decode(data: bytes, as_type: object = Any, *, path: str = "") -> Any:
    """The value that ``encode`` was given, as the type asks. Raises PayloadError naming path, the expected type and what is there."""
    tag = data[:1]
    if tag != PLAIN and tag != MARKED:
        raise PayloadError(
            f"{path or 'value'}: the recorded payload starts with {tag!r}, which no codec of this version writes: "
            "it was written by a newer version, or is not a user value"
        )
    return decode_body(memoryview(data)[1:], as_type, tag == MARKED, path)


def check_size(data: bytes, limit: int | None, path: str) -> None:
    """Raise PayloadTooLarge if the encoding is longer than ``limit`` bytes (None: unbounded)."""
    if limit is not None and len(data) > limit:
        raise PayloadTooLarge(
            f"{path}: its encoding has {len(data):,} bytes, the limit is {limit:,}: store it elsewhere and pass a reference, "
            "or raise payload_bytes_max",
            size=len(data),
            limit=limit,
        )


def encode_body(value: object, as_type: object, path: str) -> tuple[bytes, bool]:
    """The msgpack of the value without a codec byte, and whether it is MARKED. For records that hold several values."""
    codec = codec_of(as_type, path)
    try:
        if codec.open:
            return _encoder.encode(_rewrite(value, mark=True, depth=0)), True
        if codec.sets:
            return _encoder.encode(_rewrite(value, mark=False, depth=0)), False
        return _encoder.encode(value), False
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        where, reason = _locate(value, path, error)
        raise PayloadError(f"{where or 'value'}: {reason}") from error


def decode_body(body: bytes | memoryview, as_type: object, marked: bool, path: str) -> Any:
    """The reverse of ``encode_body``."""
    codec = codec_of(as_type, path)
    try:
        if not marked:
            return codec.decoder.decode(body)
        return msgspec.convert(_marked_decoder.decode(body), cast(Any, as_type), dec_hook=_from_builtins)
    except (msgspec.DecodeError, TypeError, ValueError, OverflowError) as error:
        raise PayloadError(_mismatch(error, as_type, path)) from error


@dataclasses.dataclass(frozen=True, slots=True)
class Codec:
    """What is known of a type. ``open``: some position is untyped; ``sets``: it has sets but nothing open."""

    decoder: msgspec.msgpack.Decoder[Any]
    open: bool
    sets: bool


_codecs: dict[object, Codec] = {}


def codec_of(as_type: object, path: str = "") -> Codec:
    """The cached codec of a type. Raises PayloadError if msgspec has no way to decode it (before anything is recorded)."""
    try:
        found = _codecs.get(as_type)
    except TypeError:  # an annotation that cannot be hashed, such as Annotated[int, []]: not cached
        return _build_codec(as_type, path)
    if found is None:
        found = _codecs[as_type] = _build_codec(as_type, path)
    return found


def _build_codec(as_type: object, path: str) -> Codec:
    try:
        decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(cast(Any, as_type), dec_hook=_from_builtins)
        holds = _kinds_in(msgspec.inspect.type_info(as_type))
    except (TypeError, ValueError, NameError) as error:
        raise PayloadError(
            f"{path or 'value'}: values of type {type_name(as_type)} cannot be told apart when decoding ({error}): "
            "annotate one concrete type, or msgspec Structs with a tag"
        ) from error
    return Codec(decoder, open=bool(holds & _OPEN), sets=bool(holds & _SETS))


_OPEN: frozenset[type] = frozenset({msgspec.inspect.AnyType})
_SETS: frozenset[type] = frozenset({msgspec.inspect.SetType, msgspec.inspect.FrozenSetType})


def _kinds_in(root: msgspec.inspect.Type) -> set[type]:
    """The kinds of all types that a value of this type may hold. Types may refer to themselves."""
    seen: set[int] = set()
    kinds: set[type] = set()
    stack: list[object] = [root]
    while stack:
        info = stack.pop()
        if isinstance(info, tuple):
            stack.extend(cast(tuple[object, ...], info))
            continue
        if not isinstance(info, (msgspec.inspect.Type, msgspec.inspect.Field)) or id(info) in seen:
            continue
        seen.add(id(info))
        kinds.add(type(info))
        stack.extend(getattr(info, name) for name in info.__struct_fields__)
    return kinds


# --- writing ----------------------------------------------------------------------------------------------------------

_TUPLE, _SET, _FROZENSET, _DECIMAL, _UUID, _DATE, _TIME, _TIMEDELTA, _DATETIME, _INTEGER = range(1, 11)
_LEAVES = frozenset({str, int, float, bool, type(None), bytes})
_INT64 = range(-(2**63), 2**64)


def _to_builtins(value: Any) -> Any:
    """What msgspec asks for a class that it does not know: pydantic models are dumped, everything else is refused."""
    if (pydantic := sys.modules.get("pydantic")) is not None and isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="python")
    raise TypeError("no codec for this class")


_encoder = msgspec.msgpack.Encoder(enc_hook=_to_builtins)


def _rewrite(value: Any, *, mark: bool, depth: int) -> Any:
    """The value with sets in a stable order and, if ``mark``, with what a plain decode would lose as extensions. The same object if nothing changes."""
    kind = cast(type, type(value))
    if kind in _LEAVES:
        return msgspec.msgpack.Ext(_INTEGER, str(value).encode()) if mark and kind is int and value not in _INT64 else value
    if depth > DEPTH_MAX:
        raise RecursionError(f"nested more than {DEPTH_MAX} levels deep")
    if isinstance(value, dict):
        items = cast(dict[Any, Any], value).items()
        new = {_rewrite_key(k, mark, depth): _rewrite(v, mark=mark, depth=depth + 1) for k, v in items}
        return new
    if isinstance(value, (list, tuple)):
        members = [_rewrite(member, mark=mark, depth=depth + 1) for member in cast(list[Any], value)]
        return msgspec.msgpack.Ext(_TUPLE, _encoder.encode(members)) if mark and isinstance(value, tuple) else members
    if isinstance(value, (set, frozenset)):
        encoded = sorted(_encoder.encode(_rewrite(m, mark=mark, depth=depth + 1)) for m in cast(set[Any], value))
        body = _encoder.encode([msgspec.Raw(member) for member in encoded])
        code = _SET if isinstance(value, set) else _FROZENSET
        return msgspec.msgpack.Ext(code, body) if mark else msgspec.Raw(body)
    if mark and (writer := _WRITERS.get(kind)) is not None:
        return writer(value)
    return _rewrite_fields(value, mark=mark, depth=depth)


def _rewrite_key(key: Any, mark: bool, depth: int) -> Any:
    return key if type(key) in _LEAVES and type(key) is not int else _rewrite(key, mark=mark, depth=depth + 1)


def _rewrite_fields(value: Any, *, mark: bool, depth: int) -> Any:
    """A shallow copy of a Struct, dataclass or attrs object in which the fields that must change are replaced."""
    changed: dict[str, Any] = {}
    for name in _field_names(value):
        old = getattr(value, name)
        new = _rewrite(old, mark=mark, depth=depth + 1)
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


def _field_names(value: Any) -> tuple[str, ...]:
    kind = cast(type, type(value))
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if (fields := getattr(kind, "__dataclass_fields__", None)) is not None:
        return tuple(name for name in fields if hasattr(value, name))
    if (attributes := getattr(kind, "__attrs_attrs__", None)) is not None:
        return tuple(attribute.name for attribute in attributes)
    return ()


def _write_datetime(value: datetime.datetime) -> Any:
    # An aware one has a msgpack type of its own (an instant); only a naive one would come back as text.
    return value if value.tzinfo is not None else msgspec.msgpack.Ext(_DATETIME, value.isoformat().encode())


def _text(code: int) -> Callable[[Any], Any]:
    return lambda value: msgspec.msgpack.Ext(code, msgspec.to_builtins(value).encode())


_WRITERS: dict[type, Callable[[Any], Any]] = {
    decimal.Decimal: lambda value: msgspec.msgpack.Ext(_DECIMAL, str(value).encode()),
    uuid.UUID: lambda value: msgspec.msgpack.Ext(_UUID, value.bytes),
    datetime.date: _text(_DATE),
    datetime.time: _text(_TIME),
    datetime.timedelta: _text(_TIMEDELTA),
    datetime.datetime: _write_datetime,
}


# --- reading ----------------------------------------------------------------------------------------------------------

_READERS: dict[int, Callable[[memoryview], Any]] = {
    _TUPLE: lambda data: tuple(_marked_decoder.decode(data)),
    _SET: lambda data: set(_marked_decoder.decode(data)),
    _FROZENSET: lambda data: frozenset(_marked_decoder.decode(data)),
    _DECIMAL: lambda data: decimal.Decimal(str(data, "utf-8")),
    _UUID: lambda data: uuid.UUID(bytes=bytes(data)),
    _DATE: lambda data: msgspec.convert(str(data, "utf-8"), datetime.date),
    _TIME: lambda data: msgspec.convert(str(data, "utf-8"), datetime.time),
    _TIMEDELTA: lambda data: msgspec.convert(str(data, "utf-8"), datetime.timedelta),
    _DATETIME: lambda data: datetime.datetime.fromisoformat(str(data, "utf-8")),
    _INTEGER: lambda data: int(str(data, "utf-8")),
}


def _read_marked(code: int, data: memoryview) -> Any:
    reader = _READERS.get(code)
    if reader is None:
        raise ValueError(f"unknown extension type {code}: written by a newer version")
    return reader(data)


_marked_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(ext_hook=_read_marked)


def _from_builtins(kind: type, value: Any) -> Any:
    """What msgspec asks for a class that it does not know when decoding."""
    if (pydantic := sys.modules.get("pydantic")) is not None and issubclass(kind, pydantic.BaseModel):
        return cast(Any, kind).model_validate(value)
    if isinstance(value, kind):
        return value
    raise TypeError(f"Expected `{type_name(kind)}`, got `{type_name(cast(type, type(value)))}`")


# --- saying what is wrong ---------------------------------------------------------------------------------------------


def type_name(kind: object) -> str:
    """A type as people write it."""
    if isinstance(kind, type) and not hasattr(kind, "__origin__"):
        return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return str(kind).replace("typing.", "")


def _mismatch(error: Exception, as_type: object, path: str) -> str:
    """msgspec words it as "Expected `int`, got `str` - at `$.items[0]`"; the place goes to the front, the words stay."""
    words, _, place = str(error).rpartition(" - at `")
    where = f"{path}{place.rstrip('`').removeprefix('$')}" if words else path
    return (
        f"{where or 'value'}: the recorded value does not fit the expected type {type_name(as_type)}: {words or error}. "
        "Was it recorded by other code? Keep the old type readable (defaults for new fields), or give the changed code a new name"
    )


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, member in cast(dict[Any, Any], value).items():
            yield f"[key {key!r}]", key
            yield f"[{key!r}]", member
    elif isinstance(value, (list, tuple, set, frozenset)):
        for index, member in enumerate(cast(list[Any], value)):
            yield f"[{index}]", member
    else:
        for name in _field_names(value):
            yield f".{name}", getattr(value, name)


def _locate(value: Any, path: str, error: Exception) -> tuple[str, str]:
    """Where inside the value the trouble is, and what it is. Called on the way to an error only, so it may encode again."""
    on_way: set[int] = set()
    while len(on_way) < DEPTH_MAX:
        on_way.add(id(value))
        for suffix, child in _children(value):
            trouble = _trouble(child)
            if trouble is not None:
                if id(child) in on_way:
                    return path + suffix, "refers back to a value that contains it: pass ids instead of references"
                value, path, error = child, path + suffix, trouble
                break
        else:
            return path, _reason(value, error)
    return path, f"is nested more than {DEPTH_MAX} levels deep: flatten it, or pass a reference"


def _trouble(value: Any) -> Exception | None:
    try:
        _encoder.encode(_rewrite(value, mark=True, depth=0))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return error
    return None


_WAYS_OUT: dict[str, str] = {
    "pathlib": "pass str(path)",
    "_io": "pass the file's name or its content",
    "_thread": "create it where it is used",
}


def _reason(value: Any, error: Exception) -> str:
    kind = cast(type, type(value))
    if isinstance(error, OverflowError):
        return f"the integer {str(value)[:40]} does not fit 64 bits: annotate it as str, or leave it without a type"
    if isinstance(error, UnicodeError):
        return f"the text cannot be written as UTF-8 ({error}): pass bytes"
    if isinstance(error, RecursionError):
        return f"is nested more than {DEPTH_MAX} levels deep: flatten it, or pass a reference"
    if isinstance(value, enum.Enum):
        return f"{type_name(kind)} cannot be encoded: give its members str or int values"
    way_out = _WAYS_OUT.get(kind.__module__.partition(".")[0], "pass plain data: a dataclass, dict, list, str or number")
    return f"{type_name(kind)} cannot be encoded: {way_out} ({error})"
