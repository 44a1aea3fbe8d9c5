"""Start keys as clients see them: found again, free again if asked, refused where they are none."""

from __future__ import annotations

from typing import Any

import pytest
from engine_virtual import run
from engine_world import World

from fencepost import errors, step, workflow


def test_a_failed_runs_key_is_free_again_on_request_and_the_holder_is_found() -> None:
    async def main() -> None:
        world = World()
        works: list[bool] = []

        @step(registry=world.registry, retries=0)
        async def charge() -> str:
            if not works:
                raise ValueError("card expired")
            return "paid"

        @workflow(registry=world.registry)
        async def order() -> str:
            return await charge()

        client = world.client()
        async with world.worker("A"):
            assert await client.find(order, "order-7") is None
            first = await client.start("order", key="order-7")
            with pytest.raises(errors.RunFailed):
                await first.result(60)
            same = await client.start("order", key="order-7")
            assert (same.id, same.created, (await same.status()).status) == (first.id, False, "failed")
            works.append(True)
            second = await client.start("order", key="order-7", key_reuse="failed")
            assert second.created
            assert await second.result(60) == "paid"
            for again in (
                await client.start("order", key="order-7", key_reuse="failed"),
                await client.find(order, "order-7"),
            ):
                assert again is not None
                assert again.id == second.id
                assert await again.result(60) == "paid"
            third = await client.start("order", key="order-7", key_reuse="ended")
            assert third.created
            assert await client.find("another", "order-7") is None

    run(main)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"key": 7}, ["key = 7", "text", "int", "'order-7'"]),
        ({"key": b"x"}, ["key = b'x'", "text", "bytes"]),
        ({"key": ""}, ["key = ''", "at least one character"]),
        ({"key": "k", "key_reuse": "always"}, ["key_reuse = 'always'", "'never', 'failed', 'ended'"]),
        ({"key": "k", "key_reuse": None}, ["key_reuse = None"]),
        ({"key": "k", "key_reuse": ["failed"]}, ["key_reuse = ['failed']"]),
        ({"key_reuse": "failed"}, ["key_reuse = 'failed'", "no key="]),
    ],
)
def test_what_is_no_key_is_refused_by_name(options: dict[str, Any], words: list[str]) -> None:
    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow() -> None: ...

        with pytest.raises(errors.ArgumentError) as caught:
            await world.client().start("flow", **options)
        assert all(word in str(caught.value) for word in words), str(caught.value)
        assert await world.client().list() == []

    run(main)
