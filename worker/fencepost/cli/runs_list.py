"""``fencepost runs list`` and ``runs result``."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import click

from fencepost.cli.failures import full_option
from fencepost.cli.lengths import length
from fencepost.cli.output import emit, iso, moment, plain, span, table
from fencepost.cli.session import Session, json_option

if TYPE_CHECKING:
    from fencepost_store.protocol import Run, RunDetails

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
@click.option(
    "--where", metavar="NAME=VALUE", multiple=True, help="Only runs with this attribute; repeated: with all of them."
)
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
    where: tuple[str, ...],
    limit: int,
    before: str | None,
    as_json: bool,
) -> None:
    """List runs, newest first. Needs Postgres only."""
    from fencepost_store.protocol import RunFilter, RunStatus

    statuses = tuple(RunStatus[name] for name in status)
    wanted = RunFilter(workflow=workflow, statuses=statuses, queue=queue, attributes=_attributes(where), parent=parent)

    async def look() -> tuple[list[Run], dict[str, RunDetails], int]:
        async with session.store() as (store, _):
            runs = await store.list_runs(wanted, limit, before)
            return runs, await store.details([run.run_id for run in runs]), await store.now()

    found, details, now = session.run(look())
    if as_json:
        emit({"runs": [run_json(run, details.get(run.run_id)) for run in found]})
        return
    if not found:
        click.echo("no runs" if wanted == RunFilter() and before is None else "no runs like that")
        return
    _show(found, details, now)
    if len(found) == limit:
        click.echo(f"more: --before {found[-1].run_id}", err=True)


def _attributes(where: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    from fencepost.attributes import candidates
    from fencepost.errors import BadAttribute

    found: dict[str, tuple[str, ...]] = {}
    for one in where:
        name, equals, words = one.partition("=")
        if not equals:
            raise click.BadParameter(f"{one!r} is not NAME=VALUE", param_hint="--where")
        try:
            found[name] = candidates(name, words)
        except BadAttribute as error:
            raise click.BadParameter(str(error), param_hint="--where") from None
    return found


def _show(found: list[Run], details: dict[str, RunDetails], now: int) -> None:
    rows: list[list[str]] = []
    for run in found:
        more = details.get(run.run_id)
        texts = attributes_text(more)
        rows.append([run.run_id, run.workflow, run.status.name, _age(run, more, now), str(run.last_seq)])
        rows[-1] += [run.key or "", texts]
    head = ["ID", "WORKFLOW", "STATUS", "STARTED", "EVENTS", "KEY", "ATTRIBUTES"]
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    table(rows, head, right=frozenset({4}))


def _age(run: Run, details: RunDetails | None, now: int) -> str:
    starts_at = None if details is None else details.starts_at
    if starts_at is not None and starts_at > now:
        return f"in {span((starts_at - now) / 1e6)}"
    return f"{span((now - run.created_at) / 1e6)} ago"


def attributes_text(details: RunDetails | None) -> str:
    """A run's attributes on one line."""
    from fencepost.attributes import values_of

    values = values_of({} if details is None else details.attributes)
    return " ".join(
        f"{name}={value if isinstance(value, str) else plain_text(value)}" for name, value in values.items()
    )


def plain_text(value: object) -> str:
    """An attribute's value, as ``--where`` takes it."""
    return str(value).lower() if isinstance(value, bool) else str(plain(value))


@click.command()
@click.argument("run_id", metavar="ID", callback=check_run_id)
@click.option("--timeout", type=length, metavar="SECONDS", help="How long to wait. [default: no end]")
@json_option
@full_option
@click.pass_obj
def result(session: Session, run_id: str, timeout: float | None, as_json: bool, full: bool) -> None:
    """Wait for the run's end and print its result as JSON; exit code 1, with the error, if it has none."""
    from fencepost.cli.results import outcome, show

    async def wait() -> dict[str, Any]:
        async with session.client() as client:
            return {"id": run_id, **await outcome(client, client.run(run_id), timeout)}

    show(session.run(wait()), as_json, full=full)


def run_json(run: Run, details: RunDetails | None) -> dict[str, Any]:
    """A run's row with its details, as docs/cli.md describes it."""
    from fencepost.attributes import values_of
    from fencepost_store.lineage import parent_of

    parked = run.parked
    parent = None if run.parent is None else parent_of(run.parent)
    starts_at = None if details is None else details.starts_at
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
        "starts_at": None if starts_at is None else iso(moment(starts_at)),
        "attributes": values_of({} if details is None else details.attributes),
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
