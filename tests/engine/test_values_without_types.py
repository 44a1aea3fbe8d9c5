"""An object that is given where no annotation is known, and read by its reader's: each way in. On a virtual clock."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
from collections import deque

from engine_virtual import run
from engine_world import World

from fencepost import current, hook, step, workflow


class Shape(enum.Enum):
    pair = (1, 2)
    half = 0.5


@dataclasses.dataclass
class Card:
    number: int


@dataclasses.dataclass
class Cash:
    number: int


@dataclasses.dataclass
class Order:
    """With what msgpack alone cannot tell."""

    paid: list[Card | Cash]
    shape: Shape
    last: deque[int]


@dataclasses.dataclass
class Note:
    shape: Shape
    last: deque[int]


ORDER = Order([Cash(1), Card(1)], Shape.pair, deque([1], 3))
NOTE = Note(Shape.half, deque([2]))


def test_h163_a_start_by_name_and_a_signal_come_back_by_the_readers_types() -> None:
    """In the run's own turn and in another worker's replay."""

    async def main() -> None:
        world = World()
        seen: list[object] = []

        @workflow(registry=world.registry)
        async def flow(order: Order) -> str:
            async with hook(Note, token="note") as notes, hook(int, token="end") as end:
                seen.append((order, await notes))
                await end
            return "done"

        async with world.worker("A"):
            client = world.client()
            started = await client.start("flow", ORDER)
            await asyncio.sleep(10)
            await client.resume("note", NOTE)
            await asyncio.sleep(10)
        async with world.worker("B"):
            await world.client().resume("end", 1)
            assert await started.result(60) == "done"
        assert seen == [(ORDER, NOTE)] * 2

    run(main)


def test_h163_what_an_attempt_leaves_in_its_heartbeat_comes_back_to_the_next() -> None:
    """By the type that the next one asks with."""

    async def main() -> None:
        world = World()
        found: list[object] = []

        @step(registry=world.registry, retries=1, first_delay=1.0, heartbeat_timeout=30)
        async def work() -> None:
            found.append(current().heartbeat_details(Order))
            current().heartbeat(ORDER)
            await asyncio.sleep(5)
            if len(found) < 2:
                raise ValueError("once more")

        @workflow(registry=world.registry)
        async def flow() -> None:
            await work()

        async with world.worker("A"):
            await (await world.start(flow)).result(120)
        assert found == [None, ORDER]

    run(main)
