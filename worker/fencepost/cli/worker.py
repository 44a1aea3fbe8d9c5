"""``fencepost worker``: the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fencepost.cli.session import Session
from fencepost.standard_streams import lose_output

if TYPE_CHECKING:
    from fencepost.engine.link import Ready


@click.command()
@click.argument("modules", metavar="MODULE...", nargs=-1, required=True)
@click.option("--processes", type=click.IntRange(1, 1024), help="Worker processes under one supervisor. [default: 1]")
@click.option("--queues", metavar="A,B", help="The queues to serve. [default: default]")
@click.option("--concurrency", type=click.IntRange(1, 100_000), help="Step bodies at once per process. [default: 64]")
@click.option("--drain-seconds", type=click.FloatRange(0, 86_400), help="What running bodies get to end. [default: 25]")
@click.option("--build", metavar="ID", help="Which code this is, such as a git commit.")
@click.option("--http", metavar="HOST:PORT", help="Take webhooks there: POST /hooks/TOKEN (needs fencepost[web]).")
@click.option("--trace", is_flag=True, default=None, help="Log digests of what each turn saw and decided.")
@click.option(
    "--no-supervisor",
    is_flag=True,
    help="Work in this very process. If it is killed, its work waits for its leases to run out.",
)
@click.pass_obj
def worker(
    session: Session,
    modules: tuple[str, ...],
    processes: int | None,
    queues: str | None,
    concurrency: int | None,
    drain_seconds: float | None,
    build: str | None,
    http: str | None,
    trace: bool | None,
    no_supervisor: bool,
) -> None:
    """Run the workflows and steps of MODULE... until told to stop.

    SIGTERM or Ctrl-C drains: no new work is taken, running steps get --drain-seconds to end, the rest is handed back.
    A second one, a second later or more, ends everything at once. A worker process that dies is replaced, and its work
    goes on at once.
    """
    if no_supervisor:
        from fencepost.engine import hash_seed
        from fencepost.engine.reaping import leave_process_1

        hash_seed.begin_again()
        leave_process_1()
    config = session.servers(
        processes=processes,
        queues=names(queues),
        concurrency=concurrency,
        drain_seconds=drain_seconds,
        build=build,
        http=http,
        trace=trace,
    )
    from fencepost.web.server import check, serving

    check(config)
    lose_output()
    session.log("info")
    if no_supervisor:
        if config.processes > 1:
            raise click.UsageError(f"--no-supervisor is one process, and processes is {config.processes}")
        from fencepost.engine.child import serve
        from fencepost.service import notify

        def ready(word: Ready) -> None:
            notify("READY=1")
            _tell_ready([word])

        serve(config, modules, ready, beside=serving)
        return
    from fencepost.cli.supervising import supervise

    supervise(config, modules, session, _tell_ready)


def names(text: str | None) -> list[str] | None:
    """``--queues`` as a list, None if it was not given."""
    if text is None:
        return None
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise click.BadParameter(f"{text!r} names no queue", param_hint="--queues")
    return found


def _tell_ready(words: list[Ready]) -> None:
    first = words[0]
    count = f"{len(words)} worker processes" if len(words) > 1 else "1 worker process"
    click.echo(
        f"ready: {count}; workflows: {', '.join(first.workflows) or 'none'}; steps: {', '.join(first.steps) or 'none'}"
    )
