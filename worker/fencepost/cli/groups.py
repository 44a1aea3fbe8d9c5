"""Groups of commands that import a command only when it is called: its name and its summary stand in a table."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any, cast

import click

SUMMARY, TARGET = 0, 1


class LazyGroup(click.Group):
    """``table``: name -> (summary, "module:attribute"). The order of the table is the order of the help."""

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        entry = self._table.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry[TARGET].partition(":")
        return cast(click.Command, getattr(importlib.import_module(module), attribute))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest name for one that is not there."""
        if args and args[0] not in self._table and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self._table, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(self._table)}."
            raise click.UsageError(f"No such command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, without importing a command for its help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[SUMMARY]) for name, entry in self._table.items()])
