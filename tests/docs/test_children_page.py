"""What docs/children.md shows works as it stands."""

from __future__ import annotations

from typing import Any

import pytest
from tests.docs.markdown import blocks, read
from tests.engine.engine_virtual import run
from tests.engine.engine_world import World

from fencepost import RunFailed
from fencepost.authoring import registry

PAGE = read("docs/children.md")


def test_the_page_s_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block is run, letter by letter."""
    parcels, reports, poll = blocks(PAGE, "python")

    async def main() -> None:
        world = World()
        monkeypatch.setattr(registry, "default", world.registry)
        names: dict[str, Any] = {"__name__": "children_page"}
        for program in (parcels, reports, poll):
            exec(program, names)
        client = world.client()
        async with world.worker("A"):
            run_ = await world.start(names["deliver"], ["a", "b"])
            assert await run_.result(60) == ["label of a", "label of b"]
            assert {row.parent_entity for row in await client.list(parent=run_.id)} == {"ship#1", "ship#2"}
            assert await (await world.start(names["careful"], "")).result(60) == "no label: a parcel needs a name"
            with pytest.raises(RunFailed, match="a parcel needs a name"):
                await (await world.start(names["deliver"], [""])).result(60)
            assert await (await world.start(names["report"], "quick")).result(60) == "quick: 5"
            slow = await (await world.start(names["report"], "slow")).result(200)
            assert slow.startswith("slow: too slow (")
            polled = await client.start(names["poll"], 1, 3)
            assert await polled.result(2_000) == 10
            assert (await polled.status()).status == "continued"

    run(main)
