"""``fencepost runs``: what runs there are, what happened in them, what they wait for, and ending them."""

from __future__ import annotations

import click

from fencepost.cli.groups import LazyGroup

COMMANDS = {
    "list": ("List runs, newest first.", "fencepost.cli.runs_list:list_runs"),
    "find": ("Find the run that holds a start key.", "fencepost.cli.runs_find:find"),
    "show": ("Show a run and the timeline of its log.", "fencepost.cli.runs_show:show"),
    "events": ("Show a run's log, event by event.", "fencepost.cli.runs_show:events"),
    "streams": ("List a run's streams.", "fencepost.cli.runs_stream:streams"),
    "stream": ("Show a stream's chunks, now or as they come.", "fencepost.cli.runs_stream:stream"),
    "why": ("Say what a run waits for.", "fencepost.cli.runs_why:why"),
    "cancel": ("Ask a run to end: its code may clean up.", "fencepost.cli.runs_stop:cancel"),
    "terminate": ("End a run at once, without asking its code.", "fencepost.cli.runs_stop:terminate"),
    "export": ("Write runs with their logs, to be replayed elsewhere.", "fencepost.cli.histories:export"),
    "result": ("Wait for a run's end and show its result.", "fencepost.cli.runs_list:result"),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def runs() -> None:
    """List, inspect and end runs."""
