"""Worker processes of the simulation: the engine's own Worker, with what it dials, threads and child processes
replaced.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from tests.simulate.blocking import Thread
from tests.simulate.durable import Code
from tests.simulate.joints import Booked, SimJoint
from tests.simulate.scheduler import Proc, SimLoop
from tests.simulate.wires import SERVER, QueueWire, StoreWire, Wire

from fencepost.config import Config
from fencepost.engine.alone import Alone, Order, Report
from fencepost.engine.claims import Claims
from fencepost.engine.ports import Ports
from fencepost.engine.reconciler import Reconciler
from fencepost.engine.shell import Shell
from fencepost.engine.shortage import NotBegun
from fencepost.engine.steps import handle_step
from fencepost.engine.stopping import listen
from fencepost.engine.suspect import Recorder
from fencepost.engine.tick import handle_tick
from fencepost.engine.worker import Worker, build_shell
from fencepost_queue.memory import MemoryServer
from fencepost_queue.protocol import Delivery
from fencepost_store.memory import MemoryStore

CHILD_SECONDS = 0.3
"""What a suspect's interpreter takes to start."""


SHORT_SHARE = 0.05
"""Of the bodies that need a thread: how many find none."""


class Servers:
    """What all processes share. ``point``: told of every fault point that is passed. ``blocked``: told of the runs
    whose code blocks, where there may be such; then each process has a thread beside its loop.
    """

    def __init__(self, loop: SimLoop, store: MemoryStore, queue: MemoryServer, point: Callable[[str], None]) -> None:
        self.loop = loop
        self.store = store
        self.queue = queue
        self.point = point
        self.short: Callable[[], None] = _nothing
        self.blocked: Callable[[str], None] | None = None
        self.stillborn: Callable[[], bool] = bool
        self.suspects: list[str] = []
        self.threads: dict[Proc, Thread] = {}
        self.run_ids = 0
        self.shells: list[Shell] = []
        self.table: list[Booked] = []

    def join(self, wire: Wire) -> Any:
        """Where the steps of a process have their transactions from."""
        return partial(SimJoint.begin, wire, self.store, self.table)

    def new_id(self) -> str:
        """Ids in order of creation, as UUIDv7 are."""
        self.run_ids += 1
        return f"00000000-0000-7000-8000-{self.run_ids:012x}"


def _nothing() -> None:
    """Nobody counts shortages."""


def ports_of(servers: Servers, proc: Proc, seed: int) -> Ports:
    """The ports of a process: its own clock, its own chance."""
    loop = servers.loop
    chance = random.Random(seed)

    def spawn(coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = loop.create_task(coroutine, name=f"{proc.name}: {name}")
        task.add_done_callback(lambda _: coroutine.close())  # cancelled before its first step: never begun
        return task

    async def run_thread(call: Callable[[], Any]) -> Any:
        draw = chance.random()
        await asyncio.sleep(0.01 + draw * 0.3)
        if draw > 1 - SHORT_SHARE:
            servers.short()
            raise NotBegun("can't start new thread")
        return call()

    return Ports(
        monotonic=lambda: proc.epoch + loop.now * proc.rate,
        sleep=asyncio.sleep,
        spawn=spawn,
        run_thread=run_thread,
        uniform=chance.random,
        new_id=servers.new_id,
        fault=servers.point,
    )


def thread_of(servers: Servers, proc: Proc, wire: Wire, shell: Any) -> Thread | None:
    """The thread beside the loop of a process, in worlds in which code may block."""
    if servers.blocked is None:
        return None
    thread = servers.threads[proc] = Thread(servers.loop, proc, wire, servers.store)
    servers.threads[thread.proc] = thread
    thread.seat(shell, servers.blocked)
    return thread


class SimWorker(Worker):
    """``start`` and ``drain`` are tasks of ``proc``."""

    def __init__(self, servers: Servers, proc: Proc, wire: Wire, config: Config, code: Code, seed: int) -> None:
        super().__init__(config, code.registry, ports=ports_of(servers, proc, seed))
        self.servers = servers
        self.proc = proc
        self.wire = wire
        self.code = code
        self.seed = seed
        self.draining = False
        self.children: list[Proc] = []
        self.thread: Proc | None = None

    async def start(self) -> None:
        """As Worker._start does, on what is simulated."""
        config, servers = self.config, self.servers
        store = StoreWire(self.wire, servers.store)
        queue = QueueWire(self.wire, self.servers.queue, self.proc.name)
        shell, coalescer = build_shell(config, self.registry, store, queue, self._ports, self.servers.join(self.wire))  # type: ignore[arg-type]
        self._closers.append(coalescer.close)
        self.shell = shell
        self.servers.shells.append(shell)
        while True:
            try:
                shell.clock.read(await store.now())
                break
            except Exception:  # noqa: BLE001 - a supervisor would start it again
                await asyncio.sleep(1.0)
        reconciler = Reconciler(shell)
        self.claims = Claims(shell, SimAlone(self, shell), reconciler.full)
        shell.start_granted = self.claims.start_granted
        for name in config.queues:
            self._loop(self.claims.loop(name), f"claims of {name}")
        self._loop(reconciler.loop(), "reconciler")
        self._loop(listen(shell), "hints")
        thread = thread_of(servers, self.proc, self.wire, shell)
        if thread is None:
            self._ports.spawn(self._keep(queue), "keeper")
            return
        self.thread = thread.proc
        self.children.append(thread.proc)
        servers.loop.start(thread.proc, self._keep(QueueWire(thread.wire, servers.queue, self.proc.name)), "keeper")
        servers.loop.start(thread.proc, thread.watch(shell, config), "watch")

    async def _keep(self, queue: Any) -> None:
        while True:
            await self.shell.keeper.renew(queue)
            await asyncio.sleep(self.config.renewal_seconds)

    async def leave(self) -> None:
        """SIGTERM; the process is gone afterwards."""
        self.draining = True
        await self.drain()
        for proc in (self.proc, *([self.thread] if self.thread else [])):
            self.servers.loop.call_soon(self.servers.loop.kill, proc, context=SERVER)


class SimAlone(Alone):
    """Its child processes are processes of the simulation."""

    def __init__(self, worker: SimWorker, shell: Any) -> None:
        super().__init__(shell, worker.config, ())
        self._worker = worker

    async def _child(self, delivery: Delivery, stopped: asyncio.Event) -> Report | None:
        worker, loop = self._worker, self._worker.servers.loop
        worker.seed += 1
        proc = Proc(f"{worker.proc.name}/{worker.seed}", worker.proc.epoch, worker.proc.rate)
        worker.children.append(proc)
        worker.servers.suspects.append(delivery.key)
        ended: asyncio.Future[Report | None] = loop.create_future()
        begun: list[bool] = []

        def report(task: asyncio.Future[Any]) -> None:
            if not ended.done():
                failed = task.cancelled() or task.exception() is not None
                ended.set_result(None if failed else task.result())

        wire = Wire(loop, proc, worker.wire.latency, lambda: None)
        wire.branches, wire.landed, wire.sent = worker.wire.branches, worker.wire.landed, worker.wire.sent
        task = loop.start(proc, _suspect(worker, proc, wire, Order(worker.config, (), delivery), begun), "suspect")
        task.add_done_callback(report)
        stop = asyncio.ensure_future(stopped.wait())
        try:
            while not ended.done() and not stopped.is_set() and proc.alive:
                await asyncio.wait({ended, stop}, timeout=0.2, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            loop.kill(proc)
            if (thread := worker.servers.threads.get(proc)) is not None:
                loop.kill(thread.proc)
        said = ended.result() if ended.done() else None
        if said is None and not begun:
            raise NotBegun("a process")
        return said


async def _suspect(worker: SimWorker, proc: Proc, wire: Wire, order: Order, begun: list[bool]) -> Report:
    """As ``fencepost.engine.suspect.run`` does."""
    await asyncio.sleep(CHILD_SECONDS)
    servers = worker.servers
    if servers.stillborn():
        raise RuntimeError("this process cannot start")
    store = StoreWire(wire, servers.store)
    recorder: Any = Recorder(order.delivery.token.rpartition(".")[0])
    ports = ports_of(servers, proc, worker.seed)
    shell, _ = build_shell(order.config, worker.registry, store, recorder, ports, servers.join(wire))  # type: ignore[arg-type]
    shell.alone = True
    shell.begins = lambda: begun.append(True)
    servers.shells.append(shell)
    shell.clock.read(await store.now())
    shell.keeper.hold(order.delivery, float("inf"))
    thread = thread_of(servers, proc, wire, shell)
    if thread is not None:
        worker.children.append(thread.proc)
        servers.loop.start(thread.proc, thread.watch(shell, order.config), "watch")
    if order.delivery.key.startswith("s:"):
        shell.slots.take()
        await handle_step(shell, order.delivery)
    else:
        await handle_tick(shell, order.delivery)
    report: Report = recorder.final()
    return report
