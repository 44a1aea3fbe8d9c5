"""``fencepost runs``: what runs there are, what happened in them, and what they wait for."""

from __future__ import annotations

import click

from fencepost.cli.groups import LazyGroup

COMMANDS = {
    "list": ("List runs, newest first.", "fencepost.cli.runs_list:list_runs"),
    "show": ("Show a run and the timeline of its log.", "fencepost.cli.runs_show:show"),
    "events": ("Show a run's log, event by event.", "fencepost.cli.runs_show:events"),
    "why": ("Say what a run waits for.", "fencepost.cli.runs_why:why"),
    "export": ("Write runs with their logs, to be replayed elsewhere.", "fencepost.cli.histories:export"),
    "result": ("Wait for a run's end and show its result.", "fencepost.cli.runs_list:result"),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def runs() -> None:
    """List and inspect runs."""
