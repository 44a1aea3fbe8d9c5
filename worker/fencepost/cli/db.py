"""``fencepost db``: the schema in Postgres."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from fencepost.cli.db_check import check
from fencepost.cli.db_prune import prune
from fencepost.cli.output import emit
from fencepost.cli.session import Session, json_option

if TYPE_CHECKING:
    from fencepost.config import Config


@click.group()
def db() -> None:
    """Create, upgrade and check the schema in Postgres, and delete old runs."""


db.add_command(prune)


@db.command()
@json_option
@click.pass_obj
def migrate(session: Session, as_json: bool) -> None:
    """Bring the namespace's schema up to date. Safe while workers run, and from several places at once."""
    from fencepost_store.migrations import migrate as bring_up_to_date

    config = _database(session)
    applied = asyncio.run(bring_up_to_date(_url(config), config.namespace))
    if as_json:
        emit({"namespace": config.namespace, "applied": applied})
    elif applied:
        click.echo(f"namespace {config.namespace}: applied {', '.join(applied)}")
    else:
        click.echo(f"namespace {config.namespace}: up to date")


db.add_command(check)


def _url(config: Config) -> str:
    from fencepost.connections import driver_url

    return driver_url(config, "database_url")


def _database(session: Session) -> Config:
    config = session.config()
    return config if config.database_url else session.servers()
