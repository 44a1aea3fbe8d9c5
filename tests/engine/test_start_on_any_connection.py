"""``start(connection=...)`` on connections with rows, cursors and codecs of the user's own. On a real server, with the
drivers that are installed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import asyncpg
import psycopg
import psycopg2  # type: ignore[import-untyped]
import psycopg2.extensions  # type: ignore[import-untyped]
import psycopg2.extras  # type: ignore[import-untyped]
import pytest
from django.db import connection as of_django
from django.db import transaction
from psycopg import rows
from sqlalchemy import create_engine
from tests.engine.engine_real import place
from tests.engine.test_start_by_other_drivers import use_django

from fencepost import sync, workflow

Block = Callable[[str], AbstractContextManager[Any]]


@dataclass
class Mine:
    """Has no field of ours: to make one of our row raises."""

    name: str


def of_psycopg(**options: Any) -> Block:
    @contextmanager
    def block(url: str) -> Generator[Any]:
        with psycopg.connect(url, **options) as own:
            yield own

    return block


def raw_cursors(own: Any) -> None:
    own.cursor_factory = psycopg.RawCursor


def client_cursors(own: Any) -> None:
    own.cursor_factory = psycopg.ClientCursor


def changed(change: Callable[[Any], None]) -> Block:
    @contextmanager
    def block(url: str) -> Generator[Any]:
        with psycopg.connect(url) as own:
            change(own)
            yield own

    return block


def of_psycopg2(**options: Any) -> Block:
    @contextmanager
    def block(url: str) -> Generator[Any]:
        own = psycopg2.connect(url, **options)
        try:
            with own:
                yield own
        finally:
            own.close()

    return block


@contextmanager
def typecasters(url: str) -> Generator[Any]:
    """Every value comes as something else: a caster of this connection's, for each type that a start may answer."""
    with of_psycopg2()(url) as own:
        for oid in (16, 17, 20, 2950):
            kind = psycopg2.extensions.new_type((oid,), "MINE", lambda value, cursor: object())
            psycopg2.extensions.register_type(kind, own)
        yield own


@contextmanager
def django(url: str) -> Generator[Any]:
    use_django(url)
    of_django.ensure_connection()
    inner: Any = of_django.connection
    before = getattr(inner, "row_factory", None)
    if before is None:
        inner.cursor_factory = psycopg2.extras.RealDictCursor
    else:
        inner.row_factory = rows.dict_row
    try:
        with transaction.atomic():  # pyright: ignore[reportGeneralTypeIssues] # Django has no types
            yield of_django
    finally:
        of_django.close()


@contextmanager
def sqlalchemy(url: str) -> Generator[Any]:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as own, own.begin():
        raw: Any = own.connection.dbapi_connection
        raw.row_factory = rows.dict_row
        yield raw
    engine.dispose()


BLOCKS: dict[str, Block] = {
    "psycopg": of_psycopg(),
    "psycopg dict_row": of_psycopg(row_factory=rows.dict_row),
    "psycopg namedtuple_row": of_psycopg(row_factory=rows.namedtuple_row),
    "psycopg class_row": of_psycopg(row_factory=rows.class_row(Mine)),
    "psycopg scalar_row": of_psycopg(row_factory=rows.scalar_row),
    "psycopg kwargs_row": of_psycopg(row_factory=rows.kwargs_row(dict)),
    "psycopg ClientCursor": changed(client_cursors),
    "psycopg RawCursor": changed(raw_cursors),
    "psycopg2": of_psycopg2(),
    "psycopg2 RealDictConnection": of_psycopg2(connection_factory=psycopg2.extras.RealDictConnection),
    "psycopg2 DictConnection": of_psycopg2(connection_factory=psycopg2.extras.DictConnection),
    "psycopg2 NamedTupleConnection": of_psycopg2(connection_factory=psycopg2.extras.NamedTupleConnection),
    "psycopg2 RealDictCursor": of_psycopg2(cursor_factory=psycopg2.extras.RealDictCursor),
    "psycopg2 casters": typecasters,
    "django": django,
    "sqlalchemy": sqlalchemy,
}


@pytest.mark.parametrize("way", BLOCKS)
async def test_a_connection_that_shapes_its_rows_starts_a_run(way: str, postgres_url: str, valkey_url: str) -> None:
    """By a key, so that every column of the answer is used: the second start is answered with the first run."""
    async with place(postgres_url, valkey_url) as here:

        @workflow(registry=here.registry)
        async def flow(number: int) -> int:
            return number * 2

        def drive() -> None:
            with sync.Client(here.config) as client:
                with BLOCKS[way](postgres_url) as own:
                    kept = client.start(flow, 4, key="p", attributes={"who": "ada"}, connection=own)
                    again = client.start(flow, 4, key="p", strict=True, attributes={"who": "ada"}, connection=own)
                    assert (kept.created, again.created, again.id) == (True, False, kept.id)
                assert [run.id for run in client.list(attributes={"who": "ada"})] == [kept.id]

        await asyncio.to_thread(drive)


class Shaped(asyncpg.Record):
    """As some give their connections, to read columns as attributes; by place it answers nothing."""

    def __getitem__(self, name: Any) -> Any:
        if isinstance(name, int):
            raise TypeError("by name only")
        return super().__getitem__(name)


async def test_an_asyncpg_connection_with_codecs_and_records_of_its_own_starts_a_run(
    postgres_url: str, valkey_url: str
) -> None:
    """jsonb by json.dumps is what most have; with it the attributes would become one text."""
    async with place(postgres_url, valkey_url) as here:
        own: Any = await asyncpg.connect(postgres_url, record_class=Shaped)
        for name in ("json", "jsonb"):
            await own.set_type_codec(name, schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
        for name in ("uuid", "bytea", "timestamptz", "int8", "bool"):
            await own.set_type_codec(name, schema="pg_catalog", encoder=attrgetter("of_mine"), decoder=repr)
        async with own.transaction():
            kept = await here.client.start("flow", 1, key="p", attributes={"who": "ada"}, connection=own)
            again = await here.client.start("flow", 1, key="p", strict=True, attributes={"who": "ada"}, connection=own)
            assert (kept.created, again.created, again.id) == (True, False, kept.id)
        await own.close()
        assert [run.id for run in await here.client.list(attributes={"who": "ada"})] == [kept.id]
