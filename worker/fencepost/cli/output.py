"""What goes to standard output: tables for people, JSON for programs."""

from __future__ import annotations

import base64
import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import click

RELATIVE_MAX_SECONDS = 60


def emit(value: object) -> None:
    """One JSON document on one line."""
    click.echo(json.dumps(plain(value), ensure_ascii=False))


def table(rows: Sequence[Sequence[str]], head: Sequence[str], *, right: frozenset[int] = frozenset()) -> None:
    """Columns as wide as they must be; on a terminal the last one ends with the line. ``right``: flush right."""
    cells = [list(head), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for number, row in enumerate(cells):
        parts = [c.rjust(widths[i]) if i in right else c.ljust(widths[i]) for i, c in enumerate(row)]
        line = "  ".join(parts).rstrip()
        if room is not None and len(line) > room:
            line = line[: room - 1] + "…"
        click.echo(click.style(line, bold=True) if number == 0 and coloured() else line)


def pairs(items: Iterable[tuple[str, str]], colours: Mapping[str, str] | None = None) -> None:
    """Names and values, one per line. ``colours``: of values, by name."""
    shown = [(name, printable(value)) for name, value in items]
    width = max(len(name) for name, _ in shown)
    for name, value in shown:
        colour = (colours or {}).get(name)
        click.echo(f"{name.ljust(width)}  {painted(value, colour) if colour else value}")


def coloured() -> bool:
    """Colour belongs on a terminal, and not where the user has said no."""
    import os

    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def painted(text: str, colour: str) -> str:
    """The text in a colour, where there is colour."""
    return click.style(text, fg=colour) if coloured() else text


def printable(text: str) -> str:
    """What others put into a run must not steer this terminal: control characters are shown, not sent."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def plain(value: Any) -> Any:
    """The value in what JSON knows. bytes become {"$bytes": base64}; what has no form of its own becomes text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"$bytes": base64.b64encode(bytes(cast(bytes, value))).decode()}
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in cast(Mapping[object, object], value).items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in cast(Iterable[object], value)]
    return str(value)


def shown(value: object) -> str:
    """A value on one line, as JSON."""
    return json.dumps(plain(value), ensure_ascii=False)


def iso(moment: datetime) -> str:
    """UTC to the millisecond (naive moments as they are)."""
    if moment.tzinfo is None:
        return moment.isoformat()
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(microseconds: int) -> datetime:
    """Microseconds since the epoch as an aware datetime."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


def span(seconds: float) -> str:
    """A length of time for people: two units at most."""
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    if seconds < RELATIVE_MAX_SECONDS:
        return f"{sign}{seconds:.3f} s" if seconds < 10 else f"{sign}{seconds:.1f} s"
    left = round(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return sign + " ".join(parts[:2])
