"""The tick queue in one process's memory: what the simulator and users' tests run on, and what the real one is
compared with.

Every call is one atomic step, as a script is on the server: nothing is awaited between its first read and its last
write. Not for use from several threads.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias, TypeVar

import msgspec

from fencepost_queue.inspection import Held
from fencepost_queue.lane import Lane
from fencepost_queue.limits import CLAIM_MAX, WHY_CHARS_MAX
from fencepost_queue.message import Kind, Message, Settling, State
from fencepost_queue.parting import parted
from fencepost_queue.protocol import (
    Claimed,
    Delivery,
    Depth,
    EnqueueOutcome,
    Entry,
    Peeked,
    Renewal,
    Settled,
)

Result = TypeVar("Result")
Bell: TypeAlias = tuple[str, Kind]


class LaneSnapshot(msgspec.Struct, frozen=True):
    """A lane as it stood."""

    messages: dict[str, Message]
    counter: int
    round: int | None
    generation: str | None
    swept_until: int | None
    bells: dict[Kind, int]
    server: str = ""


class MemoryServer:
    """The state that all clients of one namespace share.

    ``clock_ms``: milliseconds, from any epoch, never backwards. ``sleep`` (seconds) is all that waits here, so that a
    simulator decides what time is. ``identity``: which server this is; another one after every ``restore``.
    """

    def __init__(self, clock_ms: Callable[[], int], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self.clock_ms = clock_ms
        self.sleep = sleep
        self.lanes: dict[str, Lane] = {}
        self.identity: str = "server 1"
        self._blocked: dict[Bell, list[asyncio.Future[None]]] = {}
        self._listeners: dict[str, list[MemorySubscription]] = {}

    def client(self, owner: str) -> MemoryQueue:
        """One process's view. ``owner`` must be new for every process, as the random id is outside."""
        return MemoryQueue(self, owner)

    def flush(self) -> None:
        """Lose everything at once, as FLUSHALL does. Blocked waiters stay blocked, listeners stay subscribed."""
        self.lanes.clear()

    def snapshot(self) -> dict[str, LaneSnapshot]:
        """The whole state; messages are immutable, so this copies no more than the tables."""
        return {
            name: LaneSnapshot(
                dict(lane.messages),
                lane.counter,
                lane.round,
                lane.generation,
                lane.swept_until,
                dict(lane.bells),
                lane.server,
            )
            for name, lane in self.lanes.items()
        }

    def restore(self, state: dict[str, LaneSnapshot]) -> None:
        """Put an older state in place, as a fail-over to a lagging replica or a restart does: it is another server."""
        self.identity = f"server {1 + int(self.identity.rpartition(' ')[2])}"
        self.lanes.clear()
        for name, kept in state.items():
            lane = self.lane(name)
            lane.messages = dict(kept.messages)
            lane.counter, lane.round, lane.bells = kept.counter, kept.round, dict(kept.bells)
            lane.generation, lane.swept_until, lane.server = kept.generation, kept.swept_until, kept.server

    def lane(self, queue: str) -> Lane:
        """The lane of a queue, made when first named."""
        if queue not in self.lanes:
            self.lanes[queue] = Lane(queue)
        return self.lanes[queue]

    def deliver_rings(self) -> None:
        """Hand unheard rings to whoever blocks, longest first, as the server does after each script."""
        for (name, kind), blocked in self._blocked.items():
            lane = self.lanes.get(name) if blocked else None
            while lane is not None and lane.bells[kind] and blocked:
                heard = blocked.pop(0)
                if not heard.done():
                    lane.bells[kind] -= 1
                    heard.set_result(None)

    def hear(self, bells: Sequence[Bell]) -> bool:
        """Take an unheard ring, if there is one."""
        for name, kind in bells:
            lane = self.lanes.get(name)
            if lane is not None and lane.bells[kind]:
                lane.bells[kind] -= 1
                return True
        return False

    def block(self, bells: Sequence[Bell], heard: asyncio.Future[None]) -> None:
        """Stand in line for a ring of any of these bells."""
        for bell in bells:
            self._blocked.setdefault(bell, []).append(heard)

    def unblock(self, bells: Sequence[Bell], heard: asyncio.Future[None]) -> None:
        """Leave the line."""
        for bell in bells:
            if heard in self._blocked.get(bell, []):
                self._blocked[bell].remove(heard)

    def listeners(self, channel: str) -> list[MemorySubscription]:
        """Whoever listens on a channel now; the list itself, to join and leave."""
        return self._listeners.setdefault(channel, [])


class MemoryQueue:
    """``Queue`` on a ``MemoryServer``."""

    def __init__(self, server: MemoryServer, owner: str) -> None:
        self._server = server
        self._owner = owner
        self._counter = 0

    @property
    def owner(self) -> str:
        return self._owner

    async def enqueue(self, entries: Sequence[Entry]) -> list[EnqueueOutcome]:
        now = self._server.clock_ms()
        return self._rung([self._server.lane(entry.queue).enqueue(now, entry) for entry in entries])

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
        lane = self._server.lane(queue)
        now = self._server.clock_ms()
        limit = min(limit, CLAIM_MAX)
        room = {Kind.step: limit if steps is None else steps, Kind.tick: limit if ticks is None else ticks}
        return self._rung(
            lane.claim(now, limit, room, lease_ms, self._token, self._token(), code, self._server.identity)
        )

    async def wait(self, queues: Sequence[str], timeout_ms: int, *, steps: bool = True) -> bool:
        bells = [(name, kind) for kind in (Kind if steps else (Kind.tick,)) for name in queues]
        if self._server.hear(bells):
            return True
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[None] = loop.create_future()
        timer = asyncio.ensure_future(self._server.sleep(timeout_ms / 1000))
        self._server.block(bells, heard)
        try:
            await _first_of(loop, heard, timer)
        except asyncio.CancelledError:
            if heard.done():  # The ring was taken and nobody will act on it: ring again.
                self._server.unblock(bells, heard)
                for name in queues:
                    self._server.lane(name).ring()
                self._server.deliver_rings()
            raise
        finally:
            timer.cancel()
            self._server.unblock(bells, heard)
        return heard.done()

    async def renew(self, deliveries: Sequence[Delivery], lease_ms: int, *, begin: bool = False) -> Renewal:
        now = self._server.clock_ms()
        lost: list[str] = []
        withdrawn: list[str] = []
        for delivery in deliveries:
            held, unwanted = self._server.lane(delivery.queue).renew(now, delivery, lease_ms, begin=begin)
            if not held:
                lost.append(delivery.token)
            elif unwanted:
                withdrawn.append(delivery.token)
        return Renewal(tuple(lost), tuple(withdrawn))

    async def settle(
        self,
        delivery: Delivery,
        follow_ups: Sequence[Entry] = (),
        *,
        lease_ms: int,
        recovered: bool = False,
        conflicts: int = 0,
    ) -> Settled:
        now = self._server.clock_ms()
        for entry in follow_ups:
            if entry.queue != delivery.queue:
                self._server.lane(entry.queue).enqueue(now, entry)
        surplus, here = parted(delivery.key, [entry for entry in follow_ups if entry.queue == delivery.queue])
        for entry in surplus:
            self._server.lane(entry.queue).enqueue(now, entry)
        settling = Settling(delivery, lease_ms, recovered, conflicts, self._token)
        return self._rung(self._server.lane(delivery.queue).settle(now, settling, here))

    async def release(self, delivery: Delivery, delay_ms: int = 0, *, proof: bool = False) -> bool:
        lane = self._server.lanes.get(delivery.queue, Lane(delivery.queue))
        return self._rung(lane.release(self._server.clock_ms(), delivery, delay_ms, proof))

    async def refuse(self, delivery: Delivery, code: str, why: str) -> bool:
        lane = self._server.lanes.get(delivery.queue, Lane(delivery.queue))
        return self._rung(lane.refuse(self._server.clock_ms(), delivery, code, why[:WHY_CHARS_MAX]))

    async def expire(self, owner: str) -> int:
        now = self._server.clock_ms()
        return self._rung(sum(lane.expire(now, owner) for lane in self._server.lanes.values()))

    async def sweep(self, queue: str, generation: str, lease_ms: int) -> bool:
        lane = self._server.lanes.get(queue, Lane(queue))
        return lane.sweep(self._server.clock_ms(), generation, lease_ms)

    async def withdraw(self, queue: str, keys: Sequence[str]) -> list[str]:
        lane = self._server.lanes.get(queue, Lane(queue))
        return [token for key in keys if (token := lane.withdraw(key)) is not None]

    async def depth(self) -> list[Depth]:
        now = self._server.clock_ms()
        return [_depth(now, lane) for _, lane in sorted(self._server.lanes.items())]

    async def peek(self, queue: str, limit: int) -> list[Peeked]:
        now = self._server.clock_ms()
        lane = self._server.lanes.get(queue, Lane(queue))
        refused = lane.refused_in_order()
        keys = [*lane.in_order(State.leased), *lane.in_order(State.ready), *refused, *lane.in_order(State.delayed)]
        return [_peeked(now, queue, key, lane.messages[key]) for key in keys[:limit]]

    async def lanes(self) -> list[tuple[str, int]]:
        return [(name, 0) for name in sorted(self._server.lanes)]

    async def scan(self, queue: str, shard: int, cursor: int, count: int) -> tuple[list[Held], int]:
        keys = sorted(self._server.lanes.get(queue, Lane(queue)).messages)
        following = cursor + count
        return await self.look(queue, keys[cursor:following]), following if following < len(keys) else 0

    async def look(self, queue: str, keys: Sequence[str]) -> list[Held]:
        messages = self._server.lanes.get(queue, Lane(queue)).messages
        now = self._server.clock_ms()
        return [_held(now, queue, key, messages[key]) for key in keys if key in messages]

    async def clock_ms(self) -> int:
        return self._server.clock_ms()

    async def publish(self, channel: str, message: bytes) -> None:
        for listener in list(self._server.listeners(channel)):
            listener.hear(message)

    async def writable(self) -> None:
        return None

    def subscribe(self, channel: str) -> MemorySubscription:
        return MemorySubscription(self._server, channel)

    async def close(self) -> None:
        return None

    def _token(self) -> str:
        self._counter += 1
        return f"{self._owner}.{self._counter}"

    def _rung(self, result: Result) -> Result:
        self._server.deliver_rings()
        return result


async def _first_of(loop: asyncio.AbstractEventLoop, heard: asyncio.Future[None], timer: asyncio.Future[None]) -> None:
    """As ``asyncio.wait`` for the first to complete, without what it does for any number of awaitables of any kind:
    idle workers are here most of the time.
    """
    waiter: asyncio.Future[None] = loop.create_future()

    def over(_: asyncio.Future[None]) -> None:
        if not waiter.done():
            waiter.set_result(None)

    heard.add_done_callback(over)
    timer.add_done_callback(over)
    try:
        await waiter
    finally:
        heard.remove_done_callback(over)
        timer.remove_done_callback(over)


class MemorySubscription:
    """``Subscription`` on a ``MemoryServer``."""

    def __init__(self, server: MemoryServer, channel: str) -> None:
        self._server = server
        self._channel = channel
        self._heard: deque[bytes] = deque()
        self._waiting: asyncio.Future[None] | None = None

    def hear(self, message: bytes) -> None:
        """Called by the publisher."""
        self._heard.append(message)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def __aenter__(self) -> MemorySubscription:
        self._server.listeners(self._channel).append(self)
        return self

    async def __aexit__(self, *exc: object) -> None:
        listeners = self._server.listeners(self._channel)
        if self in listeners:  # a server that was made to forget its subscribers, as a restart does, has nothing to end
            listeners.remove(self)

    async def next(self, timeout_seconds: float) -> bytes | None:
        if not self._heard:
            self._waiting = asyncio.get_running_loop().create_future()
            timer = asyncio.ensure_future(self._server.sleep(timeout_seconds))
            try:
                await asyncio.wait({self._waiting, timer}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                timer.cancel()
                self._waiting = None
        return self._heard.popleft() if self._heard else None


def _depth(now: int, lane: Lane) -> Depth:
    """A delay that is over and a lease that has ended count as ready, since then: with no worker alive nobody claims
    them.
    """
    ready = {key: lane.messages[key].since for key in lane.in_order(State.ready)}
    leased, delayed = lane.in_order(State.leased), lane.in_order(State.delayed)
    over = {key: lane.messages[key].at for key in (*leased, *delayed) if lane.messages[key].at <= now}
    since = (*ready.values(), *over.values())
    return Depth(
        queue=lane.queue,
        shard=0,
        ready=len(since) + len(lane.refused_in_order()),
        leased=sum(key not in over for key in leased),
        delayed=sum(key not in over for key in delayed),
        oldest_ready_ms=now - min(since) if since else None,
    )


def _peeked(now: int, queue: str, key: str, held: Message) -> Peeked:
    return Peeked(
        queue=queue,
        key=key,
        state=held.state.value,
        owner=held.token.rpartition(".")[0] or None,
        crashes=held.crashes,
        proofs=held.proofs,
        conflicts=held.conflicts,
        recover=held.recover or held.dirty_recover,
        dirty=held.dirty,
        due_ms=None if held.state is State.ready else max(0, held.at - now),
        refused=len(held.refused.split(",")) if held.refused else 0,
        why=held.why,
    )


def _held(now: int, queue: str, key: str, message: Message) -> Held:
    """A message of the model is always in its place: there are no sets beside it."""
    ready = message.state is State.ready
    return Held(
        queue=queue,
        key=key,
        state=message.state.value,
        owner=message.token.rpartition(".")[0] or None,
        crashes=message.crashes,
        proofs=message.proofs,
        conflicts=message.conflicts,
        recover=message.recover or message.dirty_recover,
        dirty=message.dirty,
        due_ms=None if ready else message.at - now,
        ready_ms=now - message.since if ready else None,
        placed=True,
    )
