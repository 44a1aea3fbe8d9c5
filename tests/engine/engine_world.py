"""The engine over the reference models of store and queue: several workers in one event loop with a virtual clock.

Timelines are built by fault points: a test says what happens when a worker comes to a named point for the n-th time. A
crash cuts the worker off from store and queue and cancels it: nothing it does afterwards reaches anybody.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

from fencepost.authoring.registry import Registry
from fencepost.authoring.workflow import Workflow
from fencepost.client.client import Client, Connected
from fencepost.client.run import Run
from fencepost.config import Config
from fencepost.engine.claims import Claims
from fencepost.engine.handback import release
from fencepost.engine.ports import Ports, new_run_id
from fencepost.engine.reconciler import Reconciler
from fencepost.engine.shell import Shell
from fencepost.engine.steps import handle_step
from fencepost.engine.stopping import listen
from fencepost.engine.tick import handle_tick
from fencepost.engine.worker import build_shell, limits_of
from fencepost.log import RunLog
from fencepost.payload_codecs import current
from fencepost_queue.memory import MemoryServer
from fencepost_queue.protocol import Delivery, Queue, QueueTrouble
from fencepost_store.events import Event, EventType, NewEvent
from fencepost_store.memory import MemoryStore
from fencepost_store.protocol import Batch, RunFilter, Store, StoreTrouble, Verdict
from fencepost_store.protocol import Run as Row

T = TypeVar("T")

EPOCH = 1_700_000_000_000_000


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits (the reference models do not): for fault actions, which are plain
    calls.
    """
    try:
        coroutine.send(None)
    except StopIteration as done:
        return cast(T, done.value)
    raise AssertionError("the coroutine waits for something")


class Crashed(BaseException):
    """The simulated end of a worker process."""


class Severed:
    """A store or queue seen through a wire that can be cut: then no call is sent and none is answered."""

    def __init__(self, target: object, name: str, calls: list[tuple[str, str]]) -> None:
        self._target = target
        self._name = name
        self._calls = calls
        self.cut = False
        self.over = asyncio.Event()
        self.frozen: asyncio.Event | None = None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not callable(found) or name in ("locked", "subscribe"):
            return found
        call = cast("Callable[..., Awaitable[Any]]", found)

        async def through(*args: Any, **kwargs: Any) -> Any:
            await self._wire()
            self._calls.append((self._name, name))
            answer = await call(*args, **kwargs)
            await self._wire()
            return answer

        return through

    async def _wire(self) -> None:
        if self.frozen is not None:
            await self.frozen.wait()
        if self.cut:
            await self.over.wait()
            raise (
                QueueTrouble("the worker has ended") if self._name == "queue" else StoreTrouble("the worker has ended")
            )


class Member:
    """One worker of the world. ``calls``: (store or queue, method) of every call it made. ``at(point, n, action)``:
    what happens there.
    """

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.calls: list[tuple[str, str]] = []
        self.seen: dict[str, int] = {}
        self._actions: dict[tuple[str, int], Callable[[], None]] = {}
        self.store = Severed(world.store, "store", self.calls)
        self.queue = Severed(world.server.client(name), "queue", self.calls)
        loop = asyncio.get_running_loop()
        ports = Ports(
            monotonic=loop.time,
            sleep=asyncio.sleep,
            spawn=self._spawn,
            run_thread=_inline,
            uniform=world.random.random,
            new_id=new_run_id,
            fault=self._fault,
        )
        store, queue = cast(Store, self.store), cast(Queue, self.queue)
        self.shell: Shell
        self.shell, self._coalescer = build_shell(world.config, world.registry, store, queue, ports)
        self.reconciler = Reconciler(self.shell)
        self.suspects: list[Delivery] = []
        self.alone: Callable[[Delivery], Awaitable[None]] | None = None  # what runs suspects, instead of the below
        self.accept_suspects = False  # False: each one crashes when it is run alone
        self.claims = Claims(self.shell, self._suspect, self.reconciler.full)
        self.shell.start_granted = self.claims.start_granted
        self._queues = world.config.queues
        self._loops: list[asyncio.Task[Any]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self.crashed = asyncio.Event()

    def at(self, point: str, n: int, action: Callable[[], None]) -> None:
        """Do ``action`` when this worker comes to ``point`` for the n-th time."""
        self._actions[point, n] = action

    def crash_at(self, point: str, n: int = 1) -> None:
        """End there, as kill -9 would."""
        self.at(point, n, self.crash)

    def crash(self) -> None:
        """Cut off, now; the calling task goes no further."""
        self.store.cut = self.queue.cut = True
        self.crashed.set()
        raise Crashed

    def freeze_at(self, point: str, n: int) -> None:
        """Stand still there, as SIGSTOP would: nothing is sent and nothing received, until ``thaw``."""

        def freeze() -> None:
            self.store.frozen = self.queue.frozen = asyncio.Event()
            self.crashed.set()

        self.at(point, n, freeze)

    def thaw(self) -> None:
        """Go on as if nothing had been."""
        assert self.store.frozen is not None
        self.store.frozen.set()

    async def start(self) -> None:
        """Read the clock and consume."""
        self.shell.clock.read(await self.shell.store.now())
        loops: list[Coroutine[Any, Any, None]] = [self.claims.loop(queue) for queue in self._queues]
        self._loops = [
            self._spawn(loop, "loop") for loop in [*loops, self.reconciler.loop(), self._keep(), listen(self.shell)]
        ]

    async def drain(self) -> None:
        """Stop as on SIGTERM with no time left: claim nothing more, hand back what is at work."""
        self.claims.stop()
        for task in [*self._loops, *self.claims.handlers]:
            task.cancel()
        await asyncio.gather(*self._loops, *self.claims.handlers, return_exceptions=True)

    async def end(self) -> None:
        """Cut off and cancel everything; what it held is left to its lease."""
        self.store.cut = self.queue.cut = True
        for task in list(self._tasks):
            task.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.sleep(0)
        while left := [task for task in self._tasks if not task.done()]:
            for task in left:
                task.cancel()
            await asyncio.sleep(0)
        self.shell.runs.drop_all()
        self.store.over.set()
        self.queue.over.set()
        await asyncio.sleep(0)

    def background(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Something a test does beside, ended with this worker."""
        self._spawn(coroutine, "test")

    async def _keep(self) -> None:
        while True:
            await self.shell.keeper.renew(self.shell.queue)
            await asyncio.sleep(self.shell.settings.renewal_seconds)

    async def _suspect(self, delivery: Delivery) -> None:
        self.suspects.append(delivery)
        if self.alone is not None:
            await self.alone(delivery)
        elif self.accept_suspects:
            await (handle_step if delivery.key.startswith("s:") else handle_tick)(self.shell, delivery)
        else:
            await release(self.shell, delivery, proof=True)

    def _fault(self, point: str) -> None:
        self.seen[point] = self.seen.get(point, 0) + 1
        action = self._actions.get((point, self.seen[point]))
        if action is not None:
            action()

    def _spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(self._bounded(coroutine), name=f"{self.name}: {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: coroutine.close())  # cancelled before its first step: never begun
        return task

    @staticmethod
    async def _bounded(coroutine: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await coroutine
        except Crashed:
            await asyncio.Event().wait()


async def _inline(call: Callable[[], Any]) -> Any:
    await asyncio.sleep(0)
    return call()


class World:
    """One store, one queue server, and the workers over them."""

    def __init__(self, *, seed: int = 1, store: Store | None = None, **settings: Any) -> None:
        loop = asyncio.get_running_loop()
        self.config = Config(**settings)
        self.registry = Registry()
        self.random = random.Random(seed)
        self.memory = MemoryStore(lambda: EPOCH + int(loop.time() * 1_000_000))
        self.store: Store = store or self.memory
        self.server = MemoryServer(lambda: int(loop.time() * 1000))
        self.clients = 0
        for queue in self.config.queues:  # this is not the first claim ever: no worker of a test sweeps without cause
            before = self.server.client("before")
            claimed = at_once(before.claim(queue, 0, 1_000, steps=0))
            at_once(before.sweep(queue, claimed.generation, 0))

    @asynccontextmanager
    async def worker(self, name: str) -> AsyncGenerator[Member]:
        """A worker that consumes until the block is left."""
        member = Member(self, name)
        await member.start()
        try:
            yield member
        finally:
            await member.end()

    def client(self) -> Client:
        """An open client."""
        self.clients += 1

        async def append(batch: Batch) -> Verdict:
            return (await self.store.append([batch]))[0]

        client = Client(self.config)
        log = RunLog(self.store, append, limits_of(self.config))
        connected = Connected(self.store, self.server.client(f"client{self.clients}"), log, self.config, current())
        client._connected = connected  # pyright: ignore[reportPrivateUsage] - __aenter__ would dial servers
        return client

    async def settle(self) -> None:
        """Let a little virtual time go by."""
        await asyncio.sleep(0.1)

    def cancel_at(self, run_id: str, at: int) -> None:
        """A cancel_requested that was accepted at an instant, and lands now."""
        event = NewEvent(EventType.cancel_requested, dedupe="cancel:late", at=at)
        at_once(self.store.append([Batch(run_id, None, (event,))]))

    async def start(self, workflow: Workflow[..., Any], *args: Any) -> Run[Any]:
        """Start a run."""
        return await self.client().start(workflow, *args)

    async def rows(self) -> list[Row]:
        """Every run's row."""
        return await self.store.list_runs(RunFilter(), 1_000)

    async def log_of(self, run_id: str) -> list[Event]:
        """A run's whole log, by its id."""
        loaded = await self.store.load(run_id)
        assert loaded is not None
        return list(loaded.events)

    async def log(self, run: Run[Any]) -> list[Event]:
        """The run's whole log."""
        loaded = await self.store.load(run.id)
        assert loaded is not None
        return list(loaded.events)

    async def shape(self, run: Run[Any]) -> list[str]:
        """The run's log as ``type entity attempt`` lines, short."""
        lines = [f"{e.type.name} {e.entity} {e.attempt or ''}".rstrip() for e in await self.log(run)]
        return [" ".join(line.split()) for line in lines]
