"""``fencepost queue``: how much work waits, and which."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import click
import msgspec

from fencepost.cli.output import coloured, emit, span, table
from fencepost.cli.session import Session, json_option

if TYPE_CHECKING:
    from fencepost.config import Config
    from fencepost_queue.protocol import Depth, Peeked
    from fencepost_queue.valkey import ValkeyQueue
    from fencepost_store.inspection import Inspection

CLEAR = "\x1b[H\x1b[2J"


@click.group()
def queue() -> None:
    """See how much work waits."""


@queue.command(short_help="Count the messages of each lane.")
@click.option("--watch", is_flag=True, help="Again and again, until Ctrl-C.")
@click.option(
    "--interval", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="Seconds, for --watch."
)
@json_option
@click.pass_obj
def depth(session: Session, watch: bool, interval: float, as_json: bool) -> None:
    """Count the messages of each lane: ready, leased to workers, delayed, and how long the oldest ready one waits.

    What is due counts as ready whether or not a worker is alive to take it: delays that are over, leases that have
    ended, and runs that are due in Postgres and have no message. Without Postgres the last of these are left out.
    """

    async def look() -> None:
        async with session.queue() as (connected, config), _postgres(config) as postgres:
            while True:
                lanes, complete = await _count(connected, postgres, config)
                if watch and not as_json and coloured():
                    click.echo(CLEAR, nl=False)
                _show_depth(lanes, as_json, complete=complete)
                if not watch:
                    return
                await asyncio.sleep(interval)

    session.run(look())


@asynccontextmanager
async def _postgres(config: Config) -> AsyncGenerator[Inspection | None]:
    """The reading side of Postgres; None where it is not configured, or does not answer: Redis is shown alone then."""
    from fencepost.connections import open_inspection
    from fencepost_store.protocol import StoreTrouble

    if not config.database_url:
        yield None
        return
    try:
        inspection = await open_inspection(config)
    except StoreTrouble as trouble:
        click.echo(f"Postgres: {trouble}", err=True)
        yield None
        return
    try:
        yield inspection
    finally:
        await inspection.close()


async def _count(queue: ValkeyQueue, postgres: Inspection | None, config: Config) -> tuple[list[Depth], bool]:
    """The lanes, and whether the runs that only Postgres knows to be due are among what is ready."""
    from fencepost.audit.depth import counted, unqueued
    from fencepost_store.protocol import StoreTrouble

    lanes = await queue.depth()
    if postgres is None:
        return lanes, False
    try:
        missing = await unqueued(postgres, queue, 2 * config.reconcile_period_seconds)
    except StoreTrouble as trouble:
        click.echo(f"Postgres: {trouble}", err=True)
        return lanes, False
    return counted(lanes, missing, config.shards), True


def _show_depth(lanes: list[Depth], as_json: bool, *, complete: bool) -> None:
    if as_json:
        emit({"lanes": [msgspec.structs.asdict(lane) for lane in lanes], "complete": complete})
        return
    if not complete:
        click.echo("without Postgres: runs that are due and have no message are not counted", err=True)
    if not lanes:
        click.echo("no queue of this namespace has ever been used")
        return
    rows = [
        [
            lane.queue,
            str(lane.shard),
            str(lane.ready),
            str(lane.leased),
            str(lane.delayed),
            "-" if lane.oldest_ready_ms is None else span(lane.oldest_ready_ms / 1000),
        ]
        for lane in lanes
    ]
    table(rows, ["QUEUE", "SHARD", "READY", "LEASED", "DELAYED", "OLDEST READY"], right=frozenset({1, 2, 3, 4}))


@queue.command(short_help="Show messages of a queue as they stand.")
@click.argument("name", metavar="[QUEUE]", default="default")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many at most.")
@json_option
@click.pass_obj
def peek(session: Session, name: str, limit: int, as_json: bool) -> None:
    """Show messages of QUEUE as they stand: leased ones first, then ready ones in order, then delayed ones."""

    async def look() -> list[Peeked]:
        async with session.queue() as (connected, _):
            try:
                return await connected.peek(name, limit)
            except ValueError as error:
                raise click.BadParameter(str(error), param_hint="QUEUE") from error

    found = session.run(look())
    if as_json:
        emit({"queue": name, "messages": [msgspec.structs.asdict(message) for message in found]})
        return
    if not found:
        click.echo(f"queue {name!r} is empty")
        return
    head = ["KEY", "STATE", "DUE IN", "OWNER", "CRASHES", "CONFLICTS", "FLAGS"]
    table([_row(message) for message in found], head, right=frozenset({4, 5}))


def _row(message: Peeked) -> list[str]:
    flags = [name for name in ("recover", "dirty") if getattr(message, name)]
    if message.proofs:
        flags.append(f"proofs={message.proofs}")
    due = "-" if message.due_ms is None else span(message.due_ms / 1000)
    crashes, conflicts = str(message.crashes), str(message.conflicts)
    return [message.key, message.state, due, message.owner or "-", crashes, conflicts, ",".join(flags)]
