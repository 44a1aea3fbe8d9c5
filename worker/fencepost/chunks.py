"""A stream's chunk in bytes and back: a user value like any other, but that bytes stay as they are behind their codec
byte. Compression and encryption go around either.
"""

from __future__ import annotations

from typing import Any, cast

from fencepost import payload, payload_codecs
from fencepost.errors import PayloadError

RAW = b"\x06"
"""First byte of a chunk that is bytes."""

_BYTES: dict[object, type[bytes] | type[bytearray] | type[memoryview]] = {
    bytes: bytes,
    bytearray: bytearray,
    memoryview: memoryview,
}


def plain(value: object, as_type: object, path: str) -> bytes:
    """The value without the codecs in force. Raises PayloadError naming the path inside the value."""
    if type(value) in _BYTES and (as_type is Any or as_type in _BYTES):
        return RAW + cast(bytes, value)
    body, marked = payload.encode_body(value, as_type, path)
    return (payload.MARKED if marked else payload.PLAIN) + body


def coded(data: bytes, limit: int, path: str, codecs: payload_codecs.Codecs | None = None) -> bytes:
    """What ``plain`` made, as it is stored. Raises PayloadTooLarge, ``limit`` in bytes."""
    stored = (codecs or payload_codecs.current()).coded(data)
    payload.check_size(stored, limit, path)
    return stored


def decode(data: bytes, as_type: object, path: str) -> Any:
    """The chunk as the type asks. Raises PayloadError, PayloadKeyMissing."""
    data = payload.opened(data, path)
    if data[:1] != RAW:
        return payload.decode(data, as_type, path=path)
    if as_type is Any:
        return data[1:]
    if as_type in _BYTES:
        return _BYTES[as_type](cast(Any, data[1:]))
    raise PayloadError(f"{path}: bytes were written, and {as_type!r} is what they are to be read as")
