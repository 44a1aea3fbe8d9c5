"""``fencepost runs show`` and ``runs events``: a run and its log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fencepost.cli.failures import full_option, show_traceback
from fencepost.cli.output import emit, iso, moment, pairs, printable, shown, span, table
from fencepost.cli.runs_list import COLOURS, attributes_text, check_run_id, run_json
from fencepost.cli.session import Session, json_option

if TYPE_CHECKING:
    from fencepost.config import Config
    from fencepost_store.protocol import Loaded, RunDetails

CHILDREN_SHOWN = 10
"""How many children the head of ``runs show`` names; the timeline has them all."""

HINTS = {
    "pending": "what it waits for: fencepost runs why {id}",
    "running": "what it waits for: fencepost runs why {id}",
    "parked": "why it is parked: fencepost runs why {id}",
}


async def load(session: Session, run_id: str, after: int = 0) -> tuple[Loaded, RunDetails | None]:
    """The run with its events, and its details. Raises RunNotFound."""
    from fencepost.errors import RunNotFound

    async with session.store() as (store, _):
        loaded = await store.load(run_id, after)
        details = await store.details([run_id])
    if loaded is None:
        raise RunNotFound(run_id)
    return loaded, details.get(loaded.run.run_id)


@click.command()
@click.argument("run_id", metavar="ID", callback=check_run_id)
@json_option
@full_option
@click.pass_obj
def show(session: Session, run_id: str, as_json: bool, full: bool) -> None:
    """Show the run and the timeline of its log, and where it failed: your frames, or with --full all of them. Needs
    Postgres only.
    """
    from fencepost.cli.event_text import detail, event_json

    loaded, details = session.run(load(session, run_id))
    run = loaded.run
    if as_json:
        emit({"run": run_json(run, details), "events": [event_json(event) for event in loaded.events]})
        return
    last = loaded.events[-1].at if loaded.events else run.created_at
    starts_at = None if details is None else details.starts_at
    items = [
        ("run", run.run_id),
        ("workflow", run.workflow),
        ("status", run.status.name),
        ("queue", run.queue),
        (
            "started" if starts_at is None else "made",
            f"{iso(moment(run.created_at))} ({span((loaded.now - run.created_at) / 1e6)} ago)",
        ),
        (
            "took" if run.status.ended else "last event",
            span((last - run.created_at) / 1e6) + ("" if run.status.ended else " later"),
        ),
    ]
    items.append(("log", log_text(loaded, session.config())))
    if starts_at is not None and starts_at > loaded.now:
        items.append(("starts at", f"{iso(moment(starts_at))} (in {span((starts_at - loaded.now) / 1e6)})"))
    attributes = attributes_text(details)
    items += [("attributes", attributes)] if attributes else []
    items += [("key", run.key)] if run.key else []
    items += _family(loaded)
    colour = COLOURS.get(run.status.name)
    pairs(items, {"status": colour} if colour else None)
    click.echo()
    rows = [
        [str(event.seq), f"+{(event.at - run.created_at) / 1e6:.3f}", event.type.name, event.entity, detail(event)]
        for event in loaded.events
    ]
    table(rows, ["SEQ", "SECONDS", "EVENT", "ENTITY", "DETAIL"], right=frozenset({0, 1}))
    _show_failures(loaded, full=full)
    if run.status.name in HINTS:
        click.echo("\n" + HINTS[run.status.name].format(id=run.run_id))


def log_text(loaded: Loaded, config: Config) -> str:
    """How much stands in the whole log, and the bounds that are near."""
    sizes = {"events_max": len(loaded.events), "log_bytes_max": sum(len(event.payload) for event in loaded.events)}
    near = [
        f"{name} is {getattr(config, name)}"
        for name, value in sizes.items()
        if value > config.event_warn_ratio * getattr(config, name)
    ]
    text = f"{sizes['events_max']} events, {sizes['log_bytes_max']} bytes of payloads"
    return f"{text}; near its end: {', '.join(near)}" if near else text


def _show_failures(loaded: Loaded, *, full: bool) -> None:
    """The traceback of the run's end, or of the newest failure while it lives; with ``full`` those of all events."""
    from fencepost.cli.event_text import record_of
    from fencepost.records import RunFailed, StepEnded

    failed = [
        (event, record.error)
        for event in loaded.events
        if isinstance(record := record_of(event), RunFailed | StepEnded)
    ]
    for event, error in failed if full else failed[-1:]:
        attempt = f", attempt {event.attempt}" if event.attempt else ""
        click.echo(f"\n{event.type.name} {event.entity}".rstrip() + f" (seq {event.seq}{attempt}):")
        show_traceback(error, full=full, indent="  ")
    if failed and not full:
        click.echo(f"\nall frames and all attempts: fencepost runs show --full {loaded.run.run_id}")


def _family(loaded: Loaded) -> list[tuple[str, str]]:
    """The runs that this one has to do with: parent, root, predecessor, successor, children."""
    from fencepost.cli.event_text import record_of
    from fencepost.lineage import successor_in
    from fencepost.records import ChildCreated, Origin, RunCreated
    from fencepost_store.lineage import parent_of

    found: list[tuple[str, str]] = []
    created = record_of(loaded.events[0])
    origin = (created.origin if isinstance(created, RunCreated) else None) or Origin()
    if loaded.run.parent is not None:
        parent = parent_of(loaded.run.parent)
        found.append(("parent", f"{parent.run_id} ({parent.entity})"))
        found += [("root", origin.root)] if origin.root not in ("", parent.run_id) else []
    found += [("continues", origin.previous)] if origin.previous else []
    successor = successor_in(loaded.events)
    found += [("continued by", successor)] if successor is not None else []
    records = [(event.entity, record_of(event)) for event in loaded.events]
    children = [f"{entity} {record.run}" for entity, record in records if isinstance(record, ChildCreated)]
    shown_children = children[:CHILDREN_SHOWN]
    more = len(children) - len(shown_children)
    shown_children += [f"and {more} more: fencepost runs list --parent {loaded.run.run_id}"] if more else []
    return [*found, *(("child", text) for text in shown_children)]


@click.command()
@click.argument("run_id", metavar="ID", callback=check_run_id)
@click.option("--after", type=click.IntRange(0), default=0, metavar="SEQ", help="Only events above this seq.")
@json_option
@click.pass_obj
def events(session: Session, run_id: str, after: int, as_json: bool) -> None:
    """Show the run's log with everything that stands in it: one event per line. Needs Postgres only.

    With --json each line is one JSON document.
    """
    from fencepost.cli.event_text import event_json

    loaded, _ = session.run(load(session, run_id, after))
    for event in loaded.events:
        told = event_json(event)
        if as_json:
            emit(told)
            continue
        head = f"{event.seq} {told['at']} {event.type.name} {event.entity}".rstrip()
        rest = {k: v for k, v in told.items() if k not in ("seq", "at", "type", "entity") and v not in (None, 0)}
        click.echo(" ".join([printable(head), *(f"{k}={shown(v)}" for k, v in rest.items())]))
