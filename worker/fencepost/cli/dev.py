"""``fencepost dev``: embedded servers and a worker that reloads, for working on a project."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import click

from fencepost.cli.session import Session
from fencepost.standard_streams import lose_output

if TYPE_CHECKING:
    from fencepost.dev.servers import EmbeddedServers
    from fencepost.engine.link import Ready

POLL_SECONDS = 0.3
"""How often the project's loaded files are looked at: a few hundred stats cost less than a millisecond."""
SERVERS_SECONDS = 1.0
"""How often is looked whether the servers are there."""
DRAIN_SECONDS = 2.0
"""What running bodies get when code changes or on Ctrl-C: somebody is sitting there and waits."""


@click.command()
@click.argument("modules", metavar="MODULE...", nargs=-1, required=True)
@click.option("--queues", metavar="A,B", help="The queues to serve. [default: default]")
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes.")
@click.option("--concurrency", type=click.IntRange(1, 100_000), help="Step bodies at once per process. [default: 64]")
@click.option("--http", metavar="HOST:PORT", help="Take webhooks there: POST /hooks/TOKEN (needs fencepost[web]).")
@click.option("--no-reload", is_flag=True, help="Do not watch the project's files.")
@click.option("--no-check-replay", is_flag=True, help="Do not replay every turn twice and compare.")
@click.option("--trace", is_flag=True, default=None, help="Log digests of what each turn saw and decided.")
@click.pass_obj
def dev(
    session: Session,
    modules: tuple[str, ...],
    queues: str | None,
    processes: int,
    concurrency: int | None,
    http: str | None,
    no_reload: bool,
    no_check_replay: bool,
    trace: bool | None,
) -> None:
    """Start Postgres and Valkey in ./.fencepost, and a worker with MODULE... that restarts when its code changes.

    Other commands in this folder find the servers while this runs. Ctrl-C ends all of it; the data stays. Every turn is
    replayed twice and compared, and after each reload the open runs that the new code does not fit are named.
    """
    from fencepost.cli.worker import names
    from fencepost.dev.servers import STATE_DIR, start

    lose_output()
    given = session.config()
    if given.env == "production":
        from fencepost.config import ConfigError

        raise ConfigError("env = 'production': dev servers are never used in production; run `fencepost worker`")
    if http:
        from fencepost.web.server import check

        check(session.config(http=http))
    for setting in ("database_url", "redis_url"):
        if getattr(given, setting):
            click.echo(f"note: {setting} is configured, and left alone: dev uses its own servers", err=True)
    with start(STATE_DIR) as servers:
        config = session.config(
            queues=names(queues),
            processes=processes,
            concurrency=concurrency,
            http=http,
            drain_seconds=DRAIN_SECONDS,
            trace=trace,
        )
        from msgspec.structs import replace

        config = replace(config, database_url=servers.postgres_url, redis_url=servers.redis_url)
        config = replace(config, check_replay=not no_check_replay)
        session.log("info")
        from fencepost_store.migrations import migrate

        asyncio.run(migrate(config.database_url, config.namespace))
        click.echo(f"Postgres  {servers.postgres_url}")
        click.echo(f"Valkey    {servers.redis_url}")
        click.echo(f"data      {servers.state_dir}{'' if servers.owned else '  (run by another process)'}")
        from fencepost.cli.misfits import Misfits
        from fencepost.cli.supervising import supervise

        misfits = Misfits(config, modules)

        def ready(words: list[Ready]) -> None:
            _tell_ready(words)
            misfits.look()

        def again(word: Ready) -> None:
            _tell_again(word)
            misfits.look()

        watch, gone = None if no_reload else changed, partial(lost, servers)
        supervise(config, modules, session, ready, restarted=again, changed=watch, lost=gone, own_builds=True)


async def lost(servers: EmbeddedServers) -> str:
    """Return why a server is not there any more, and the way out."""
    while True:
        await asyncio.sleep(SERVERS_SECONDS)
        if (reason := await asyncio.to_thread(servers.gone)) is not None:
            return f"{reason}\nstart `fencepost dev` again: the data is there"


async def changed(files: dict[str, int]) -> str:
    """Return the first of the files whose time of last change is not the given one any more."""
    from fencepost.engine.loading import changed_at

    while True:
        for file, time in changed_at(files).items():
            if time and time != files[file]:
                return file
        await asyncio.sleep(POLL_SECONDS)


def _tell_ready(words: list[Ready]) -> None:
    word = words[0]
    click.echo(f"ready: {_code(word)}; start a run with `fencepost start` in another terminal, end with Ctrl-C")


def _tell_again(word: Ready) -> None:
    click.echo(f"reloaded: {_code(word)}")


def _code(word: Ready) -> str:
    return f"workflows: {', '.join(word.workflows) or 'none'}; steps: {', '.join(word.steps) or 'none'}"
