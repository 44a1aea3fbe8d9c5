"""What docs/attributes.md shows works as it stands."""

from __future__ import annotations

from typing import Any

import pytest
from tests.docs.markdown import blocks, read
from tests.engine.engine_virtual import run
from tests.engine.engine_world import World

import fencepost
from fencepost.attributes import ATTRIBUTES_MAX, TEXT_BYTES_MAX
from fencepost.authoring import registry
from fencepost.client import Client

PAGE = read("docs/attributes.md")


class _Opened:
    """Stands where the page opens a client of its own."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def __aenter__(self) -> Client:
        return self._client

    async def __aexit__(self, *error: object) -> None:
        return


def test_the_page_s_programs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    orders, later = blocks(PAGE, "python")

    async def main() -> None:
        world = World()
        monkeypatch.setattr(registry, "default", world.registry)
        client = world.client()
        buying: dict[str, Any] = {"__name__": "orders"}
        waiting: dict[str, Any] = {"__name__": "later"}
        exec(orders, buying)
        exec(later, waiting)
        buying["Client"] = lambda: _Opened(client)
        async with world.worker("A"):
            await buying["main"]()
            assert capsys.readouterr().out.rstrip().endswith(" 700")
            hours, tonight = await waiting["put_off"](client)
            for one in (hours, tonight):
                starts_at = (await one.status()).starts_at
                assert starts_at is not None
                if one is hours:
                    assert await one.result(7_201) == starts_at.isoformat()

    run(main)


def test_the_bounds_are_those_of_the_code() -> None:
    assert f"{ATTRIBUTES_MAX} attributes of one run, texts of {TEXT_BYTES_MAX} bytes" in PAGE
    assert "BadAttribute" in fencepost.__all__
