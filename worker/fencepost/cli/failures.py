"""Recorded failures as the commands show them: the user's frames, or with ``--full`` all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fencepost.cli.output import printable

if TYPE_CHECKING:
    from fencepost.records import Failure

F = TypeVar("F", bound=Callable[..., Any])


def full_option(function: F) -> F:
    """``--full``: the command gets ``full``."""
    return click.option("--full", is_flag=True, help="Tracebacks with the frames of fencepost and of libraries, too.")(
        function
    )


def traceback_lines(error: Failure, *, full: bool = False) -> list[str]:
    """The traceback with its causes and the members of groups, ready to print; empty if none was recorded."""
    from fencepost.failure import opened
    from fencepost.tracebacks import report

    error = opened(error)
    if not error.traceback and not error.frames:
        return []
    return [printable(line) for line in report(error, full=full).splitlines()]


def show_traceback(error: Failure, *, full: bool, err: bool = False, indent: str = "") -> None:
    """Print it."""
    for line in traceback_lines(error, full=full):
        click.echo(f"{indent}{line}".rstrip(), err=err)
