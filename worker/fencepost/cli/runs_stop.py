"""``fencepost runs cancel`` and ``runs terminate``."""

from __future__ import annotations

import click

from fencepost.cli.lengths import length
from fencepost.cli.output import emit
from fencepost.cli.runs_list import check_run_id
from fencepost.cli.session import Session, json_option


@click.command()
@click.argument("run_id", metavar="ID", callback=check_run_id)
@click.option("--reason", default="", metavar="TEXT", help="Why: kept in the log, told to who waits for the result.")
@click.option("--grace", type=length, metavar="SECONDS", help="Terminate the run if it has not ended by then.")
@click.option("--id", "delivery", metavar="ID", help="Your id for this request: the same id is accepted once.")
@json_option
@click.pass_obj
def cancel(
    session: Session, run_id: str, reason: str, grace: float | None, delivery: str | None, as_json: bool
) -> None:
    """Ask the run to end. Its code gets a CancelledError where it waits, and may clean up or go on.

    When this returns, the request is in the run's log; the run may take its time, `runs result` waits for it.
    """

    async def send() -> None:
        async with session.client() as client:
            await client.run(run_id).cancel(reason, grace=grace, id=delivery)

    session.run(send())
    if as_json:
        emit({"id": run_id, "cancel_requested": True})
    else:
        click.echo(f"run {run_id} was asked to cancel")


@click.command()
@click.argument("run_id", metavar="ID", callback=check_run_id)
@click.option("--reason", default="", metavar="TEXT", help="Why: kept in the log, told to who waits for the result.")
@json_option
@click.pass_obj
def terminate(session: Session, run_id: str, reason: str, as_json: bool) -> None:
    """End the run now: its code is not asked and cleans nothing up, its running steps are told to stop.

    When this returns, the run has ended.
    """

    async def send() -> None:
        async with session.client() as client:
            await client.run(run_id).terminate(reason)

    session.run(send())
    if as_json:
        emit({"id": run_id, "status": "terminated"})
    else:
        click.echo(f"run {run_id} is terminated")
