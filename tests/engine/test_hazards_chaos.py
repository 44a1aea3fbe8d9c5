"""Timelines that chaos on real servers has found, by construction on a virtual clock."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from engine_virtual import run
from engine_world import Member, World
from oracle import check
from tests.log_lines import captured

from fencepost import hook, step, workflow
from fencepost.authoring.workflow import Workflow
from fencepost_queue.protocol import QueueTrouble
from fencepost_store.events import EventType
from fencepost_store.protocol import Batch


@pytest.mark.parametrize("into", [0.1, 0.6, 1.1, 1.6, 2.1, 2.6])
def test_h104_a_flush_begins_no_body_a_second_time(into: float) -> None:
    """Two workers, a long body on one of them, FLUSHALL ``into`` the period of renewals: its owner takes the lease back
    before the sweep asks whether the step is on its way; the other worker gets nothing to run.
    """

    async def main() -> None:
        world = World()
        bodies: Counter[str] = Counter()

        @step(registry=world.registry)
        async def long() -> int:
            bodies["long"] += 1
            await asyncio.sleep(30)
            return 7

        @workflow(registry=world.registry)
        async def flow() -> int:
            return await long()

        async with world.worker("A"), world.worker("B"):
            await asyncio.sleep(9)
            started = await world.start(flow)
            await asyncio.sleep(3 + into)
            assert bodies == {"long": 1}
            world.server.flush()
            assert await started.result(100) == 7
            assert bodies == {"long": 1}
            check(await world.log(started))

    run(main)


class Meeting:
    """A tick's settle that fails while the hot path of the same run and worker is in the middle of its append."""

    def __init__(self, world: World, a: Member) -> None:
        self.armed = False
        self.at_work = asyncio.Event()
        self.handed_back = asyncio.Event()
        self.met = False
        self._settle, self._release, self._append = a.queue.settle, a.queue.release, a.store.append
        for wire, name in ((a.queue, "settle"), (a.queue, "release"), (a.store, "append")):
            setattr(wire, name, getattr(self, name))

    async def settle(self, delivery: Any, *args: Any, **options: Any) -> Any:
        """Of the signal's tick: waits for the hot path, and fails."""
        if self.armed and delivery.key.startswith("t:"):
            self.armed = False
            await self.at_work.wait()
            raise QueueTrouble("the connection is gone")
        return await self._settle(delivery, *args, **options)

    async def release(self, *args: Any, **options: Any) -> Any:
        """What the failed tick does next."""
        self.handed_back.set()
        return await self._release(*args, **options)

    async def append(self, batches: Sequence[Batch], *, wait: bool = True) -> Any:
        """Of the hot path: under way until the tick has been handed back."""
        ends = any(event.type is EventType.step_completed for batch in batches for event in batch.events)
        if ends and not self.met:
            self.met = True
            self.at_work.set()
            await self.handed_back.wait()
        return await self._append(batches, wait=wait)


def _two_steps(world: World, go: asyncio.Event, bodies: Counter[str]) -> Workflow[..., Any]:
    @step(registry=world.registry)
    async def first() -> int:
        await go.wait()
        return 1

    @step(registry=world.registry)
    async def second(n: int) -> int:
        bodies["second"] += 1
        return n + 1

    @workflow(registry=world.registry)
    async def flow() -> int:
        async with hook(int, token="t"):
            return await second(await first())

    return flow


def test_trouble_of_one_message_leaves_the_instance_to_whoever_is_at_work_with_it() -> None:
    """A tick cannot be settled and is handed back, while a step of the same run is in the hot path's append. The live
    instance is the hot path's then: it goes on, and the step that it has started is run as that start.
    """

    async def main() -> None:
        world = World()
        go: asyncio.Event = asyncio.Event()
        bodies: Counter[str] = Counter()
        flow = _two_steps(world, go, bodies)
        with captured() as said:
            async with world.worker("A") as a:
                await asyncio.sleep(10)
                started = await world.start(flow)
                await asyncio.sleep(1)
                meeting = Meeting(world, a)
                meeting.armed = True
                await world.client().resume("t", 1)
                await asyncio.sleep(1)
                assert not meeting.armed, "the signal's turn is over and its tick waits for the settle"
                go.set()
                assert await started.result(100) == 2
                assert meeting.met
                assert meeting.handed_back.is_set()
        assert "handler_failed" not in {line["event"] for line in said}
        assert bodies == {"second": 1}
        assert "step_started second#1 2" not in await world.shape(started)
        check(await world.log(started))

    run(main)
