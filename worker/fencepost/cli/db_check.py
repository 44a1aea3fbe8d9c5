"""``fencepost db check``: whether a process with this configuration could do its work, said before it is started."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

import click

from fencepost.cli.output import emit
from fencepost.cli.session import NoServers, Session, json_option
from fencepost.cli.trouble import explain

if TYPE_CHECKING:
    from fencepost.config import Config
    from fencepost_store.fitness import Purpose

NO_REDIS = "no redis_url is configured here, so Redis was not looked at"
NONE_PREPARED = (
    "passes prepared statements on as they are, so none is used through it and each call takes four round trips: set"
    " its max_prepared_statements (PgBouncer 1.21 or later)"
)


class Findings:
    """What is right (``notes``), what an operator should know, and what must be mended, with the first exit code."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.problems: list[str] = []
        self.code: int = 0

    async def of(self, look: Callable[[], Awaitable[None]]) -> None:
        """Take down what it raises, if that has words."""
        try:
            await look()
        except Exception as error:
            known = explain(error)
            if known is None:
                raise
            self.problems.append(known.message)
            self.code = self.code or known.code


@click.command()
@click.option(
    "--role",
    type=click.Choice(["worker", "client", "operator"]),
    default="worker",
    show_default=True,
    help="What the role in the URL is for: a client starts runs and signals them, an operator runs `db migrate` too.",
)
@json_option
@click.pass_obj
def check(session: Session, role: str, as_json: bool) -> None:
    """Say whether this version can work with the namespace's schema, and whether the users in the URLs may do there
    what a worker (or --role) does. Looks at Postgres and Redis. Changes nothing; exit code 5 if something is lacking,
    4 if a server does not answer.
    """
    config = _servers(session)
    found = asyncio.run(_check(config, cast("Purpose", role)))
    if as_json:
        ok = {"namespace": config.namespace, "role": role, "ok": not found.problems}
        emit({**ok, "problems": found.problems, "warnings": found.warnings, "notes": found.notes})
    else:
        for note in found.notes:
            click.echo(note)
        if not found.problems:
            click.echo(f"namespace {config.namespace}: ok for a role that is {_article(role)}")
    if not as_json:
        for warning in found.warnings:
            click.echo(f"warning: {warning}", err=True)
    for problem in found.problems:
        click.echo(f"fencepost: {problem}", err=True)
    if found.problems:
        click.get_current_context().exit(found.code)


def _article(role: str) -> str:
    return f"an {role}" if role == "operator" else f"a {role}"


def _servers(session: Session) -> Config:
    """Both, if they are known; Postgres at least."""
    config = session.config()
    if config.database_url and config.redis_url:
        return config
    try:
        return session.servers()
    except NoServers:
        if config.database_url:
            return config
        raise


async def _check(config: Config, purpose: Purpose) -> Findings:
    found = Findings()
    await found.of(lambda: _postgres(config, purpose, found))
    if config.redis_url:
        await found.of(lambda: _redis(config, found))
    else:
        found.warnings.append(NO_REDIS)
    return found


async def _postgres(config: Config, purpose: Purpose, found: Findings) -> None:
    from fencepost.connections import driver_url
    from fencepost_store.fitness import look
    from fencepost_store.migrations import check

    url = driver_url(config, "database_url")
    seen = await look(url, connect_seconds=config.connect_timeout_seconds)
    found.notes.append(f"{seen.server}, as role {seen.role}")
    if seen.pooled and seen.prepared:
        found.notes.append("a pooler stands before it, and knows prepared statements")
    elif seen.pooled:
        found.warnings.append(f"a pooler stands before Postgres and {NONE_PREPARED}")
    found.warnings += await check(url, config.namespace, purpose=purpose)


async def _redis(config: Config, found: Findings) -> None:
    from fencepost.connections import driver_url
    from fencepost_queue.fitness import check

    seen = await check(
        driver_url(config, "redis_url"),
        config.namespace,
        shards=config.shards,
        timeout_seconds=config.connect_timeout_seconds,
    )
    shards = f"shards: {seen.shards}" if seen.shards is not None else "no process of the namespace has used it yet"
    found.notes.append(f"{seen.server}, as user {seen.user}; {shards}")
