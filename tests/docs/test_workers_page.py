"""What docs/workers.md shows works as it stands."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.cli.terminal import terminal_in
from tests.docs.markdown import blocks, read
from tests.engine.engine_real import place

from fencepost.authoring import registry

SHOP, TENANTS = blocks(read("docs/workers.md"), "python")


def test_the_shop_opens_its_price_list(tmp_path: Path, postgres_url: str, valkey_url: str, namespace: str) -> None:
    """With the setting the worker starts and quotes; without, it says what to set."""
    (tmp_path / "shop.py").write_text(SHOP)
    environ = {
        "FENCEPOST_DATABASE_URL": postgres_url,
        "FENCEPOST_REDIS_URL": valkey_url,
        "FENCEPOST_NAMESPACE": namespace,
        "FENCEPOST_ENV": "test",
    }
    assert "SHOP_CURRENCY" not in os.environ
    with terminal_in(tmp_path, environ) as terminal:
        assert terminal("db", "migrate").exit_code == 0
        refused = terminal.start("worker", "shop")
        assert refused.end() == 1
        assert "RuntimeError: set SHOP_CURRENCY" in refused.text
        live = terminal.start("worker", "shop", SHOP_CURRENCY="EUR")
        live.wait_for("ready:")
        told = terminal("start", "quote", '"tea"', "--wait", "--timeout", "20")
        assert "3 EUR" in told.stdout, told.output


async def test_tenants(postgres_url: str, valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with place(postgres_url, valkey_url) as here:
        monkeypatch.setattr(registry, "default", here.registry)
        module: dict[str, Any] = {"__name__": "page"}
        exec(TENANTS, module)
        async with here.worker():
            run = await here.client.start(module["bill"], "ada")
            assert await run.result(30) == "ada: not billed"
        assert module["failures"] == ["bill invoice#1 attempt 1: ada has no address"]
