"""``fencepost demo``: see it work."""

from __future__ import annotations

import sys

import click

from fencepost.cli.session import json_option


@click.command()
@click.option("--keep", is_flag=True, help="Leave the temporary folder, with the servers' data and the workers' logs.")
@json_option
def demo(keep: bool, as_json: bool) -> None:
    """Start embedded servers and two workers, kill one in the middle of a run, and show the run's timeline.

    Needs nothing but the dev extra: pip install 'fencepost[dev]'. Exit code 0: all that is promised was kept.
    """
    from fencepost.dev.demo import main

    sys.exit(main(json=as_json, keep=keep))
