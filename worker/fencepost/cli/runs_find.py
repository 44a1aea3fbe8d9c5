"""``fencepost runs find``: which run holds a start key."""

from __future__ import annotations

import click

from fencepost.cli.output import emit
from fencepost.cli.runs_list import run_json
from fencepost.cli.session import Session, json_option


@click.command()
@click.argument("workflow", metavar="WORKFLOW")
@click.argument("key", metavar="KEY")
@json_option
@click.pass_context
def find(ctx: click.Context, workflow: str, key: str, as_json: bool) -> None:
    """Print the id of the run of WORKFLOW that holds the start key KEY. Exit code 3: there is none.

    \b
    fencepost runs why "$(fencepost runs find fulfil order-7)"
    """
    from fencepost.cli.trouble import NOT_FOUND
    from fencepost_store.protocol import Run, RunDetails

    session: Session = ctx.obj

    async def look() -> tuple[Run, RunDetails | None] | None:
        async with session.store() as (store, _):
            found = await store.find_key(workflow, key)
            if found is None:
                return None
            return found, (await store.details([found.run_id])).get(found.run_id)

    found = session.run(look())
    if found is None:
        click.echo(f"fencepost: no run of workflow {workflow!r} holds the key {key!r}", err=True)
        ctx.exit(NOT_FOUND)
    row, details = found
    if as_json:
        emit({"run": run_json(row, details)})
    else:
        click.echo(row.run_id)
