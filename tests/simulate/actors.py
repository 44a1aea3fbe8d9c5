"""Who starts runs, sends signals and ends runs from outside: clients, each a process of its own."""

# A client is opened without dialling servers.
# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from tests.simulate.durable import code
from tests.simulate.faults import CLIENTS
from tests.simulate.plan import Program, Reader, Sender, Stop
from tests.simulate.scheduler import Proc, SimTask
from tests.simulate.wires import QueueWire, StoreWire, Wire

from fencepost import errors
from fencepost.client.client import Client, Connected
from fencepost.engine.worker import limits_of
from fencepost.log import RunLog
from fencepost.payload_codecs import NONE
from fencepost_store.protocol import Batch, Verdict

if TYPE_CHECKING:
    from tests.simulate.world import World

PATIENCE = 60
"""How often a sender looks for somebody who listens."""


class Accepted(msgspec.Struct):
    """What a sender knows of a payload. ``state``: accepted, refused, unknown. ``began_at``, ``done_at``: when it was
    first sent, and when the answer came (virtual seconds).
    """

    token: str
    run: int
    delivery: str
    value: Any
    state: str = "unknown"
    began_at: float = 0.0
    done_at: float = 0.0


class Read(msgspec.Struct):
    """What a reader has read of a stream: its values. ``done``: to the end, as it was told."""

    run: int
    name: str
    values: list[Any] = []
    done: bool = False


class Actors:
    """All clients of a plan."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.accepted: list[Accepted] = []
        self.reads: list[Read] = []
        self.clients: list[tuple[Proc, SimTask]] = []

    def start(self) -> None:
        """Begin."""
        plan = self.world.plan
        works: list[Callable[[Client], Awaitable[None]]] = []
        works += [lambda c, i=i, p=p: self._start_run(c, i, p) for i, p in enumerate(plan.programs)]
        works += [lambda c, i=i, s=s: self._send(c, i, s) for i, s in enumerate(plan.senders)]
        works += [lambda c, s=s: self._stop(c, s) for s in plan.stops]
        works += [lambda c, r=r: self._read(c, r) for r in plan.readers]
        for index, work in enumerate(works):
            self._client(CLIENTS + index, work)

    def _client(self, who: int, work: Callable[[Client], Awaitable[None]]) -> None:
        world = self.world
        proc = Proc(f"client{who - CLIENTS}")
        wire = Wire(world.loop, proc, world.plan.latency, lambda: world.faults.beat(who, proc))
        wire.hit = world.faults.hit
        wire.branches, wire.landed = world.branches, world.landed
        world.faults.watch(who, wire)
        store: Any = StoreWire(wire, world.servers.store)
        queue: Any = QueueWire(wire, world.servers.queue, proc.name)

        async def append(batch: Batch) -> Verdict:
            return (await store.append([batch]))[0]

        client = Client(world.config)
        client._connected = Connected(store, queue, RunLog(store, append, limits_of(world.config)), world.config, NONE)
        task = world.loop.start(proc, work(client), "client")  # type: ignore[arg-type]
        self.clients.append((proc, task))

    async def _start_run(self, client: Client, index: int, program: Program) -> None:
        await asyncio.sleep(program.at)
        put_off: dict[str, Any] = {"delay": program.delay} if program.delay else {}
        while True:
            try:
                await client.start(code(new=True).main, index, key=f"run{index}", queue=program.queue, **put_off)
            except errors.ServerUnavailable:
                await asyncio.sleep(0.2)
                continue
            if not self.world.plan.forgets():
                return
            # Whose start was lost starts it again.
            while self.world.run_id(index) is not None:  # noqa: ASYNC110 - the store tells nobody that it forgets
                await asyncio.sleep(1.0)

    async def _send(self, client: Client, index: int, sender: Sender) -> None:
        await asyncio.sleep(sender.at)
        for n in range(sender.count):
            told = Accepted(sender.token, sender.run, f"s{index}.{n}", [index, n])
            self.accepted.append(told)
            told.began_at = self.world.loop.now
            told.state = await self._deliver(client, told)
            told.done_at = self.world.loop.now
            if told.state == "accepted":
                if sender.twice:
                    again = await self._deliver(client, told)
                    if again == "refused":  # unknown: the servers were away for longer than its patience
                        self.world.errors.append(f"{told.delivery} was accepted, and is refused when sent again")
            elif self._ended(sender.run):
                return
            await asyncio.sleep(sender.gap)

    async def _deliver(self, client: Client, told: Accepted) -> str:
        pause = 0.1
        heard = True
        for _ in range(PATIENCE):
            try:
                told.began_at = told.began_at or self.world.loop.now
                await client.resume(told.token, told.value, id=told.delivery)
                return "accepted"
            except errors.HookNotFound:
                if self._ended(told.run):
                    return "refused"
                await asyncio.sleep(pause)
                pause = min(2.0, pause * 1.4)
            except errors.ServerUnavailable:
                heard = False  # it may have landed: who gives up now does not know
                await asyncio.sleep(0.1)
        return "refused" if heard else "unknown"

    async def _read(self, client: Client, reader: Reader) -> None:
        await asyncio.sleep(reader.at)
        told = Read(reader.run, reader.name)
        self.reads.append(told)
        while not told.done:
            run_id = self.world.run_id(reader.run)
            if run_id is None:
                await asyncio.sleep(0.2)
                continue
            try:
                async for value in client.run(run_id).stream(reader.name, start=len(told.values)):
                    told.values.append(value)
                told.done = True
            except errors.ServerUnavailable:
                await asyncio.sleep(0.2)

    def _ended(self, index: int) -> bool:
        row = self.world.rows().get(index)
        return row is not None and row[0].status.ended and self.world.over(index)

    async def _stop(self, client: Client, stop: Stop) -> None:
        await asyncio.sleep(stop.at)
        for _ in range(100):
            run_id = self.world.run_id(stop.run)
            if run_id is None:
                await asyncio.sleep(0.2)
                continue
            run = client.run(run_id)
            try:
                if stop.kind == "cancel":
                    await run.cancel("stop", grace=stop.grace, id="once")
                else:
                    await run.terminate("stop")
                return
            except errors.RunEnded:
                return
            except errors.ServerUnavailable:
                await asyncio.sleep(0.2)
