"""Store and queue as a process sees them: over a wire, on which requests and replies take time, are lost, come late or
come twice.

A request is carried out by the servers, whatever has become of who sent it. A transaction that holds a row's lock
lives there too: it ends by itself when its time is over or its owner is dead.
"""

# Callbacks of futures are lambdas here.
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
from tests.simulate.branches import answered
from tests.simulate.reads import READS
from tests.simulate.scheduler import Proc, SimLoop

from fencepost_queue.memory import MemoryServer
from fencepost_queue.protocol import Claimed, QueueTrouble
from fencepost_store.memory import MemoryStore
from fencepost_store.protocol import Batch, StoreTrouble
from fencepost_store.trouble import RolledBack, UnableRolledBack

SERVER = contextvars.Context()
"""What the servers run in: no process's context."""

COUNTED = frozenset(
    {
        *("append", "load", "load_entity", "touch", "park", "start", "settle", "enqueue", "release", "refuse"),
        "withdraw",
        *("publish", "write_stream", "beat", "commit"),
    }
)
"""Calls that move something, by which faults are placed. Of claims, those that bring something."""

REPEATABLE = frozenset(
    {"enqueue", "publish", "withdraw", "renew", "touch", "load", "load_entity", "write_stream", "beat"}
)
"""What a network or a client library may send twice."""

Trouble = type[StoreTrouble] | type[QueueTrouble]


class WireFault(msgspec.Struct):
    """One call that goes wrong. ``kind``: lost (carried out, reply lost), refused (not carried out), late (reported as
    lost, carried out ``seconds`` later), slow, twice, rolled_back.
    """

    kind: str
    op: str
    seconds: float


class Wire:
    """A process's connections. ``on_beat``: told of each call that counts. ``latency``: seconds, at most, one way.
    ``gone``: whoever calls does so no more, and its process stands still.
    """

    def __init__(self, loop: SimLoop, proc: Proc, latency: float, on_beat: Callable[[], None]) -> None:
        self.loop = loop
        self.proc = proc
        self.latency = latency
        self.on_beat = on_beat
        self.gone = False
        self.fault: WireFault | None = None
        self.cut: dict[str, float] = {}
        self.slow: dict[str, tuple[float, float]] = {}
        self.epoch = 0
        self.read_only: dict[str, float] = {}
        self.branches: Counter[str] = Counter()
        self.landed: dict[tuple[str, int], float] = {}
        self.sent: dict[tuple[str, int], float] = {}
        self.hit: Callable[[str, float], None] = lambda kind, seconds: None
        self.loaded: Callable[[str], None] = lambda run_id: None

    def _one_way(self, server: str) -> float:
        until, by = self.slow.get(server, (0.0, 0.0))
        extra = by * self.loop.random.random() if self.loop.now < until else 0.0
        return self.latency * self.loop.random.random() + extra

    def is_read_only(self, server: str) -> bool:
        """Whether its writes are refused now."""
        return self.loop.now < self.read_only.get(server, 0.0)

    def _taken(self, server: str, op: str) -> WireFault | None:
        fault = self.fault
        if fault is None or (fault.op and fault.op != op):
            return None
        if fault.kind == "rolled_back" and op != "append":
            return None
        if fault.kind == "twice" and op not in REPEATABLE:
            return None
        if server == "store" and op == "now":
            return None
        self.fault = None
        self.hit(fault.kind, fault.seconds)
        return fault

    async def call(
        self,
        server: str,
        op: str,
        make: Callable[[], Coroutine[Any, Any, Any]],
        trouble: Trouble,
        args: tuple[Any, ...] = (),
    ) -> Any:
        """Send, have it carried out, wait for the reply."""
        if self.gone:
            await self.loop.create_future()
        if op in COUNTED:
            self.on_beat()
        loop = self.loop
        answer: asyncio.Future[Any] = loop.create_future()
        sent = loop.now
        fault = self._taken(server, op)
        kind = fault.kind if fault is not None else ""
        seconds = fault.seconds if fault is not None else 0.0
        if loop.now < self.cut.get(server, 0.0):
            kind = "lost" if loop.random.random() < 0.3 else "refused"
        there = self._one_way(server)
        if op not in READS[server] and self.is_read_only(server):
            unable = UnableRolledBack if server == "store" else QueueTrouble
            loop.call_later(2 * there, _fail, answer, unable("READONLY"), context=SERVER)
            return await answer
        if kind in ("refused", "rolled_back"):
            lost = RolledBack("rolled back") if kind == "rolled_back" else trouble("the connection was lost")
            loop.call_later(there, _fail, answer, lost, context=SERVER)
            return await answer

        def reply(value: Any, error: BaseException | None) -> None:
            if error is None:
                for branch in answered(op, args, value):
                    self.branches[branch] += 1
                if op == "append":
                    for batch, verdict in zip(args[0], value, strict=True):
                        for event in verdict.events:
                            self.landed[batch.run_id, event.seq] = loop.now
                            self.sent[batch.run_id, event.seq] = sent
            if kind in ("lost", "late"):
                value, error = None, trouble("the reply was lost")
            loop.call_later(self._one_way(server), _answer, answer, value, error, context=SERVER)

        if kind == "late":
            loop.call_later(there, _fail, answer, trouble("no reply in time"), context=SERVER)
        wait = there + seconds if kind in ("late", "slow") else there
        loop.call_later(wait, _carry_out, make, reply, context=SERVER)
        if kind == "twice":
            loop.call_later(wait + seconds, _carry_out, make, _nobody, context=SERVER)
        return await answer


def _nobody(value: Any, error: BaseException | None) -> None:
    """The reply to a request that was sent twice."""


def _answer(answer: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(value)


def _fail(answer: asyncio.Future[Any], error: BaseException) -> None:
    _answer(answer, None, error)


def _carry_out(
    make: Callable[[], Coroutine[Any, Any, Any]], reply: Callable[[Any, BaseException | None], None]
) -> None:
    """Drive a coroutine of a server's to its end. It waits for locks only, so a plain callback can do it."""
    _go_on(make(), reply)


def _go_on(
    coroutine: Coroutine[Any, Any, Any],
    reply: Callable[[Any, BaseException | None], None],
    _: asyncio.Future[Any] | None = None,
) -> None:
    try:
        waiting: Any = coroutine.send(None)
    except StopIteration as done:
        reply(done.value, None)
    except Exception as error:  # noqa: BLE001 - the server's answer
        reply(None, error)
    else:
        waiting._asyncio_future_blocking = False
        waiting.add_done_callback(partial(_go_on, coroutine, reply), context=SERVER)


IN_FLIGHT = frozenset({_answer, _fail, _carry_out})
"""What a timer calls that stands for a request or a reply on its way."""


class StoreWire:
    """``Store``, over a wire."""

    def __init__(self, wire: Wire, store: MemoryStore) -> None:
        self._wire = wire
        self._store = store
        self._told = 0

    @property
    def epoch(self) -> int:
        """What this process has noticed of fail-overs."""
        return self._wire.epoch

    def __getattr__(self, op: str) -> Any:
        method = getattr(self._store, op)
        wire = self._wire

        async def through(*args: Any, **kwargs: Any) -> Any:
            if op == "load":
                wire.loaded(args[0])
            return await wire.call("store", op, lambda: method(*args, **kwargs), StoreTrouble, args)

        self.__dict__[op] = through
        return through

    async def close(self) -> None:
        """Nothing to give back."""

    @asynccontextmanager
    async def locked(self, run_id: str, budget_seconds: float) -> AsyncGenerator[_LockedWire]:
        """A transaction at the server."""
        if self._wire.is_read_only("store"):
            raise UnableRolledBack("READONLY")
        held = Transaction(self._wire, self._store, run_id, budget_seconds)
        await held.begin()
        try:
            yield _LockedWire(self._wire, held)
        except BaseException:
            held.end(commit=False)
            raise
        await held.commit()


class _LockedWire:
    def __init__(self, wire: Wire, held: Transaction) -> None:
        self._wire = wire
        self._held = held

    async def load(self, after_seq: int, stamp: int | None = None) -> Any:
        return await self._held.ask(lambda locked: locked.load(after_seq, stamp))

    async def append(self, batch: Batch) -> Any:
        return await self._held.ask(lambda locked: locked.append(batch))

    async def move(self, queue: str) -> Any:
        return await self._held.ask(lambda locked: locked.move(queue))


class Transaction:
    """The server's side is one task: it holds the lock, does what it is asked, and ends on its own when the budget is
    used up or the owner is dead.
    """

    def __init__(self, wire: Wire, store: MemoryStore, run_id: str, budget: float) -> None:
        self._wire = wire
        self._store = store
        self._run_id = run_id
        self._budget = budget
        self._asked: asyncio.Queue[tuple[Any, asyncio.Future[Any]] | bool] = asyncio.Queue()
        self._over = False
        self.on_commit: Callable[[], None] = lambda: None

    async def begin(self) -> None:
        self._wire.on_beat()
        begun: asyncio.Future[Any] = self._wire.loop.create_future()
        self._wire.loop.create_task(self._serve(begun), context=SERVER.copy())
        await begun

    async def ask(self, what: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        self._wire.on_beat()
        answer: asyncio.Future[Any] = self._wire.loop.create_future()
        await asyncio.sleep(self._wire.latency * self._wire.loop.random.random())
        if self._over:
            raise StoreTrouble("the transaction was ended by the server")
        self._asked.put_nowait((what, answer))
        return await answer

    def end(self, *, commit: bool) -> None:
        self._asked.put_nowait(commit)

    async def commit(self) -> None:
        answer: asyncio.Future[Any] = self._wire.loop.create_future()
        if self._over:
            raise StoreTrouble("the transaction was ended by the server")
        self._asked.put_nowait((None, answer))
        await answer

    async def _serve(self, begun: asyncio.Future[Any]) -> None:
        last: asyncio.Future[Any] = begun
        try:
            async with self._store.locked(self._run_id, self._budget) as locked:
                _answer(begun, None, None)
                until = self._wire.loop.now + self._budget
                while True:
                    asked = await self._next(until)
                    if isinstance(asked, bool):
                        raise _GivenUp
                    what, last = asked
                    if what is None:
                        break
                    try:
                        _answer(last, await what(locked), None)
                    except StoreTrouble as error:
                        _answer(last, None, error)
            self.on_commit()
            _answer(last, None, None)
        except _GivenUp:
            return
        except Exception as error:  # noqa: BLE001 - the server's answer
            _answer(last, None, error)
        finally:
            self._over = True
            while not self._asked.empty():
                left = self._asked.get_nowait()
                if not isinstance(left, bool):
                    _answer(left[1], None, StoreTrouble("the transaction was ended by the server"))

    async def _next(self, until: float) -> Any:
        while True:
            rest = until - self._wire.loop.now
            if rest <= 0 or not self._wire.proc.alive:
                raise _GivenUp
            try:
                async with asyncio.timeout(min(rest, 0.05)):
                    return await self._asked.get()
            except TimeoutError:
                continue


class _GivenUp(Exception):
    """The transaction is rolled back."""


class QueueWire:
    """``Queue``, over a wire. ``wait`` and ``subscribe`` are the process's own: what they wait for comes to it."""

    def __init__(self, wire: Wire, server: MemoryServer, owner: str) -> None:
        self._wire = wire
        self._client = server.client(owner)
        self.owner = owner

    def __getattr__(self, op: str) -> Any:
        method = getattr(self._client, op)
        wire = self._wire

        async def through(*args: Any, **kwargs: Any) -> Any:
            return await wire.call("queue", op, lambda: method(*args, **kwargs), QueueTrouble, args)

        self.__dict__[op] = through
        return through

    async def claim(
        self,
        queue: str,
        limit: int,
        lease_ms: int,
        *,
        steps: int | None = None,
        ticks: int | None = None,
        code: str = "",
    ) -> Claimed:
        """As the queue's; counted when it brings something."""
        wire = self._wire
        rooms: dict[str, Any] = {"steps": steps, "ticks": ticks}
        claimed: Claimed = await wire.call(
            "queue", "claim", lambda: self._client.claim(queue, limit, lease_ms, **rooms, code=code), QueueTrouble
        )
        if claimed.deliveries:
            wire.on_beat()
        return claimed

    async def wait(self, queues: Sequence[str], timeout_ms: int, *, steps: bool = True) -> bool:
        """As the queue's."""
        wire = self._wire
        if wire.loop.now < wire.cut.get("queue", 0.0):
            await asyncio.sleep(wire.latency)
            raise QueueTrouble("the connection was lost")
        return await self._client.wait(queues, timeout_ms, steps=steps)

    def subscribe(self, channel: str) -> Any:
        """As the queue's."""
        return self._client.subscribe(channel)

    async def close(self) -> None:
        """Nothing to give back."""
