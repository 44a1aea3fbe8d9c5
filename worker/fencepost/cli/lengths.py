"""Lengths of time as options: the forms that Python code may write them in."""

from __future__ import annotations

import click

from fencepost.durations import seconds_of


def length(text: str) -> float:
    """Seconds, 0 or more, of a number or of a text such as ``30s``: the ``type`` of an option."""
    try:
        written: float | str = float(text)
    except ValueError:
        written = text
    try:
        return seconds_of(written, "length")
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
