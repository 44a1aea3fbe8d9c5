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
04 03  own      length of the codec's name (1 byte), name, what its ``encode`` made
04 04  needs    length of a codec's name (1 byte), name, the value: somewhere inside it is a value of that
                codec, so that who lacks the codec knows before he opens anything
=====  =======  =======================================================================================

The nonce is random, so equal values have different bytes: who compares values compares what ``opened`` returns. The id
of the run or step is no part of what is authenticated: the value is encoded before the run has one (``start`` with a
key may answer with another run), and the log's values may be copied into another run (a retry, an export). So whoever
can write to the database can put one value of yours in the place of another, but cannot make or read one.

Which codecs are in force is a context variable: a worker sets its own, a client sets its own for each call, and two
clients with different keys may live in one process. User code makes contexts in which it is not set (an empty
``contextvars.Context``, a thread of its own). So a live run holds the codecs of the worker that drives it, and
what is handed to a step's body holds them too.
"""

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from fencepost.errors import PayloadCodecMissing, PayloadError, PayloadKeyMissing, PayloadUnreadable

CODED = b"\x04"
"""First byte of a user value that a codec wrote."""
ZLIB = b"\x01"
AES_GCM = b"\x02"
OWN = b"\x03"
NEEDS = b"\x04"

ZLIB_BYTES_LEAST = 128
"""Shorter values do not get smaller by more than the code costs."""
ZLIB_LEVEL = 3
"""1 MiB of JSON takes about 10 ms in the worker's loop; level 6 takes three times that for a tenth less."""
OPENED_BYTES_MAX = 268_435_456
"""What a value may become when it is opened: four times the bound of payload_bytes_max. A longer one is not written,
and a stream that would grow beyond it is refused before it has filled the memory."""
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


class PayloadCodec(Protocol):
    """A codec of your own, named in ``payload_codecs`` as MODULE:NAME.

    ``name`` stands in each value that it writes: 1 to 40 letters, digits, ``_``, ``.`` or ``-``, never changed. Both
    methods run in the worker's event loop and in its threads: they compute, and wait for nothing. ``decode`` raises
    whatever it likes for what ``encode`` did not make. Equal values need not have equal bytes.
    """

    @property
    def name(self) -> str:
        """What the log calls the codec."""
        ...

    def encode(self, data: bytes, /) -> bytes:
        """A value as it is to be stored."""
        ...

    def decode(self, data: bytes, /) -> bytes:
        """The reverse of ``encode``."""
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
    """``chain``: names of what new values go through, in order. ``keys``: the first encrypts, any decrypts. ``own``:
    the codecs of the user's, by name; those that are not in the chain only read.
    """

    chain: tuple[str, ...] = ()
    keys: tuple[Key, ...] = ()
    own: Mapping[str, PayloadCodec] = field(default_factory=dict[str, PayloadCodec])

    @property
    def hides(self) -> bool:
        """True if new values may be unreadable without a key: they are encrypted, or go through a codec of which we do
        not know what it does.
        """
        return any(name != "zlib" for name in self.chain)

    def coded(self, data: bytes) -> bytes:
        """A value as it is stored."""
        if self.chain and len(data) > OPENED_BYTES_MAX:
            raise PayloadError(f"the value has {len(data):,} bytes, no codec takes more than {OPENED_BYTES_MAX:,}")
        inside: list[str] = []
        for name in self.chain:
            if name == "zlib":
                data = _compressed(data)
            elif name == "aes-gcm":
                data = _encrypted(data, self.keys[0])
            else:
                data = _named(OWN, name) + _by_own(self.own[name].encode, name, data)
                inside.append(name)
        outermost = data[:2] == CODED + OWN
        for name in inside[: len(inside) - outermost]:
            data = _named(NEEDS, name) + data
        return data

    def opened(self, data: bytes) -> bytes:
        """The reverse, whatever wrote it. Raises PayloadKeyMissing, PayloadCodecMissing, PayloadError."""
        for _ in range(NESTED_MAX):
            if data[:1] != CODED:
                return data
            data = self._peeled(data)
        raise PayloadError(f"the value was coded more than {NESTED_MAX} times: it was not written by fencepost")

    def _peeled(self, data: bytes) -> bytes:
        kind = data[1:2]
        if kind == ZLIB:
            return _decompressed(data[2:])
        if kind in (OWN, NEEDS):
            name, body = _name_and_body(data)
            codec = self.own.get(name)
            if codec is None:
                raise PayloadCodecMissing(name)
            return body if kind == NEEDS else _by_own(codec.decode, name, body)
        if kind != AES_GCM:
            raise PayloadError(f"the value was written by codec {kind.hex()!r}, which this version does not have")
        name, fingerprint, head = _head(data)
        key = self._key(name, fingerprint)
        nonce, body = data[head : head + NONCE_BYTES], data[head + NONCE_BYTES :]
        try:
            return key.cipher.decrypt(nonce, body, data[:head])
        except Exception as error:
            raise PayloadError(f"the value does not open with key {name!r}: it was altered or cut") from error

    def _key(self, name: str, fingerprint: bytes) -> Key:
        key = next((key for key in self.keys if (key.id, key.fingerprint) == (name, fingerprint)), None)
        if key is None:
            raise PayloadKeyMissing(name, other=any(key.id == name for key in self.keys))
        return key

    def check(self, data: bytes) -> None:
        """Raise PayloadKeyMissing or PayloadCodecMissing if the heads of a value name what is not here. Decrypts
        nothing; what is damaged is for the reader to say.
        """
        try:
            while data[:1] == CODED:
                kind = data[1:2]
                if kind == AES_GCM:
                    self._key(*_head(data)[:2])
                    return
                if kind == ZLIB:
                    data = _decompressed(data[2:])
                    continue
                name, body = _name_and_body(data)
                if name not in self.own:
                    raise PayloadCodecMissing(name)
                if kind == OWN:
                    return
                data = body
        except PayloadUnreadable:
            raise
        except PayloadError:
            return


coding: ContextVar[bool] = ContextVar("fencepost_coding", default=False)
"""True while a codec of the user's is at work: it draws its nonces from the system, where workflow code does not."""

NONE = Codecs()
"""Values are written as they are, and none that is encrypted can be read."""

_current: ContextVar[Codecs] = ContextVar("fencepost_payload_codecs", default=NONE)
_put_in_force: list[Codecs] = []
"""The first that were ever in force in this process, if any were."""


def current() -> Codecs:
    """The codecs in force here. While a workflow's loop runs, its worker's, whatever context its code asks from."""
    if not _put_in_force:  # the rule, and asked several times per step
        return NONE
    run: Any = getattr(asyncio._get_running_loop(), "fencepost_instance", None)
    codecs: Codecs = _current.get() if run is None else run.codecs
    return codecs


def install(codecs: Codecs) -> None:
    """Put codecs in force in this context and all tasks that are started from it."""
    _noted(codecs)
    _current.set(codecs)


@contextmanager
def using(codecs: Codecs) -> Generator[None]:
    """Codecs for the statements inside."""
    _noted(codecs)
    token = _current.set(codecs)
    try:
        yield
    finally:
        _current.reset(token)


def _noted(codecs: Codecs) -> None:
    if not _put_in_force and codecs != NONE:
        _put_in_force.append(codecs)


def lacking(payload: bytes, codecs: Codecs) -> PayloadUnreadable | None:
    """What is needed to read the user values in an event's payload, bare or in a record, and is not there; None if all
    is there.
    """
    if payload[:1] == CODED:
        return _lacking(payload, codecs)
    if payload[:1] != b"\x01" or CODED not in payload:
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
        elif isinstance(item, bytes) and (found := _lacking(item, codecs)) is not None:
            return found
    return None


def _lacking(data: bytes, codecs: Codecs) -> PayloadUnreadable | None:
    try:
        codecs.check(data)
    except PayloadUnreadable as error:
        return error
    return None


def _named(kind: bytes, name: str) -> bytes:
    told = name.encode("ascii")
    return CODED + kind + bytes([len(told)]) + told


def _name_and_body(data: bytes) -> tuple[str, bytes]:
    """The codec's name and what stands behind it."""
    end = 3 + data[2] if len(data) > 2 else 3
    if data[1:2] not in (OWN, NEEDS) or not 3 < end <= len(data):
        raise PayloadError("the coded value is cut, or was written by a newer version")
    return data[3:end].decode("ascii", "replace"), data[end:]


def _by_own(method: Callable[[bytes], object], name: str, data: bytes) -> bytes:
    """What a codec of the user's makes of the data; whatever goes wrong in it is told with its name."""
    token = coding.set(True)
    try:
        made = method(data)
    except Exception as error:
        raise PayloadError(f"the codec {name!r} raised {type(error).__qualname__}: {error}") from error
    finally:
        coding.reset(token)
    if not isinstance(made, bytes):
        raise PayloadError(f"the codec {name!r} returned {type(made).__qualname__}, must return bytes")
    if len(made) > OPENED_BYTES_MAX:
        raise PayloadError(f"the codec {name!r} returned {len(made):,} bytes, the limit is {OPENED_BYTES_MAX:,}")
    return made


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
