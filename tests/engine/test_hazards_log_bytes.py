"""The bytes of one run's log: who makes them too many is told, by name and early, and no worker has to hold them."""

from __future__ import annotations

import asyncio

import pytest
from engine_virtual import run
from engine_world import World
from tests.log_lines import captured
from tests.web.asgi import request

from fencepost import errors, hook, step, workflow
from fencepost.web.webhooks import webhooks

BOUND = 1_048_576
PART = 250_000


def test_h212_a_sender_is_refused_before_a_log_has_more_bytes_than_it_may() -> None:
    """No worker is there: four payloads fit, the fifth does not; what was taken in before is answered as before."""

    async def main() -> None:
        world = World(log_bytes_max=BOUND)

        @workflow(registry=world.registry)
        async def flow() -> None:
            async with hook(str, token="t", http=True) as texts:
                async for _ in texts:
                    continue

        async with world.worker("A"):
            started = await world.start(flow)
            await asyncio.sleep(1)
        client = world.client()
        for n in range(4):
            await client.resume("t", "x" * PART, id=f"d{n}")
        full = r"may have a log of 1048576 bytes \(log_bytes_max\)"
        with pytest.raises(errors.HookFull, match=full) as caught:
            await client.resume("t", "x" * PART)
        assert (caught.value.run_id, caught.value.limit) == (started.id, "log_bytes_max")
        assert await client.resume("t", "x" * PART, id="d3") == started.id
        assert (await request(webhooks(client), "/t", b'"' + b"x" * PART + b'"')).status == 429
        assert await client.resume("t", "small") == started.id

    run(main)


def test_h84_a_log_with_too_many_bytes_ends_its_own_run_and_is_warned_of_before() -> None:
    async def main() -> None:
        world = World(log_bytes_max=BOUND)

        @step(registry=world.registry)
        async def make() -> str:
            return "x" * PART

        @workflow(registry=world.registry)
        async def flow() -> int:
            return sum([len(await make()) for _ in range(9)])

        @workflow(registry=world.registry)
        async def small() -> int:
            return len(await make())

        async with world.worker("A"):
            started, other = await world.start(flow), await world.start(small)
            with captured() as logs:
                with pytest.raises(errors.RunFailed, match="over log_bytes_max = 1048576; pass references") as caught:
                    await started.result(60)
                assert await other.result(60) == PART
        assert caught.value.code == errors.LIMIT_EXCEEDED
        assert [line["limit"] for line in logs if line["event"] == "limit_near"] == ["log_bytes_max"]

    run(main)
