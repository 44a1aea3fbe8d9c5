"""``fencepost db prune``: runs that ended long ago go."""

from __future__ import annotations

import re

import click
from msgspec.structs import asdict

from fencepost.cli.output import emit
from fencepost.cli.session import Session, json_option

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}
ENDS = ("completed", "failed", "cancelled", "terminated", "continued")


def _seconds(ctx: click.Context, param: click.Parameter, value: str) -> float:
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)([smhdw])", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is no age: write a number and s, m, h, d or w, as 30d", ctx, param)
    return float(found[1]) * UNITS[found[2]]


def _statuses(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(name for value in values for name in value.split(","))
    for name in names:
        if name not in ENDS:
            raise click.BadParameter(f"{name!r}: only runs that have ended go: {', '.join(ENDS)}", ctx, param)
    return names


@click.command()
@click.option(
    "--older-than", "seconds", required=True, metavar="AGE", callback=_seconds, help="Ended so long ago: 30d."
)
@click.option(
    "--status",
    "statuses",
    multiple=True,
    metavar="NAME,...",
    callback=_statuses,
    help="Only these ends. [default: all]",
)
@click.option("--workflow", metavar="NAME", help="Only runs of this workflow.")
@click.option("--batch", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Runs per transaction.")
@click.option("--dry-run", is_flag=True, help="Delete nothing, say how many would go.")
@json_option
@click.pass_obj
def prune(
    session: Session,
    seconds: float,
    statuses: tuple[str, ...],
    workflow: str | None,
    batch: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Delete runs that ended long ago, with their logs, attributes and streams. Needs Postgres only.

    In small transactions, beside workers, from several places at once. It may be stopped at any moment: the next one
    goes on.
    """
    from fencepost.client.pruning import pruned
    from fencepost.pruning import Pruned

    async def work() -> Pruned:
        async with session.store() as (store, _):
            return await pruned(store, seconds, statuses=statuses, workflow=workflow, batch=batch, dry_run=dry_run)

    done = session.run(work())
    if as_json:
        emit(asdict(done))
        return
    click.echo(
        f"{'would delete' if dry_run else 'deleted'} {done.runs} runs" + ("" if dry_run else f", {done.rows} rows")
    )
    kept = {
        "their parent may still ask for them": done.kept_for_parent,
        "their chain is not over, or not for long enough": done.kept_for_chain,
        "somebody held their row": done.busy,
    }
    for why, count in kept.items():
        if count:
            click.echo(f"kept {count}: {why}")
