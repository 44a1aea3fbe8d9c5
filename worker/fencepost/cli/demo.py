"""``fencepost demo``: see it work."""

from __future__ import annotations

import sys

import click


@click.command()
def demo() -> None:
    """Start embedded servers and two workers, kill one in the middle of a run, and show the run's timeline.

    Needs nothing but the dev extra: pip install 'fencepost[dev]'.
    """
    from fencepost.dev.demo import main

    sys.exit(main())
