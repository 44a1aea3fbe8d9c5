"""User values in the log: msgpack behind one codec byte, converted by type annotations, never pickle.

Two codecs. ``PLAIN`` is what msgspec makes of a value whose type says everything (a dataclass, ``list[Order]``,
``Decimal``): a Decimal is written as text, a UUID as text, and the type turns them back. ``MARKED`` is used where the
type leaves something open (``Any``, no annotation at all, ``dict[str, object]``): what a plain decode would lose
(tuple, set, Decimal, UUID, date, time, timedelta, naive datetime, integers beyond 64 bits) is marked by a msgpack
extension type, so that it comes back as itself. Dataclasses and other classes of the user's come back as themselves
only by annotation; under ``Any`` they come back as dicts.

Behind that byte's writer stand the codecs of ``payload_codecs``: what is configured there compresses and encrypts, and
limits count what is stored.

Stated: an aware datetime comes back as the same instant in UTC, and ``fold`` is not kept. Dicts keep their order. Sets
are written in the order of their encoded members, so that equal sets have equal bytes in every process.
"""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import msgspec
import msgspec.inspect

from fencepost import payload_check as checks
from fencepost import payload_codecs
from fencepost import payload_marks as marks
from fencepost import payload_places as places
from fencepost import payload_walk as walk
from fencepost.errors import PayloadCodecMissing, PayloadError, PayloadKeyMissing, PayloadTooLarge, PayloadUnreadable
from fencepost.payload_plans import Planner, starred
from fencepost.payload_unions import Leaf, Node, NoMember

__all__ = [
    "PayloadCodecMissing",
    "PayloadError",
    "PayloadKeyMissing",
    "PayloadTooLarge",
    "PayloadUnreadable",
    "decode",
    "encode",
]

PLAIN = b"\x02"
MARKED = b"\x03"


def encode(value: object, as_type: object = Any, *, path: str = "", limit: int | None = None) -> bytes:
    """The value in bytes, codec byte first. ``path`` is what error messages call the value; ``limit`` is in bytes.

    Raises PayloadError (naming the path inside the value) and PayloadTooLarge.
    """
    body, marked = encode_body(value, as_type, path)
    return stored(body, marked, limit, path or "value")


def stored(body: bytes, marked: bool, limit: int | None, path: str) -> bytes:
    """What ``encode_body`` made, as it goes into the log: codec byte, then the codecs in force, then the limit."""
    data = payload_codecs.current().coded((MARKED if marked else PLAIN) + body)
    check_size(data, limit, path)
    return data


def opened(data: bytes, path: str) -> bytes:
    """The reverse: PLAIN or MARKED and the body. Raises PayloadKeyMissing, PayloadCodecMissing, PayloadError."""
    if data[:1] != payload_codecs.CODED:
        return data
    try:
        return payload_codecs.current().opened(data)
    except PayloadUnreadable:
        raise
    except PayloadError as error:
        raise PayloadError(f"{path or 'value'}: {error}") from error.__cause__


def decode(data: bytes, as_type: object = Any, *, path: str = "") -> Any:
    """The value that ``encode`` was given, as the type asks.

    Raises PayloadError naming path, the expected type and what is there.
    """
    data = opened(data, path)
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
            f"{path}: its encoding has {len(data):,} bytes, the limit is {limit:,}: "
            "store it elsewhere and pass a reference, or raise payload_bytes_max",
            size=len(data),
            limit=limit,
        )


def encode_body(value: object, as_type: Any, path: str) -> tuple[bytes, bool]:
    """The msgpack of the value without a codec byte, and whether it is MARKED. For records that hold several values.

    What is returned can be read again as the type. Raises PayloadError for a value that does not fit it.
    """
    kind = type(value)
    if kind is as_type and kind in checks.AT_ONCE:
        try:
            return marks.encoder.encode(value), False
        except _UNREADABLE:
            pass  # an int beyond 64 bits, half of a surrogate pair: told below
    codec = codec_of(as_type, path)
    if as_type is Any and (body := marks.written_plainly(value)) is not None:
        return body, False
    try:
        body, marked = _written(codec, value, path, as_type)
    except PayloadError as refusal:
        value = checks.turned_or_raise(value, as_type, refusal)
        body, marked = _written(codec, value, path, as_type)
    try:
        again = _read(codec, as_type, body, marked)
    except _UNREADABLE as error:
        value, body, marked, again = _turned(codec, as_type, value, path, error)
    if not codec.opaque and _equal(again, value):
        return body, marked
    changed = checks.difference(value, again)
    if changed is not None:
        raise PayloadError(
            f"{path + changed or 'value'}: would come back from the log as another value, by its annotation"
            f" {places.type_name(as_type)}: "
            f"{places.way_out_of_change(*walk.part_at(value, as_type, changed))}"
        )
    return body, marked


def _written(codec: Codec, value: object, path: str, kind: object) -> tuple[bytes, bool]:
    try:
        return _encoded(codec, value)
    except NoMember as error:
        raise PayloadError(f"{path + error.where or 'value'}: {error}") from error
    except _UNREADABLE as error:
        part, _, at, trouble = _innermost(value, kind, path, error, written=False)
        where, reason = places.locate(part, at, trouble, codec.open)
        raise PayloadError(f"{where or 'value'}: {reason}") from error


def _encoded(codec: Codec, value: object) -> tuple[bytes, bool]:
    if codec.plan is not None:
        return marks.encoder.encode(codec.plan.write(value)), True
    if codec.open:
        if (body := marks.written_plainly(value)) is not None:
            return body, False
        return marks.encoder.encode(marks.rewrite(value, mark=True, depth=0)), True
    if codec.sets:
        return marks.encoder.encode(marks.rewrite(value, mark=False, depth=0)), False
    return marks.encoder.encode(value), False


def _turned(
    codec: Codec, as_type: object, value: object, path: str, error: Exception
) -> tuple[object, bytes, bool, object]:
    """What does not fit as it is, as the type wants it: the value, its bytes and what they are read as. Raises
    PayloadError naming the innermost part that does not fit.
    """
    turned = checks.conformed(value, as_type)
    if turned is not value:
        body, marked = _written(codec, turned, path, as_type)
        try:
            return turned, body, marked, _read(codec, as_type, body, marked)
        except _UNREADABLE as still:
            error = still
    _, kind, where, reason = _innermost(turned, as_type, path, error, written=True)
    raise PayloadError(f"{where or 'value'}: {places.unfit(reason, kind)}") from error


def _innermost(
    value: object, kind: object, path: str, error: Exception, *, written: bool
) -> tuple[object, object, str, Exception]:
    """The innermost part of what could not be read, or (not ``written``) be written, by its annotation, as far as
    annotations lead there: the part, its type, its path and what is wrong with it.
    """
    for _ in range(marks.DEPTH_MAX):
        for part in walk.parts(value, kind):
            trouble = _trouble_of(part, written=written)
            if trouble is not None:
                value, kind, path, error = part.value, part.kind, path + part.suffix, trouble
                break
        else:
            break
    return value, kind, path, error


def _trouble_of(part: walk.Part, *, written: bool) -> Exception | None:
    """What is wrong with a part of what was written, or else could not be."""
    try:
        codec = codec_of(part.kind)
        body, marked = _encoded(codec, part.value)
        if written:
            _read(codec, part.kind, body, marked)
    except PayloadError:
        return None  # its type is one only inside the whole
    except _UNREADABLE as error:
        return error
    return None


def written_model(value: object) -> Any:
    """A model that stands where no type is said. Raises as the plan of its class does."""
    plan = codec_of(type(value)).plan
    assert plan is not None, "models are written by plan"
    return plan.write(value)


def written_object(value: object) -> Any:
    """An object that stands where no type is said, if it has a part that msgspec does not take (a union, whose member's
    name whoever reads it with the type needs); None for any other, and for one that is not as its class says.
    """
    try:
        plan = codec_of(type(value)).plan
        return None if plan is None else plan.write(value)
    except (PayloadError, NoMember):
        return None


def _equal(again: object, value: object) -> bool:
    try:
        return bool(again == value)
    except Exception:  # noqa: BLE001 - whatever a class's own __eq__ raises: the fields are compared then
        return False


def decode_body(body: bytes | memoryview, as_type: object, marked: bool, path: str) -> Any:
    """The reverse of ``encode_body``."""
    codec = codec_of(as_type, path)
    try:
        if codec.plan is None and not marked:
            return codec.decoder.decode(body)
        return _read(codec, as_type, body, marked)
    except _UNREADABLE as error:
        raise PayloadError(places.mismatch(error, as_type, path)) from error


def _read(codec: Codec, as_type: object, body: bytes | memoryview, marked: bool) -> Any:
    if codec.plan is not None:
        return codec.plan.read(marks.tagged_decoder.decode(body))
    if not marked:
        return codec.decoder.decode(body)
    return msgspec.convert(marks.marked_decoder.decode(body), cast(Any, as_type), dec_hook=marks.from_builtins)


_UNREADABLE = (msgspec.DecodeError, TypeError, ValueError, OverflowError, RecursionError)


@dataclasses.dataclass(frozen=True, slots=True)
class Codec:
    """What is known of a type. ``open``: some position is untyped; ``sets``: it has sets but nothing open; ``opaque``:
    it has a class that is not made of its fields alone; ``plan``: it has a part that msgspec does not take, and
    ``names``: a union whose members need their names."""

    decoder: msgspec.msgpack.Decoder[Any]
    open: bool
    sets: bool
    opaque: bool = False
    plan: Node | None = None
    names: bool = False


_codecs: dict[object, Codec] = {}


def codec_of(as_type: object, path: str = "") -> Codec:
    """The cached codec of a type. Raises PayloadError if there is no way to decode it, before anything is recorded."""
    try:
        found = _codecs.get(as_type)
    except TypeError:  # an annotation that cannot be hashed, such as Annotated[int, []]: not cached
        return _build_codec(as_type, path)
    if found is None:
        found = _codecs[as_type] = _build_codec(as_type, path)
    return found


def _build_codec(as_type: object, path: str) -> Codec:
    try:
        return _plain_codec(as_type)
    except Exception as error:  # noqa: BLE001 - evaluating the annotations of classes raises whatever they say
        refusal: Exception = error
    if isinstance(refusal, (TypeError, RecursionError, KeyError)):
        try:
            planner = Planner(lambda kind: Leaf(kind, _plain_codec(kind).open))
            plan = planner.node(as_type)
            return Codec(_any_decoder, open=False, sets=False, opaque=True, plan=plan, names=planner.names)
        except Exception as error:  # noqa: BLE001 - as above
            refusal = error
    raise PayloadError(
        f"{path or 'value'}: there is no way to decode the type {places.type_name(as_type)} ({refusal}): "
        f"{places.way_out_of(as_type)}"
    ) from refusal


def _plain_codec(as_type: object) -> Codec:
    """Of a type that msgspec knows. Raises TypeError, ValueError, NameError for others."""
    decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(cast(Any, as_type), dec_hook=marks.from_builtins)
    holds = _types_in(msgspec.inspect.type_info(as_type))
    if starred(as_type, (getattr(info, "cls", None) for info in holds)):
        raise TypeError("msgspec takes a part of any length for one member of the tuple")
    for info in holds:
        if isinstance(info, msgspec.inspect.CustomType) and not marks.is_known(info.cls):
            raise TypeError(f"no codec for the class {places.type_name(info.cls)}")
        if isinstance(info, msgspec.inspect.DataclassType) and _hidden_fields(info.cls):
            raise TypeError(f"{places.type_name(info.cls)} has private attributes, which msgspec would leave out")
    kinds = {type(info) for info in holds}
    untyped = any(isinstance(info, msgspec.inspect.CustomType) and info.cls is object for info in holds)
    opaque = any(_is_opaque(info) for info in holds)
    return Codec(decoder, open=untyped or bool(kinds & _OPEN), sets=bool(kinds & _SETS), opaque=opaque)


def _is_opaque(info: object) -> bool:
    """Whether a class does something where it is read, or says by itself what is equal."""
    if isinstance(info, msgspec.inspect.CustomType):
        return info.cls is not object
    cls: Any = getattr(info, "cls", None)
    if cls is None:
        return False
    if any(hasattr(cls, name) for name in ("__post_init__", "__attrs_post_init__")):
        return True
    if isinstance(info, msgspec.inspect.DataclassType) and dataclasses.is_dataclass(cls):
        own = "__eq__" in cls.__dict__ and not cast(Any, cls).__dataclass_params__.eq
        return own or not all(field.compare and field.init for field in dataclasses.fields(cls))
    return isinstance(info, msgspec.inspect.DataclassType)


def _hidden_fields(cls: Any) -> bool:
    """Whether an attrs class has attributes that begin with _: msgspec reads them and does not write them."""
    return any(attribute.name.startswith("_") for attribute in getattr(cls, "__attrs_attrs__", ()))


_any_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder()
_OPEN: frozenset[type] = frozenset({msgspec.inspect.AnyType})
_SETS: frozenset[type] = frozenset({msgspec.inspect.SetType, msgspec.inspect.FrozenSetType})


def _types_in(root: msgspec.inspect.Type) -> list[object]:
    """All types that a value of this type may hold. Types may refer to themselves."""
    seen: set[int] = set()
    found: list[object] = []
    stack: list[object] = [root]
    while stack:
        info = stack.pop()
        if isinstance(info, tuple):
            stack.extend(cast(tuple[object, ...], info))
            continue
        if not isinstance(info, (msgspec.inspect.Type, msgspec.inspect.Field)) or id(info) in seen:
            continue
        seen.add(id(info))
        found.append(info)
        stack.extend(getattr(info, name) for name in info.__struct_fields__)
    return found
