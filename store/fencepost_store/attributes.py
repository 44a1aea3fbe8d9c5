"""The attributes of a run: short texts under names, by which runs are looked up and which are shown with them.

An attributes_set event's payload is the store's business, and nobody else's is: the append that lands the event changes
``run_attributes`` in the same transaction, so it must read what changes. It is one tag byte and a JSON object, which
Postgres reads without help: a name with its text, or with null where the attribute goes. What the texts mean (types) is
the worker's business.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

ATTRIBUTES_TAG = b"\x05"
"""First byte of such a payload; other codecs have the numbers below."""

NAME_BYTES_MAX = 64
TEXT_BYTES_MAX = 512
"""Of a name, and of a text: both stand in an index, whose entries Postgres limits to 2,704 bytes."""

Changes = Mapping[str, str | None]

_decoder = msgspec.json.Decoder(dict[str, str | None])


def packed(changes: Changes) -> bytes:
    """The changes as an event's payload."""
    return ATTRIBUTES_TAG + msgspec.json.encode(dict(changes))


def changes_in(payload: bytes) -> dict[str, str | None]:
    """The changes in an event's payload. Raises ValueError for a payload that ``packed`` did not make."""
    if payload[:1] != ATTRIBUTES_TAG:
        raise ValueError(f"the payload begins with {payload[:1]!r}, and changes of attributes with {ATTRIBUTES_TAG!r}")
    try:
        return _decoder.decode(payload[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"the payload holds no changes of attributes: {error}") from error


def problem_in(changes: Changes) -> str | None:
    """Why these could not be stored; None if they can."""
    for name, text in changes.items():
        for what, word, limit in (
            (f"name {name!r}", name, NAME_BYTES_MAX),
            (f"text of {name!r}", text, TEXT_BYTES_MAX),
        ):
            if word is None:
                continue
            if "\0" in word:
                return f"attributes: the {what} contains a NUL character, which Postgres cannot store"
            if len(word) * 4 > limit and len(word.encode("utf-8", "surrogatepass")) > limit:
                return f"attributes: the {what} has more than {limit} bytes"
    return None


def changed(current: Mapping[str, str], changes: Changes) -> dict[str, str]:
    """What there is after the changes."""
    after = {**current, **{name: text for name, text in changes.items() if text is not None}}
    return {name: text for name, text in after.items() if changes.get(name, text) is not None}
