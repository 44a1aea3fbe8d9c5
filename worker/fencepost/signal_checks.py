"""What the parameters of hooks, signals and answers may be: pure checks, the same for workflows, clients and webhooks.

Each message names the field, the value, the bound and the way out.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from fencepost import payload
from fencepost.durations import plain_seconds
from fencepost.errors import ArgumentError, PayloadError
from fencepost.signal_errors import BadSignal

TOKEN_BYTES_MAX = 1_024
"""Of a token or a delivery id: they stand in indexes."""

WAIT_SECONDS_MAX = 86_400.0
"""A sender that waits longer for a hook should keep the signal itself."""

STREAM_START_MAX = 2**62
"""Indexes are 64 bits wide in Postgres, and one is added to them."""

BODYLESS = frozenset({204, 205, 304})
"""HTTP statuses of answers that have no body."""


def text_problem(field: str, value: object) -> str | None:
    """Why the value can be no token and no delivery id; None: it can."""
    if not isinstance(value, str):
        return f"{field}={value!r}: must be text, not {type(value).__name__}; use str(...)"
    if not value:
        return f"{field}='': must not be empty; give a name, or leave it out"
    if "\0" in value:
        return f"{field}={value!r}: contains a NUL character, which Postgres cannot store; take it out"
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return f"{field}={value!r}: contains a lone surrogate, which is no character; decode the text properly first"
    if size > TOKEN_BYTES_MAX:
        return f"{field} has {size} bytes, at most {TOKEN_BYTES_MAX} are allowed; use a hash of it"
    return None


def check_text(field: str, value: object) -> None:
    """Raise ArgumentError for another type, BadSignal for a text that cannot be kept."""
    problem = text_problem(field, value)
    if problem is not None:
        raise (BadSignal if isinstance(value, str) else ArgumentError)(problem)


def seconds_of(field: str, value: object, bound: float, why: str) -> float:
    """A duration, above 0 and at most ``bound`` seconds. Raises ArgumentError, BadSignal."""
    try:
        seconds = plain_seconds(value, field)
    except TypeError as error:
        raise ArgumentError(str(error)) from None
    except ValueError as error:
        raise BadSignal(str(error)) from None
    if not 0 < seconds <= bound:
        raise BadSignal(f"{field}={value!r}: must be more than 0 and at most {bound:g} s, {why}")
    return seconds


def check_start(start: object) -> None:
    """The index that a stream is read from. Raises ArgumentError, BadSignal."""
    if isinstance(start, bool) or not isinstance(start, int):
        raise ArgumentError(f"start={start!r}: must be an int, not {type(start).__name__}: the index of a chunk")
    if not -STREAM_START_MAX <= start <= STREAM_START_MAX:
        raise BadSignal(
            f"start={start}: must be between {-STREAM_START_MAX} and {STREAM_START_MAX}; 0 is the first chunk, -1 the"
            " last one there is"
        )


def answer_of(token: str, value: object, status: object) -> bytes:
    """An answer as it is recorded. Raises BadSignal for a status that is none, PayloadError for what is no JSON: then
    its sender would get something else than what was said."""
    if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599:
        raise BadSignal(f"hook {token!r}: status={status!r} is no status of an answer: give an int from 200 to 599")
    if value is not None and status in BODYLESS:
        raise BadSignal(f"hook {token!r}: an answer of status {status} has no body: leave the value out, or answer 200")
    data = payload.encode(value, path=f"answer of hook {token!r}")
    plain: Any = payload.decode(data, path=f"answer of hook {token!r}")
    if isinstance(plain, bytes):
        return data
    problem = _no_json(plain, "")
    if problem is None:
        try:
            msgspec.json.encode(plain, enc_hook=str)
        except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
            problem = str(error)
    if problem is not None:
        raise PayloadError(f"answer of hook {token!r}{problem}: it is sent as JSON; answer what JSON holds, or bytes")
    return data


def _no_json(value: Any, path: str) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return f"{path}: {value!r} is no JSON number"
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    elif isinstance(value, (list, tuple, set, frozenset)):
        items = enumerate(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    for key, item in items:
        found = _no_json(item, f"{path}[{key!r}]")
        if found is not None:
            return found
    return None
