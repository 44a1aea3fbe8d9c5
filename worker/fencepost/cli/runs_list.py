"""``fencepost runs list`` and ``runs result``."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import click

from fencepost.cli.output import emit, iso, moment, span, table
from fencepost.cli.session import Session, json_option

if TYPE_CHECKING:
    from fencepost_store.protocol import Run

STATUSES = ("pending", "running", "parked", "completed", "failed", "cancelled", "terminated", "continued")
COLOURS = {"completed": "green", "failed": "red", "cancelled": "yellow", "terminated": "yellow", "parked": "magenta"}


def check_run_id(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """For options and arguments that are a run's id: refuse what cannot be one."""
    if value is None:
        return None
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a run id: `fencepost runs list` shows them", ctx, param) from None


@click.command()
@click.option("--workflow", metavar="NAME", help="Only runs of this workflow.")
@click.option("--status", type=click.Choice(STATUSES), multiple=True, help="Only runs in this state; may be repeated.")
@click.option("--queue", metavar="NAME", help="Only runs of this queue.")
@click.option("--parent", callback=check_run_id, metavar="ID", help="Only children of this run.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many at most.")
@click.option(
    "--before", callback=check_run_id, metavar="ID", help="Go on after this run: the last one of the page before."
)
@json_option
@click.pass_obj
def list_runs(
    session: Session,
    workflow: str | None,
    status: tuple[str, ...],
    queue: str | None,
    parent: str | None,
    limit: int,
    before: str | None,
    as_json: bool,
) -> None:
    """List runs, newest first. Needs Postgres only."""
    from fencepost_store.protocol import RunFilter, RunStatus

    statuses = tuple(RunStatus[name] for name in status)
    where = RunFilter(workflow=workflow, statuses=statuses, queue=queue, parent=parent)

    async def look() -> tuple[list[Run], int]:
        async with session.store() as (store, _):
            return await store.list_runs(where, limit, before), await store.now()

    found, now = session.run(look())
    if as_json:
        emit({"runs": [run_json(run) for run in found]})
        return
    if not found:
        click.echo("no runs" if where == RunFilter() and before is None else "no runs like that")
        return
    rows = [
        [run.run_id, run.workflow, run.status.name, _age(run, now), str(run.last_seq), run.key or ""] for run in found
    ]
    table(rows, ["ID", "WORKFLOW", "STATUS", "STARTED", "EVENTS", "KEY"], right=frozenset({4}))
    if len(found) == limit:
        click.echo(f"more: --before {found[-1].run_id}", err=True)


def _age(run: Run, now: int) -> str:
    return f"{span((now - run.created_at) / 1e6)} ago"


@click.command()
@click.argument("run_id", metavar="ID", callback=check_run_id)
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="How long to wait. [default: no end]")
@json_option
@click.pass_obj
def result(session: Session, run_id: str, timeout: float | None, as_json: bool) -> None:
    """Wait for the run's end and print its result as JSON; exit code 1, with the error, if it has none."""
    from fencepost.cli.results import outcome, show

    async def wait() -> dict[str, Any]:
        async with session.client() as client:
            return {"id": run_id, **await outcome(client.run(run_id), timeout)}

    show(session.run(wait()), as_json)


def run_json(run: Run) -> dict[str, Any]:
    """A run's row, as docs/cli.md describes it."""
    from fencepost_store.lineage import parent_of

    parked = run.parked
    parent = None if run.parent is None else parent_of(run.parent)
    return {
        "id": run.run_id,
        "workflow": run.workflow,
        "queue": run.queue,
        "status": run.status.name,
        "events": run.last_seq,
        "key": run.key,
        "parent": None if parent is None else parent.run_id,
        "parent_entity": None if parent is None else parent.entity,
        "created_at": iso(moment(run.created_at)),
        "updated_at": iso(moment(run.updated_at)),
        "wake_at": None if run.wake_at is None else iso(moment(run.wake_at)),
        "parked": None
        if parked is None
        else {
            "build": parked.build,
            "seq": parked.seq,
            "recorded": parked.recorded,
            "asked": parked.asked,
            "source": parked.source,
        },
    }
