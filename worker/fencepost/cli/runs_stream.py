"""``fencepost runs streams`` and ``runs stream``: what a run's steps have written for others to read."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import click

from fencepost.cli.output import emit, iso, moment, plain, printable, shown, table
from fencepost.cli.runs_list import check_run_id
from fencepost.cli.session import Session, json_option

if TYPE_CHECKING:
    from fencepost_store.streams import Chunk, StreamInfo, Streams


class NoStream(Exception):
    """The run has no stream of that name."""


@click.command()
@click.argument("run_id", metavar="ID", callback=check_run_id)
@json_option
@click.pass_obj
def streams(session: Session, run_id: str, as_json: bool) -> None:
    """List the run's streams. Needs Postgres only."""

    async def look() -> list[StreamInfo]:
        from fencepost.errors import RunNotFound

        async with session.store() as (store, _):
            if await store.get(run_id) is None:
                raise RunNotFound(run_id)
            return await store.list_streams(run_id)

    found = session.run(look())
    if as_json:
        emit({"streams": [_info_json(one) for one in found]})
        return
    rows = [
        [one.name, str(one.tail), str(one.size), "yes" if one.closed else "no", iso(moment(one.updated_at))]
        for one in found
    ]
    table(rows, ["STREAM", "CHUNKS", "BYTES", "CLOSED", "UPDATED"], right=frozenset({1, 2}))


@click.command()
@click.argument("run_id", metavar="ID", callback=check_run_id)
@click.argument("name")
@click.option("--start", type=int, default=0, metavar="N", help="From index N on; negative: from the tail.")
@click.option("--follow", "-f", is_flag=True, help="Wait for more, until the stream is closed or the run has ended.")
@json_option
@click.pass_obj
def stream(session: Session, run_id: str, name: str, start: int, follow: bool, as_json: bool) -> None:
    """Show the chunks of a stream: one value in JSON per line. Without --follow it needs Postgres only.

    With --json each line is one JSON document: the chunk's index, time, step, attempt and value.
    """

    async def show() -> None:
        async with _chunks(session, run_id, name, start, follow) as chunks:
            async for chunk in chunks:
                told = _chunk_json(chunk)
                if as_json:
                    emit(told)
                else:
                    click.echo(printable(shown(told["value"])))

    session.run(show())


@asynccontextmanager
async def _chunks(
    session: Session, run_id: str, name: str, start: int, follow: bool
) -> AsyncGenerator[AsyncGenerator[Chunk]]:
    async with session.store() as (store, _):
        if not follow:
            yield _there(store, run_id, name, start)
            return
        from fencepost.streaming import StreamSource

        async with session.queue() as (queue, _):
            yield _followed(store, StreamSource(store, queue, run_id, name).follow(start), run_id, name)


async def _followed(store: Streams, chunks: AsyncGenerator[Chunk], run_id: str, name: str) -> AsyncGenerator[Chunk]:
    """What is there and what comes. A name that is still unknown when the run has ended was a wrong one."""
    empty = True
    async for chunk in chunks:
        empty = False
        yield chunk
    if empty:
        await _refuse_unknown(store, run_id, name, waits=False)


async def _there(store: Streams, run_id: str, name: str, start: int) -> AsyncGenerator[Chunk]:
    """What is there now."""
    from fencepost.errors import RunNotFound
    from fencepost.streaming import PAGE_BYTES, PAGE_CHUNKS

    while True:
        page = await store.read_stream(run_id, name, start, limit=PAGE_CHUNKS, bytes_max=PAGE_BYTES)
        if page is None:
            raise RunNotFound(run_id)
        for chunk in page.chunks:
            yield chunk
        start = page.start + len(page.chunks)
        if start >= page.tail:
            break
    if page.tail == 0:
        await _refuse_unknown(store, run_id, name)


async def _refuse_unknown(store: Streams, run_id: str, name: str, *, waits: bool = True) -> None:
    known = [one.name for one in await store.list_streams(run_id)]
    if name not in known:
        there = f"it has {', '.join(repr(one) for one in known)}" if known else "it has none"
        if waits:
            raise NoStream(f"run {run_id} has no stream {name!r} yet: {there}; --follow waits for it")
        raise NoStream(f"run {run_id} has ended without a stream {name!r}: {there}")


def _info_json(one: StreamInfo) -> dict[str, Any]:
    return {
        "name": one.name,
        "chunks": one.tail,
        "bytes": one.size,
        "closed": one.closed,
        "created_at": iso(moment(one.created_at)),
        "updated_at": iso(moment(one.updated_at)),
    }


def _chunk_json(chunk: Chunk) -> dict[str, Any]:
    return {
        "index": chunk.index,
        "at": iso(moment(chunk.at)),
        "step": chunk.writer,
        "attempt": chunk.attempt,
        "value": _value(chunk.payload),
    }


def _value(data: bytes) -> Any:
    """As ``event_text.value_of``, for chunks."""
    from fencepost import chunks
    from fencepost.errors import PayloadError, PayloadKeyMissing

    try:
        return plain(chunks.decode(data, Any, "chunk"))
    except PayloadKeyMissing as missing:
        return {"encrypted_with_key": missing.key}
    except PayloadError:
        return plain(data)
