"""``fencepost hooks``: signals from the command line."""

from __future__ import annotations

import click

from fencepost.cli.output import emit
from fencepost.cli.session import Session, json_option


@click.group()
def hooks() -> None:
    """Send signals to runs that wait for them."""


@hooks.command()
@click.argument("token")
@click.argument("payload", metavar="[JSON]", default="null")
@click.option("--id", "delivery", metavar="ID", help="Your id for this signal: the same id is accepted once.")
@click.option("--wait", type=float, metavar="SECONDS", help="If nobody listens yet, look again for so long.")
@json_option
@click.pass_obj
def resume(session: Session, token: str, payload: str, delivery: str | None, wait: float | None, as_json: bool) -> None:
    """Send JSON (null if left out) to the run that listens on TOKEN. `fencepost runs why` shows tokens.

    When this returns, the signal is in the run's log.
    """
    from fencepost.cli.arguments import parse_json

    value = parse_json(payload, "the payload")

    async def send() -> str:
        async with session.client() as client:
            return await client.resume(token, value, id=delivery, wait=wait)

    run_id = session.run(send())
    if as_json:
        emit({"run": run_id, "token": token})
    else:
        click.echo(f"accepted by run {run_id}")
