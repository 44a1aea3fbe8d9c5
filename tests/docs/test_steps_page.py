"""What docs/steps.md shows works as it stands, on real servers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
from tests.docs.markdown import blocks, read
from tests.engine.engine_real import Place, place

from fencepost import sync
from fencepost.authoring import registry

TRANSFERS, IN_A_TEST, BOOKING, SHOP, VIEWS = blocks(read("docs/steps.md"), "python")


def loaded(here: Place, text: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The page's module, registered with this place's worker."""
    monkeypatch.setattr(registry, "default", here.registry)
    module: dict[str, Any] = {"__name__": "page"}
    exec(text, module)
    return module


async def test_time_and_heartbeats(postgres_url: str, valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody serves the queue "gpu"; its five minutes are cut short."""
    async with place(postgres_url, valkey_url) as here:
        assert "minutes=5" in TRANSFERS
        flows = loaded(here, TRANSFERS.replace("minutes=5", "milliseconds=300"), monkeypatch)
        async with here.worker():
            run = await here.client.start(flows["order"], 7)
            assert await run.result(30) == "receipt 7, no picture: schedule_to_start"
            assert await (await here.client.start(flows["copied"], 20)).result(30) == 20


def test_the_page_s_test_passes(tmp_path: Path) -> None:
    (tmp_path / "transfers.py").write_text(TRANSFERS)
    (tmp_path / "test_transfers.py").write_text(IN_A_TEST)
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_transfers.py"]
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(argv, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_bookings_and_orders(postgres_url: str, valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The transactional step, and runs started in transactions of asyncpg and psycopg."""
    async with place(postgres_url, valkey_url) as here:
        name = here.config.namespace
        await here.admin.execute(f"CREATE TABLE bookings_{name} (seat integer, run text)")
        await here.admin.execute(f"CREATE TABLE orders_{name} (number integer)")
        booking = loaded(here, BOOKING.replace("bookings", f"bookings_{name}"), monkeypatch)
        loaded(here, TRANSFERS.replace("minutes=5", "milliseconds=300"), monkeypatch)
        shop, views = (
            loaded(here, text.replace("INTO orders", f"INTO orders_{name}"), monkeypatch) for text in (SHOP, VIEWS)
        )
        async with here.worker():
            run = await here.client.start(booking["travel"], [3, 1])
            assert await run.result(30) == [3, 1]
            rows = await here.admin.fetch(f"SELECT seat, run FROM bookings_{name} ORDER BY seat")
            assert [tuple(row) for row in rows] == [(1, run.id), (3, run.id)]

            own: Any = await asyncpg.connect(postgres_url)
            first = await shop["place_order"](here.client, own, 1)
            await own.close()

            def view() -> str:
                with sync.Client(here.config) as client, psycopg.connect(postgres_url) as connection:
                    return views["place_order"](client, connection, 2)

            second = await asyncio.to_thread(view)
            for number, run_id in ((1, first), (2, second)):
                told = await here.client.run(run_id).result(30)
                assert told == f"receipt {number}, no picture: schedule_to_start"
        assert await here.admin.fetchval(f"SELECT count(*) FROM orders_{name}") == 2
