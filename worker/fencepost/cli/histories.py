"""``fencepost runs export`` and ``fencepost replay``: recorded histories, and whether the code at hand fits them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fencepost.cli.output import emit, printable
from fencepost.cli.runs_list import check_run_id
from fencepost.cli.session import Session, json_option

if TYPE_CHECKING:
    from fencepost.history import History
    from fencepost.replay.recorded import Fit
    from fencepost_store.protocol import Run, Store

PAGE = 200
"""Runs per look at the list of open ones."""


def _run_ids(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(check_run_id(ctx, param, value)) for value in values)


@click.command()
@click.argument("run_ids", metavar="ID...", nargs=-1, required=True, callback=_run_ids)
@click.pass_obj
def export(session: Session, run_ids: tuple[str, ...]) -> None:
    """Write the runs and their logs to standard output, as JSON lines for `fencepost replay`. Needs Postgres only.

    They hold arguments, results and signals as they are stored: treat the file as you treat the data.
    """
    from fencepost.errors import RunNotFound
    from fencepost.history import lines, recorded

    async def write() -> None:
        async with session.store() as (store, _):
            for run_id in run_ids:  # before anything is written
                if await store.get(run_id) is None:
                    raise RunNotFound(run_id)
            for run_id in run_ids:
                loaded = await store.load(run_id)
                if loaded is None:
                    raise RunNotFound(run_id)
                for line in lines(recorded(loaded.run, loaded.events)):
                    click.echo(line)

    session.run(write())


@click.command()
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--module", "modules", metavar="MODULE", multiple=True, required=True, help="The code; may be repeated.")
@click.option("--open", "open_runs", is_flag=True, help="Also every open run of the namespace, from Postgres.")
@json_option
@click.pass_context
def replay(
    ctx: click.Context, files: tuple[Path, ...], modules: tuple[str, ...], open_runs: bool, as_json: bool
) -> None:
    """Replay recorded runs against the code of MODULE; exit code 1 with the first difference of each that does not fit.

    No step runs, nothing is written. FILE is what `fencepost runs export` wrote.
    """
    if not files and not open_runs:
        raise click.UsageError("name a FILE of recorded runs, or --open for the open runs in Postgres")
    from fencepost.engine import hash_seed

    hash_seed.begin_again()  # what a worker would do is the question
    session: Session = ctx.obj
    from fencepost.engine.loading import load_modules
    from fencepost.replay.recorded import Difference, Fit

    registry = _registry()
    load_modules(modules, registry)
    told: list[dict[str, Any]] = []

    def look(history: History) -> None:
        from fencepost.replay.recorded import fit

        run = history.run
        program = registry.find_workflow(run.workflow)
        if program is None:
            known = ", ".join(sorted(registry.workflows)) or "none"
            found = Fit(Difference(1, f"workflow {run.workflow}", f"no such workflow in {known}", ""), ())
        else:
            found = fit(run.id, program, history.events, queue=run.queue)
        told.append(_told(history, found))
        if not as_json:
            _show(told[-1])

    async def look_at_all() -> None:
        for history in _in(files):
            look(history)
        if open_runs:
            async for history in _open_runs(session):
                look(history)

    session.run(look_at_all())
    differing = [one for one in told if one["difference"]]
    if as_json:
        emit({"runs": told})
    else:
        click.echo(f"{len(told)} {'run' if len(told) == 1 else 'runs'} replayed, {len(differing)} of them differ")
    if differing:
        ctx.exit(1)


def _registry() -> Any:
    from fencepost.authoring import registry

    return registry.default


def _in(files: tuple[Path, ...]) -> Iterator[History]:
    from fencepost.history import read

    for file in files:
        yield from read(file)


async def _open_runs(session: Session) -> AsyncGenerator[History]:
    from fencepost.history import recorded

    async with session.store() as (store, _):
        async for run in _listed(store):
            loaded = await store.load(run.run_id)
            if loaded is not None and not loaded.run.status.ended:
                yield recorded(loaded.run, loaded.events)


async def _listed(store: Store) -> AsyncGenerator[Run]:
    from fencepost_store.protocol import RunFilter, RunStatus

    where = RunFilter(statuses=tuple(status for status in RunStatus if not status.ended))
    before: str | None = None
    while page := await store.list_runs(where, PAGE, before):
        for run in page:
            yield run
        before = page[-1].run_id


def _told(history: History, found: Fit) -> dict[str, Any]:
    import dataclasses

    run = history.run
    difference = None if found.difference is None else dataclasses.asdict(found.difference)
    return {
        "id": run.id,
        "workflow": run.workflow,
        "status": run.status,
        "events": len(history.events),
        "difference": difference,
        "changed_arguments": list(found.changed),
    }


def _show(told: dict[str, Any]) -> None:
    """A run that does not fit, and one whose arguments have changed; of the others there is nothing to say."""
    head = f"{told['workflow']} {told['id']} ({told['status']})"
    if told["changed_arguments"]:
        changed = ", ".join(told["changed_arguments"])
        click.echo(printable(f"{head}: other arguments than recorded, which is no difference: {changed}"))
    difference = told["difference"]
    if difference is None:
        return
    click.echo(printable(f"{head} does not fit, at seq {difference['seq']}:"))
    click.echo(printable(f"    the log has       {difference['recorded']}"))
    click.echo(printable(f"    the code asks for {difference['asked']}"))
    if difference["source"]:
        click.echo(printable(f"    at {difference['source']}"))
