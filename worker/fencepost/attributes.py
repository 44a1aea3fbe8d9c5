"""The values of a run's attributes, and their texts in the store: one letter for the type, then the value in words.

The letter keeps the number 1 and the text "1" apart. Attributes are in the clear whatever codecs are configured,
because Postgres looks them up.

The bounds are the same in every process and stand in no configuration: workflow code sees an error for what is over
them, and a replay must see the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import cast

from fencepost.errors import BadAttribute

AttributeValue = str | int | float | bool | datetime
"""What an attribute may be. A datetime is aware, and comes back in UTC."""

ATTRIBUTES_MAX = 32
"""Of one run: what is looked up by, not a place for data."""

TEXT_BYTES_MAX = 256
"""Of a text: it stands in an index."""

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
INT_MAX = 2**63 - 1


def texts_of(values: Mapping[str, AttributeValue | None]) -> dict[str, str | None]:
    """The values as the store keeps them; None stays None. Raises BadAttribute."""
    check_mapping(values)
    return {_name(name): None if value is None else text_of(name, value) for name, value in values.items()}


def given_at_start(values: Mapping[str, AttributeValue] | None) -> dict[str, str]:
    """The texts of attributes that a run begins with, or is looked up by. Raises BadAttribute."""
    check_mapping(values or {})
    texts = {name: text_of(_name(name), value) for name, value in (values or {}).items()}
    check_count(len(texts))
    return texts


def check_mapping(values: object) -> None:
    """Raises BadAttribute for what is no mapping."""
    if not isinstance(values, Mapping):
        raise BadAttribute("attributes", f"{values!r} is no mapping of names to values")


def text_of(name: str, value: AttributeValue) -> str:
    """One value. Raises BadAttribute."""
    match value:
        case bool():
            return "b" + str(value).lower()
        case int() if -INT_MAX <= value <= INT_MAX:
            return f"i{int(value)}"
        case int():
            raise BadAttribute(name, f"{value} is beyond 64 bits: pass it as a text")
        case float() if math.isfinite(value):
            return f"f{float(value)!r}"
        case float():
            raise BadAttribute(name, f"{value} is no finite number")
        case datetime() if value.tzinfo is not None:
            return "t" + value.astimezone(UTC).isoformat(timespec="microseconds")
        case datetime():
            raise BadAttribute(name, f"{value!r} has no time zone; use datetime.now(UTC) and the like")
        case str():
            return "s" + _text(name, str(value))
        case _:
            kind = type(value).__name__
            raise BadAttribute(name, f"{kind} is not among str, int, float, bool and datetime")


def value_of(text: str) -> AttributeValue:
    """A value from its text. What this version does not know comes as a text."""
    kind, words = text[:1], text[1:]
    match kind:
        case "b":
            return words == "true"
        case "i":
            return int(words)
        case "f":
            return float(words)
        case "t":
            return datetime.fromisoformat(words)
        case _:
            return words


def values_of(texts: Mapping[str, str]) -> dict[str, AttributeValue]:
    """The values of a run, by name in order of names."""
    return {name: value_of(texts[name]) for name in sorted(texts)}


def candidates(name: str, words: str) -> tuple[str, ...]:
    """The texts of every value that people would write so: ``42`` is a number or a text. Raises BadAttribute."""
    found = [text_of(_name(name), words)]
    if words in ("true", "false"):
        found.append("b" + words)
    for kind in (int, float, datetime.fromisoformat):
        try:
            value = kind(words)
            found.append(text_of(name, value))
        except (ValueError, BadAttribute):  # it is no such value, so it is not meant
            continue
    return tuple(dict.fromkeys(found))


def check_count(count: int) -> None:
    """Raise BadAttribute if a run would have more than ATTRIBUTES_MAX."""
    if count > ATTRIBUTES_MAX:
        raise BadAttribute(
            "", f"{count} attributes of one run, at most {ATTRIBUTES_MAX}: set those to None that nobody looks up"
        )


def _name(name: str) -> str:
    if not isinstance(cast(object, name), str):
        raise BadAttribute(repr(name), f"a name is a text, not {type(name).__name__}")
    if NAME.fullmatch(name) is None:
        raise BadAttribute(name, "a name is a letter or _, then up to 63 letters, digits, '_', '.' or '-'")
    return name


def _text(name: str, value: str) -> str:
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise BadAttribute(name, f"the text is not valid Unicode: {error}") from None
    if "\0" in value:
        raise BadAttribute(name, "the text contains a NUL character")
    if size > TEXT_BYTES_MAX:
        raise BadAttribute(
            name, f"the text has {size} bytes, at most {TEXT_BYTES_MAX}: keep what is looked up, and the rest elsewhere"
        )
    return value
