"""Fixtures of the store's tests."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

# The import mode of this suite puts no folder on the path; the store's tests share one module of their own.
sys.path.insert(0, str(Path(__file__).parent))

from worlds import World, frozen_clock, memory_world, postgres_store


@pytest.fixture
async def postgres_world(postgres_url: str, namespace: str) -> AsyncIterator[World]:
    """A PostgresStore under a clock that only the test moves."""
    store = await postgres_store(postgres_url, namespace)
    admin = await asyncpg.connect(postgres_url)
    try:
        yield World(store, await frozen_clock(admin, namespace))
    finally:
        await store.close()
        await admin.close()


@pytest.fixture(params=["memory", "postgres"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Each implementation of the store in turn."""
    if request.param == "memory":
        yield memory_world()
        return
    url: str = request.getfixturevalue("postgres_url")
    namespace: str = request.getfixturevalue("namespace")
    store = await postgres_store(url, namespace)
    admin = await asyncpg.connect(url)
    try:
        yield World(store, await frozen_clock(admin, namespace))
    finally:
        await store.close()
        await admin.close()
