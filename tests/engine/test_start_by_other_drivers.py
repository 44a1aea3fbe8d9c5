"""Starting a run in a transaction of psycopg2, Django and SQLAlchemy, as their users write it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import django
import psycopg2  # type: ignore[import-untyped]
import pytest
from django.conf import settings
from django.db import connection as of_django
from django.db import transaction
from engine_real import place
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from fencepost import errors, sync, workflow
from fencepost.client.run import Run


class Undo(Exception):
    """Ends a transaction without a commit."""


@contextmanager
def psycopg2_block(url: str) -> Generator[Any]:
    own = psycopg2.connect(url)
    try:
        with own:
            yield own
    finally:
        own.close()


@contextmanager
def psycopg2_autocommit(url: str) -> Generator[Any]:
    own = psycopg2.connect(url)
    own.autocommit = True
    try:
        yield own
    finally:
        own.close()


def use_django(url: str) -> None:
    """Once per process, as a settings file and the server's start do."""
    if settings.configured:
        return
    parts = urlsplit(url)
    server = parse_qs(parts.query)
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path[1:],
        "USER": parts.username or "",
        "HOST": parts.hostname or server["host"][0],
        "PORT": str(parts.port or server["port"][0]),
    }
    settings.configure(DATABASES={"default": database}, USE_TZ=True)
    django.setup()


@contextmanager
def django_block(url: str) -> Generator[Any]:
    use_django(url)
    try:
        with transaction.atomic():  # pyright: ignore[reportGeneralTypeIssues] # Django has no types
            yield of_django
    finally:
        of_django.close()


@contextmanager
def django_autocommit(url: str) -> Generator[Any]:
    use_django(url)
    try:
        yield of_django
    finally:
        of_django.close()


def sqlalchemy_block(driver: str) -> Callable[[str], AbstractContextManager[Any]]:
    @contextmanager
    def block(url: str) -> Generator[Any]:
        engine = create_engine(url.replace("postgresql://", f"postgresql+{driver}://"))
        with engine.begin() as own:
            own.execute(text("SELECT 1"))
            yield own.connection.dbapi_connection
        engine.dispose()

    return block


BLOCKS = {
    "psycopg2": psycopg2_block,
    "django": django_block,
    "sqlalchemy-psycopg2": sqlalchemy_block("psycopg2"),
    "sqlalchemy-psycopg": sqlalchemy_block("psycopg"),
}


@pytest.mark.parametrize("way", BLOCKS)
async def test_a_run_starts_with_the_commit_of_a_block(way: str, postgres_url: str, valkey_url: str) -> None:
    """It is there after the commit, with its attributes, and never was after a rollback."""
    block = BLOCKS[way]
    async with place(postgres_url, valkey_url) as here, here.worker():

        @workflow(registry=here.registry)
        async def flow(number: int) -> int:
            return number * 2

        def drive() -> None:
            with sync.Client(here.config) as client:
                with block(postgres_url) as own:
                    kept = client.start(flow, 4, key="p", attributes={"who": "ada"}, connection=own)
                kept.committed()
                assert kept.result(30) == 8
                assert [run.id for run in client.list(attributes={"who": "ada"})] == [kept.id]
                lost: list[sync.Run[Any]] = []
                with suppress(Undo), block(postgres_url) as own:
                    lost.append(client.start("flow", 5, connection=own))
                    again = client.start("flow", 4, key="p", connection=own)
                    assert (again.created, again.id) == (False, kept.id)
                    raise Undo
                with pytest.raises(errors.RunNotFound):
                    lost[0].status()

        await asyncio.to_thread(drive)


@pytest.mark.parametrize("autocommit", [psycopg2_autocommit, django_autocommit])
async def test_a_connection_without_a_transaction_is_refused(
    autocommit: Callable[[str], AbstractContextManager[Any]], postgres_url: str, valkey_url: str
) -> None:
    """Its commit would come at once, whatever the caller writes next."""
    async with place(postgres_url, valkey_url) as here:

        def drive() -> None:
            with sync.Client(here.config) as client, autocommit(postgres_url) as own:
                with pytest.raises(errors.ArgumentError, match="in no transaction"):
                    client.start("flow", 6, connection=own)
                assert client.list() == []

        await asyncio.to_thread(drive)


async def test_sqlalchemys_asyncio_lends_its_connection(postgres_url: str, valkey_url: str) -> None:
    """By the driver's connection below, as docs/steps.md says."""
    async with place(postgres_url, valkey_url) as here:
        engine = create_async_engine(postgres_url.replace("postgresql://", "postgresql+asyncpg://"))
        async with engine.begin() as own:
            await own.execute(text("SELECT 1"))
            raw = (await own.get_raw_connection()).driver_connection
            kept = await here.client.start("flow", 1, connection=raw)
        lost: list[Run[Any]] = []
        with suppress(Undo):
            async with engine.begin() as own:
                await own.execute(text("SELECT 1"))
                raw = (await own.get_raw_connection()).driver_connection
                lost.append(await here.client.start("flow", 2, connection=raw))
                raise Undo
        await engine.dispose()
        assert [run.id for run in await here.client.list()] == [kept.id]
        with pytest.raises(errors.RunNotFound):
            await lost[0].status()
