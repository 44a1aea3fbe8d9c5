"""Messages and tracebacks of recorded exceptions where values are encrypted, and texts that are cut."""

from __future__ import annotations

from typing import Any

import msgspec

from fencepost import payload, payload_codecs
from fencepost.records import Failure


def told(record: Failure) -> Failure:
    """The record with its message and traceback readable; where the key is missing, the message says which. Its causes
    and members are as they were. Never raises.
    """
    if record.sealed is None:
        return record
    try:
        message, trace = payload.decode(record.sealed, list[str], path="the error's message")
    except payload.PayloadKeyMissing as missing:
        return _with(record, message=f"<encrypted with key {missing.key!r}, which is not here>", sealed=None)
    except payload.PayloadCodecMissing as missing:
        return _with(record, message=f"<written by codec {missing.codec!r}, which is not here>", sealed=None)
    except (payload.PayloadError, ValueError) as error:
        return _with(record, message=f"<{error}>", sealed=None)
    return _with(record, message=message, traceback=trace, sealed=None)


def opened(error: Failure) -> Failure:
    """The whole tree readable; where the key is missing, its messages say so."""
    error = told(error)
    return _with(
        error,
        cause=None if error.cause is None else opened(error.cause),
        context=None if error.context is None else opened(error.context),
        exceptions=tuple(opened(member) for member in error.exceptions),
        held={name: opened(one) for name, one in error.held.items()},
    )


def sealed(record: Failure) -> Failure:
    """The reverse, with the codecs in force. What a codec does not take is left out: the error itself must be told."""
    try:
        data = payload.encode([record.message, record.traceback], list[str])
    except payload.PayloadError:
        return _with(record, message="<left out: the codec did not take it>", traceback="", sealed=None)
    return _with(record, message="", traceback="", sealed=data)


def as_recorded(failure: Failure, record: Failure) -> Failure:
    """Of an error whose class cannot be raised here (SystemExit in another process) only its record is left, which that
    process has written without a codec.
    """
    hides = payload_codecs.current().hides
    whole = _with(
        failure,
        type=record.type,
        message=record.message,
        traceback=record.traceback,
        frames=record.frames,
        bases=record.bases,
        args=None if hides else record.args,
        attributes={} if hides else record.attributes,
        typed=() if hides else record.typed,
        left_out=record.left_out,
        sealed=None,
    )
    return sealed(whole) if hides else whole


def cut(text: str, room: int) -> str:
    """The text without its middle, if it has more than ``room`` characters; it says so where it was cut."""
    if len(text) <= room:
        return text
    half = room // 2
    return f"{text[:half]}\n... {len(text) - 2 * half:,} characters left out ...\n{text[-half:]}"


def _with(record: Failure, **changes: Any) -> Failure:
    return msgspec.structs.replace(record, **changes)
