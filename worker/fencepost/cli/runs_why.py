"""``fencepost runs why``: what a run waits for, read from its log alone, and what the queue says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from fencepost.cli.failures import full_option
from fencepost.cli.output import emit, iso, moment, printable, span
from fencepost.cli.runs_list import check_run_id, run_json
from fencepost.cli.runs_show import load
from fencepost.cli.session import Session, json_option

if TYPE_CHECKING:
    from fencepost_queue.protocol import Peeked
    from fencepost_store.protocol import Loaded, RunDetails

PEEK_MAX = 2_000
"""Messages looked through per queue: the run's own may stand behind more than this, and then that is said."""


@click.command()
@click.argument("run_id", metavar="ID", callback=check_run_id)
@json_option
@full_option
@click.pass_obj
def why(session: Session, run_id: str, as_json: bool, full: bool) -> None:
    """Say what the run waits for: steps, times, signals and how to send them, or code that fits its log.

    Needs Postgres only; what the queue says is left out while Redis is away.
    """
    from fencepost.cli.waiting import waiting

    async def look() -> tuple[Loaded, RunDetails | None, list[Peeked] | str]:
        loaded, details = await load(session, run_id)
        return loaded, details, await _messages(session, loaded)

    loaded, details, messages = session.run(look())
    found = waiting(loaded, full=full)
    if as_json:
        told = [] if isinstance(messages, str) else [msgspec.structs.asdict(m) for m in messages]
        trouble = messages if isinstance(messages, str) else None
        row, waits = run_json(loaded.run, details), [wait.as_json for wait in found]
        emit({"run": row, "waits_for": waits, "messages": told, "queue": trouble})
        return
    run = loaded.run
    click.echo(f"{run.workflow} {run.run_id} is {run.status.name}")
    for one in found:
        click.echo(f"- {printable(one.text)}")
        for line in one.more:
            click.echo(f"    {printable(line)}")
    if not run.status.ended:
        _show_messages(messages, loaded)


async def _messages(session: Session, loaded: Loaded) -> list[Peeked] | str:
    """The run's messages in the queues that it may have some in, or why they cannot be seen."""
    from fencepost.cli.waiting import queues_of
    from fencepost_queue.protocol import QueueTrouble, step_key, tick_key

    run_id = loaded.run.run_id
    try:
        async with session.queue() as (queue, _):
            found = [message for name in queues_of(loaded) for message in await queue.peek(name, PEEK_MAX)]
    except QueueTrouble as trouble:
        return str(trouble)
    mine, steps = tick_key(run_id), step_key(run_id, "")
    return [message for message in found if message.key == mine or message.key.startswith(steps)]


def _show_messages(messages: list[Peeked] | str, loaded: Loaded) -> None:
    if isinstance(messages, str):
        click.echo(f"\nqueue: cannot be seen: {printable(messages)}")
        return
    click.echo("\nin the queue:" if messages else f"\nin the queue: nothing{_nobody(loaded)}")
    for message in messages:
        click.echo(f"- {printable(_message_text(message))}")


def _nobody(loaded: Loaded) -> str:
    wake = loaded.run.wake_at
    if wake is None:
        return ", and nothing is due: it waits for signals"
    return f"; a worker looks at it by itself by {iso(moment(wake))}"


def _message_text(message: Peeked) -> str:
    what = "the run's turn" if message.key.startswith("t:") else f"step {message.key.split(':', 2)[2]}"
    due = "" if message.due_ms is None else span(message.due_ms / 1000)
    state = {
        "ready": f"ready: a worker that serves queue {message.queue!r} takes it next; if none does, start one:"
        f" fencepost worker MODULE --queues {message.queue}",
        "leased": f"with worker {message.owner}, lease for another {due}",
        "delayed": f"due in {due}",
    }.get(message.state, message.state)
    if message.refused:
        state = (
            f"{message.state}, and left to other code: {message.refused} kind(s) of code cannot do it; {message.why}"
        )
    notes = [f"{count} {name}" for name, count in (("crashes", message.crashes), ("proofs", message.proofs)) if count]
    if message.conflicts:
        notes.append(f"{message.conflicts} fence conflicts in a row")
    if message.recover and message.state == "delayed" and message.key.startswith("t:"):
        notes.append("handed back by a worker: does it have the workflow's code, and did it reach the servers?")
    return f"{what}: {state}" + (f" ({'; '.join(notes)})" if notes else "")
