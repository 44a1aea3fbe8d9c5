"""What several hazard tests drive: a race of hook and sleep, a workflow of one step, senders and workers by hand."""

from __future__ import annotations

import asyncio
from typing import Any

from engine_world import World, at_once

from fencepost import hook, step, workflow
from fencepost.authoring.workflow import Workflow
from fencepost.payload import encode
from fencepost_queue.protocol import Delivery
from fencepost_store.events import EventType, NewEvent
from fencepost_store.protocol import Batch


def land_signal(world: World, token: str, value: object, delivery: str = "d") -> None:
    """A signal whose sender dies before it can place a tick."""
    listening = at_once(world.store.find_hook(token))
    assert listening is not None
    event = NewEvent(type=EventType.hook_received, entity=listening.entity, dedupe=delivery, payload=encode(value))
    at_once(world.store.append([Batch(run_id=listening.run_id, fence=None, events=(event,))]))


def race_flow(world: World) -> Any:
    """race(hook, sleep): the branch decides which step is created next."""

    @step(registry=world.registry)
    async def drain(n: int) -> str:
        return f"drained {n}"

    @step(registry=world.registry)
    async def sync() -> str:
        return "synced"

    @workflow(registry=world.registry)
    async def flow() -> str:
        async with hook(int, token="t") as numbers:
            try:
                async with asyncio.timeout(100):
                    n = await numbers
            except TimeoutError:
                return await sync()
            return await drain(n)

    return flow


class Flow:
    """A workflow of one step whose body takes ``seconds``, and how often the body began."""

    def __init__(self, world: World, seconds: float = 0.0, **options: Any) -> None:
        self.began: list[float] = []
        loop = asyncio.get_running_loop()

        @step(registry=world.registry, **options)
        async def work() -> str:
            self.began.append(loop.time())
            await asyncio.sleep(seconds)
            return f"done {len(self.began)}"

        @workflow(registry=world.registry)
        async def flow() -> str:
            async with hook(int, token="wake"):
                return await work()

        self.main: Workflow[[], str] = flow


async def claim_one(world: World, name: str, key: str, seconds: float = 0.0) -> Delivery:
    """Take one message by hand, as a worker of that name would."""
    await asyncio.sleep(seconds)
    client = world.server.client(name)
    claimed = await client.claim("default", 10, 10_000)
    await client.renew(claimed.deliveries, 10_000, begin=True)
    return next(delivery for delivery in claimed.deliveries if delivery.key == key)
