"""Longer chains, children, tokens that nobody can guess, and ten thousand payloads: H173, H175. On a virtual clock."""

from __future__ import annotations

import asyncio

from chain_flows import chain, logs
from engine_flows import land_signal
from engine_virtual import run
from engine_world import World

from fencepost import Client, continue_as_new, hook, sleep, step, workflow
from fencepost_store.events import EventType


def test_h173_ten_thousand_payloads_go_over_in_order() -> None:
    """As many as a backlog may have, through two changes."""
    count = 10_000

    async def main() -> None:
        world = World(hook_backlog_max=count)
        got: list[int] = []

        @step(registry=world.registry)
        async def keep(numbers: list[int]) -> None:
            got.extend(numbers)

        @workflow(registry=world.registry)
        async def many(generation: int = 1) -> None:
            async with hook(int, token="t") as numbers, hook(int, token="go") as go:
                if generation == 1:
                    await go
                if generation < 3:
                    await keep([await numbers])
                    continue_as_new(generation + 1)
                await keep([await numbers for _ in range(count - 2)])

        async with world.worker("A"):
            client = world.client()
            started = await client.start(many)
            await asyncio.sleep(1)
            for n in range(count):
                land_signal(world, "t", n, f"d{n}")
            await client.resume("go", 0)
            await started.result(60)
        assert got == list(range(count))

    run(main)


def test_h173_a_default_token_goes_over_to_a_hook_that_is_given_it() -> None:
    """It is nobody's to guess, so the run hands it on as an argument; of itself it would draw another."""

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def passes(token: str | None = None) -> list[object]:
            async with hook(int, token=token) as numbers:
                if token is None:
                    await sleep(5)
                    continue_as_new(numbers.token)
                return [numbers.token == token, await numbers]

        async with world.worker("A"):
            client = world.client()
            started = await client.start(passes)
            await asyncio.sleep(1)
            token = next(e.token for e in await world.log(started) if e.type is EventType.hook_created)
            assert token is not None
            await client.resume(token, 7)
            assert await started.result(60) == [True, 7]

    run(main)


async def _send_all(client: Client, count: int) -> None:
    for n in range(count):
        await client.resume("t", n, id=f"d{n}")


def test_h175_senders_meet_a_chain_that_never_rests() -> None:
    """Sixty senders, one behind the other, into a chain that goes on as new after each: none is refused."""

    async def main() -> None:
        world = World()
        got: list[int] = []
        flow = chain(world, "before it", got, rounds=60)
        async with world.worker("A"), world.worker("B"):
            client = world.client()
            started = await client.start(flow)
            await asyncio.sleep(1)
            await _send_all(client, 60)
            assert await started.result(300) == "at last"
        assert got == list(range(60))

    run(main)


def test_h173_a_child_hands_over_to_the_run_that_goes_on_for_it() -> None:
    """Its parent hears of the last of the chain."""

    async def main() -> None:
        world = World()
        got: list[int] = []
        child = chain(world, "leaves the block", got, rounds=3)

        @workflow(registry=world.registry)
        async def parent() -> str:
            return await child()

        async with world.worker("A"):
            client = world.client()
            started = await client.start(parent)
            await asyncio.sleep(1)
            await _send_all(client, 3)
            assert await started.result(60) == "at last"
        assert got == [0, 1, 2]
        await logs(world)

    run(main)
