"""Lengths of time as users write them: seconds, a timedelta, or a text such as ``"30s"`` and ``"1h30m"``."""

from __future__ import annotations

import math
import re
from datetime import timedelta

Duration = timedelta | float | str
"""Seconds, a timedelta, or a text of numbers with units: ``ms``, ``s``, ``m``, ``h``, ``d``, ``w``."""

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}

SECONDS_MAX = 100 * 366 * 24 * 3600
"""A century: what lies beyond is a mistake in the unit."""

_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[smhdw])")
_FORMS = "give seconds as a number, a timedelta, or a text such as '30s', '5m', '1h30m', '2d'"


def seconds_of(
    value: object, field: str, *, least: float = 0.0, most: float = SECONDS_MAX, above: bool = False
) -> float:
    """The seconds of a duration, from ``least`` (beyond it, with ``above``) to ``most``. ``field``: what the message
    calls it. Raises TypeError for what is no duration, ValueError for one out of bounds; both name field, value, bound
    and the forms.
    """
    seconds = plain_seconds(value, field)
    if not math.isfinite(seconds) or seconds < least or seconds > most or (above and seconds == least):
        low = f"more than {least:g} s" if above else f"{least:g} s or more"
        raise ValueError(f"{field} = {value!r}: must be {low} and at most {most:,.0f} s; {_FORMS}")
    return seconds


def bound_of(value: object, field: str) -> float | None:
    """The seconds of a bound that may be left out; None stays None, which is unbounded. Raises as ``seconds_of``."""
    if value is None:
        return None
    try:
        return seconds_of(value, field, above=True)
    except ValueError as error:
        raise ValueError(f"{error}; None means unbounded") from None


def plain_seconds(value: object, field: str) -> float:
    """The seconds of a duration, whatever they are: negative or not finite too. Raises as ``seconds_of`` for what is no
    duration.
    """
    match value:
        case timedelta():
            return value.total_seconds()
        case bool():
            raise TypeError(f"{field} = {value!r}: is no length of time; {_FORMS}")
        case int() | float():
            try:
                return float(value)
            except OverflowError:
                return math.inf
        case str():
            return _parsed(value, field)
        case _:
            raise TypeError(f"{field} = {value!r}: {type(value).__name__} is no length of time; {_FORMS}")


def _parsed(text: str, field: str) -> float:
    parts = _PART.findall(text.replace(" ", ""))
    if not parts or "".join(number + unit for number, unit in parts) != text.replace(" ", ""):
        raise ValueError(f"{field} = {text!r}: is no length of time; {_FORMS}")
    return sum(float(number) * UNITS[unit] for number, unit in parts)
