"""Compression and encryption of user values: what stands between their msgpack and the log.

A coded value is ``CODED``, the number of one codec, what that codec needs to know, and its output; codecs that act one
after the other nest. So every value says for itself how it is read, whatever is configured today: the configured chain
decides only how new values are written. A value that begins with another byte is as ``payload`` wrote it.

=====  =======  =======================================================================================
byte   codec    then
=====  =======  =======================================================================================
04 01  zlib     a zlib stream; left out where the value would not get smaller
04 02  aes-gcm  length of the key id (1 byte), key id, 4 bytes of the key's fingerprint, nonce (12 bytes),
                ciphertext with its tag (16 bytes). What stands before the ciphertext is authenticated too.
=====  =======  =======================================================================================

The nonce is random, so equal values have different bytes: who compares values compares what ``opened`` returns. The id
of the run or step is no part of what is authenticated: the value is encoded before the run has one (``start`` with a
key may answer with another run), and the log's values may be copied into another run (a retry, an export). So whoever
can write to the database can put one value of yours in the place of another, but cannot make or read one.

Which codecs are in force is a context variable: a worker sets its own, a client sets its own for each call, and two
clients with different keys may live in one process.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, cast

from fencepost.errors import PayloadError, PayloadKeyMissing

CODED = b"\x04"
"""First byte of a user value that a codec wrote."""
ZLIB = b"\x01"
AES_GCM = b"\x02"

ZLIB_BYTES_LEAST = 128
"""Shorter values do not get smaller by more than the code costs."""
ZLIB_LEVEL = 3
"""1 MiB of JSON takes about 10 ms in the worker's loop; level 6 takes three times that for a tenth less."""
OPENED_BYTES_MAX = 268_435_456
"""What a value may become when it is opened: the upper bound of payload_bytes_max. A longer one is not written, and a
stream that would grow beyond it is refused before it has filled the memory."""
NESTED_MAX = 8
FINGERPRINT_BYTES = 4
NONCE_BYTES = 12
TAG_BYTES = 16


class Cipher(Protocol):
    """AES-GCM under one key, as the package ``cryptography`` has it."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Ciphertext and tag."""
        ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """The reverse. Raises an exception of its own if anything was altered."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """One key. ``fingerprint``: tells two keys under one id apart; it does not tell the key."""

    id: str
    fingerprint: bytes
    cipher: Cipher

    def __repr__(self) -> str:
        return f"<key {self.id!r}>"


@dataclass(frozen=True, slots=True)
class Codecs:
    """``chain``: what new values go through, in order. ``keys``: the first encrypts, any decrypts."""

    chain: tuple[str, ...] = ()
    keys: tuple[Key, ...] = ()

    @property
    def encrypts(self) -> bool:
        """True if new values are encrypted."""
        return "aes-gcm" in self.chain

    def coded(self, data: bytes) -> bytes:
        """A value as it is stored."""
        if self.chain and len(data) > OPENED_BYTES_MAX:
            raise PayloadError(f"the value has {len(data):,} bytes, no codec takes more than {OPENED_BYTES_MAX:,}")
        for name in self.chain:
            data = _compressed(data) if name == "zlib" else _encrypted(data, self.keys[0])
        return data

    def opened(self, data: bytes) -> bytes:
        """The reverse, whatever wrote it. Raises PayloadKeyMissing, PayloadError."""
        for _ in range(NESTED_MAX):
            if data[:1] != CODED:
                return data
            data = self._peeled(data)
        raise PayloadError(f"the value was coded more than {NESTED_MAX} times: it was not written by fencepost")

    def _peeled(self, data: bytes) -> bytes:
        kind = data[1:2]
        if kind == ZLIB:
            return _decompressed(data[2:])
        if kind != AES_GCM:
            raise PayloadError(f"the value was written by codec {kind.hex()!r}, which this version does not have")
        name, fingerprint, head = _head(data)
        key = next((key for key in self.keys if (key.id, key.fingerprint) == (name, fingerprint)), None)
        if key is None:
            raise PayloadKeyMissing(name, other=any(key.id == name for key in self.keys))
        nonce, body = data[head : head + NONCE_BYTES], data[head + NONCE_BYTES :]
        try:
            return key.cipher.decrypt(nonce, body, data[:head])
        except Exception as error:
            raise PayloadError(f"the value does not open with key {name!r}: it was altered or cut") from error


NONE = Codecs()
"""Values are written as they are, and none that is encrypted can be read."""

_current: ContextVar[Codecs] = ContextVar("fencepost_payload_codecs", default=NONE)


def current() -> Codecs:
    """The codecs in force here."""
    return _current.get()


def install(codecs: Codecs) -> None:
    """Put codecs in force in this context and all tasks that are started from it."""
    _current.set(codecs)


def carry_into(context: Context) -> None:
    """Put the codecs in force here in force there."""
    context.run(_current.set, _current.get())


@contextmanager
def using(codecs: Codecs) -> Generator[None]:
    """Codecs for the statements inside."""
    token = _current.set(codecs)
    try:
        yield
    finally:
        _current.reset(token)


def key_missing_in(payload: bytes, codecs: Codecs) -> str | None:
    """The id of a key that is needed to read the user values in an event's payload, bare or in a record, and is not
    there; None if all are there.
    """
    if payload[:1] == CODED:
        return _missing(payload, codecs)
    if payload[:1] != b"\x01" or (CODED + AES_GCM not in payload and CODED + ZLIB not in payload):
        return None
    import msgspec

    try:
        record: object = msgspec.msgpack.decode(memoryview(payload)[1:])
    except msgspec.DecodeError:
        return None
    stack = [record]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(cast(dict[Any, object], item).values())
        elif isinstance(item, list):
            stack.extend(cast(list[object], item))
        elif isinstance(item, bytes) and (missing := _missing(item, codecs)) is not None:
            return missing
    return None


def _missing(data: bytes, codecs: Codecs) -> str | None:
    try:
        if data[:2] == CODED + AES_GCM:
            name, fingerprint, _ = _head(data)
            known = any((key.id, key.fingerprint) == (name, fingerprint) for key in codecs.keys)
            return None if known else name
        if data[:2] == CODED + ZLIB:
            return _missing(_decompressed(data[2:]), codecs)
    except PayloadError:
        return None  # it is for the reader to say
    return None


def _head(data: bytes) -> tuple[str, bytes, int]:
    """Key id, fingerprint, and where the nonce begins."""
    end = 3 + data[2] if len(data) > 2 else 3
    head = end + FINGERPRINT_BYTES
    if len(data) < head + NONCE_BYTES + TAG_BYTES:
        raise PayloadError("the encrypted value is cut")
    return data[3:end].decode("ascii", "replace"), data[end:head], head


def _encrypted(data: bytes, key: Key) -> bytes:
    name = key.id.encode("ascii")
    head = CODED + AES_GCM + bytes([len(name)]) + name + key.fingerprint
    nonce = os.urandom(NONCE_BYTES)
    return head + nonce + key.cipher.encrypt(nonce, data, head)


def _compressed(data: bytes) -> bytes:
    if len(data) < ZLIB_BYTES_LEAST:
        return data
    smaller = CODED + ZLIB + zlib.compress(data, ZLIB_LEVEL)
    return smaller if len(smaller) < len(data) else data


def _decompressed(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        found = stream.decompress(data, OPENED_BYTES_MAX)
    except zlib.error as error:
        raise PayloadError(f"the compressed value cannot be read: {error}") from error
    if not stream.eof:
        raise PayloadError(f"the compressed value is cut, or holds more than {OPENED_BYTES_MAX:,} bytes")
    return found
