"""``fencepost start``: a run from the command line."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import click

from fencepost.cli.lengths import length
from fencepost.cli.output import emit
from fencepost.cli.session import Session, json_option

if TYPE_CHECKING:
    from fencepost.authoring.workflow import Workflow


@click.command()
@click.argument("workflow")
@click.argument("args", metavar="[JSON]...", nargs=-1)
@click.option("--kwargs", metavar="JSON", help="Keyword arguments: one JSON object.")
@click.option("--key", help="One run per workflow and key: a second start answers with the first run.")
@click.option("--strict", is_flag=True, help="With --key: refuse if the first run has other arguments.")
@click.option(
    "--reuse",
    type=click.Choice(["never", "failed", "ended"]),
    default="never",
    show_default=True,
    help="With --key: when the key of a run that has ended is free: failed, cancelled or terminated; however it ended.",
)
@click.option("--queue", metavar="NAME", help="Where the run's turns are done. [default: the workflow's]")
@click.option("--attribute", metavar="NAME=JSON", multiple=True, help="What the run is looked up by; may be repeated.")
@click.option("--delay", type=length, metavar="SECONDS", help="Its first turn comes no sooner.")
@click.option("--at", metavar="INSTANT", help="The same as an instant: 2030-01-31T08:00:00+01:00.")
@click.option("--module", metavar="MODULE", help="Has the workflow's code, to check the arguments against.")
@click.option("--wait", is_flag=True, help="Wait for the result and show it.")
@click.option("--timeout", type=length, metavar="SECONDS", help="How long --wait waits at most.")
@json_option
@click.pass_obj
def start(
    session: Session,
    workflow: str,
    args: tuple[str, ...],
    kwargs: str | None,
    key: str | None,
    strict: bool,
    reuse: str,
    queue: str | None,
    attribute: tuple[str, ...],
    delay: float | None,
    at: str | None,
    module: str | None,
    wait: bool,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Start a run of WORKFLOW, a name or module:function, with one JSON value per argument.

    With --module, or as module:function, the arguments are checked against the workflow's signature and converted to
    its types. By name alone they are passed as they are.

    \b
    fencepost start fulfil '{"id": 42}'
    fencepost start my_app.flows:fulfil '{"id": 42}' --wait
    """
    from fencepost.cli.arguments import parse_attributes, parse_instant, parse_json, parse_kwargs, typed

    if timeout is not None and not wait:
        raise click.UsageError("--timeout bounds --wait: give both, or neither")
    if strict and key is None:
        raise click.UsageError("--strict says which run of that --key will do: give both, or neither")
    if reuse != "never" and key is None:
        raise click.UsageError("--reuse says when the --key is free again: give both, or neither")
    values = [parse_json(text, f"argument {number}") for number, text in enumerate(args, 1)]
    named = parse_kwargs(kwargs)
    found = _find(workflow, module)
    if found is not None:
        values, named = typed(found, values, named)
    options: dict[str, Any] = {"key": key, "queue": queue, "strict": strict, "key_reuse": reuse, "delay": delay}
    options |= {"attributes": parse_attributes(attribute), "start_at": parse_instant(at)}
    if clash := sorted(options.keys() & named.keys()):
        raise click.UsageError(
            f"--kwargs has {', '.join(clash)}, which are names of start's own: pass them by position"
        )

    async def begin() -> dict[str, Any]:
        async with session.client() as client:
            run = await client.start(found or workflow, *values, **options, **named)
            told: dict[str, Any] = {"id": run.id, "workflow": found.name if found else workflow, "created": run.created}
            status = None if run.created else (await run.status()).status
            if status is not None:
                told["status"] = status
            if not as_json:
                click.echo(run.id if status is None else f"{run.id}  (there already: {status})")
            if wait:
                from fencepost.cli.results import outcome

                told.update(await outcome(client, run, timeout))
            return told

    told = session.run(begin())
    if wait:
        from fencepost.cli.results import show

        show(told, as_json)
    elif as_json:
        emit(told)


def _find(name: str, module: str | None) -> Workflow[..., Any] | None:
    """The workflow's code; None if only its name was given. Raises LoadError, WorkflowNotRegistered."""
    home, colon, attribute = name.partition(":")
    if not colon and module is None:
        return None
    from fencepost.authoring import registry
    from fencepost.authoring.workflow import Workflow
    from fencepost.engine.loading import load_modules
    from fencepost.errors import WorkflowNotRegistered

    if colon and module is not None:
        raise click.UsageError(f"{name!r} names its module already: leave --module out")
    place = home if colon else str(module)
    load_modules([place], registry.default)
    value: object = getattr(importlib.import_module(place), attribute, None) if colon else None
    if isinstance(value, Workflow):
        return value  # pyright: ignore[reportUnknownVariableType]
    wanted = attribute if colon else name
    found = registry.default.find_workflow(wanted)
    if found is None:
        known = ", ".join(sorted(registry.default.workflows)) or "none"
        raise WorkflowNotRegistered(f"module {place!r} has no workflow {wanted!r}; its workflows: {known}")
    return found
