"""``fencepost config``: what is set, by whom, and whether it can be used."""

from __future__ import annotations

import click

from fencepost.cli.output import emit, pairs, shown
from fencepost.cli.session import Session, json_option


@click.group()
def config() -> None:
    """Show and check the configuration."""


@config.command()
@click.option("--changed", is_flag=True, help="Only settings that differ from their defaults.")
@json_option
@click.pass_obj
def show(session: Session, changed: bool, as_json: bool) -> None:
    """Show every setting with its value. Passwords are left out. Connects to nothing."""
    from fencepost.config import Config, field_names

    found = session.config()
    values, defaults = found.shown(), Config().shown()
    chosen = {name: values[name] for name in field_names() if not changed or values[name] != defaults[name]}
    if as_json:
        emit({"settings": chosen, "servers_source": found.servers_source})
        return
    if chosen:
        pairs(
            (name, shown(value) + ("" if values[name] != defaults[name] else "  (default)"))
            for name, value in chosen.items()
        )
    click.echo(f"\nservers: {found.servers_source}")


@config.command()
@json_option
@click.pass_obj
def check(session: Session, as_json: bool) -> None:
    """Say whether the configuration can be used. Connects to nothing (`fencepost db check` does); exit code 2 if it
    cannot.
    """
    from fencepost.config import SERVERS, server_url

    found = session.config()
    notes = [f"{name}: {told}" for name in SERVERS if getattr(found, name) for told in server_url(found, name).notes]
    if as_json:
        emit({"ok": True, "servers_source": found.servers_source, "notes": notes})
    else:
        for told in notes:
            click.echo(f"note: {told}")
        click.echo(f"ok; servers: {found.servers_source}")
