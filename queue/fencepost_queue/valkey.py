"""The tick queue on Redis or Valkey: each operation is one script, each of which is one step to everybody else.

What is authoritative, and what a lane's keys are: lua/prelude.lua. What each operation does to a message: states.py.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
from collections.abc import Callable, Sequence

from fencepost_queue.bell import Bell
from fencepost_queue.codec import Groups, Item, claimed, depth_of, flat, grouped, peeked, placed, renewed, settled
from fencepost_queue.connection import Argument, Dialer, Reply
from fencepost_queue.errors import OtherShards
from fencepost_queue.hints import Hints, Listener
from fencepost_queue.inspection import Held, held_of
from fencepost_queue.keys import (
    LaneKeys,
    bells,
    channel_key,
    check_namespace,
    lane_keys,
    lanes_key,
    probe_key,
    shard_of,
    shards_key,
)
from fencepost_queue.limits import CLAIM_MAX, WHY_CHARS_MAX
from fencepost_queue.parting import parted
from fencepost_queue.pipeline import Pipeline
from fencepost_queue.protocol import (
    Claimed,
    Delivery,
    Depth,
    EnqueueOutcome,
    Entry,
    Peeked,
    Renewal,
    Settled,
    SettleOutcome,
)

OWNER = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_calls = itertools.count(1)
"""One counter per process, not per client: two clients of one owner (worker, lease keeper) never make the same
token."""


async def connect(
    url: str, namespace: str, *, owner: str | None = None, shards: int = 1, timeout_seconds: float = 5
) -> ValkeyQueue:
    """A queue on a server that was reached and found fit. ``url``: redis://, rediss:// or unix:///path.

    ``owner``: None makes a random one; one that is given must be new for every process (F11). ``shards`` must be the
    same for all processes of a namespace. Raises QueueTrouble (try again), QueueRefused (give up), ValueError (fix the
    input)."""
    queue = ValkeyQueue(url, namespace, owner=owner, shards=shards, timeout_seconds=timeout_seconds)
    try:
        await queue.ping()
        await queue.agree_on_shards()
    except BaseException:
        await queue.close()
        raise
    return queue


class ValkeyQueue:
    """``Queue`` on a server. Bound to the event loop that first uses it; for another thread make another one.

    ``clock_ms`` replaces the server's clock, for tests only: production passes None, and the scripts call TIME.
    """

    def __init__(
        self,
        url: str,
        namespace: str,
        *,
        owner: str | None = None,
        shards: int = 1,
        timeout_seconds: float = 5,
        clock_ms: Callable[[], int] | None = None,
    ) -> None:
        if owner is not None and not OWNER.fullmatch(owner):
            raise ValueError(f"owner {owner!r}: 1 to 100 letters, digits, '_', '.' and '-' are allowed")
        if shards < 1:
            raise ValueError(f"shards is {shards}, it must be at least 1")
        self._namespace = check_namespace(namespace)
        self._owner = owner or secrets.token_hex(8)
        self._shards = shards
        self._timeout_seconds = timeout_seconds
        self._clock_ms = clock_ms
        self._dialer = Dialer(url, timeout_seconds)
        self._hints = Hints(self._dialer, timeout_seconds)
        self._pipeline = Pipeline(self._dialer, timeout_seconds, self._hints.renew)
        self._ears: dict[tuple[str, ...], Bell] = {}
        self._generations: dict[str, str] = {}
        self._next_shard = 0

    @property
    def owner(self) -> str:
        return self._owner

    async def ping(self) -> None:
        """Reach the server, check that it is fit, load the scripts."""
        await self._pipeline.call("PING")

    async def agree_on_shards(self) -> None:
        """OtherShards if the namespace is used with another number (H189). The first to come records it."""
        if await self.require_shards() is None:
            await self._record_shards()
            await self.require_shards()

    async def require_shards(self) -> int | None:
        """The recorded number, None if there is none yet. Raises OtherShards if it is not ours; records nothing."""
        key = shards_key(self._namespace)
        lanes, recorded = await asyncio.gather(self._known_lanes(), self._pipeline.call("GET", key))
        if recorded is None:
            used = max((lane.shard for lane in lanes), default=0) + 1
            if used > self._shards:  # by a version that recorded nothing
                raise OtherShards(self._namespace, used, self._shards)
            return None
        if int(recorded) != self._shards:
            raise OtherShards(self._namespace, int(recorded), self._shards)
        return self._shards

    def _record_shards(self) -> asyncio.Future[Reply]:
        return self._pipeline.call("SETNX", shards_key(self._namespace), self._shards)

    async def enqueue(self, entries: Sequence[Entry]) -> list[EnqueueOutcome]:
        outcomes: dict[int, EnqueueOutcome] = {}
        groups = grouped(list(enumerate(entries)), lambda item: self._lane(item[1].queue, item[1].key))
        calls = [self._run("enqueue", lane, *flat(placed(entry) for _, entry in items)) for lane, items in groups]
        for (_, items), replies in zip(groups, await self._registered(groups, calls), strict=True):
            for (index, _), outcome in zip(items, replies, strict=True):
                outcomes[index] = EnqueueOutcome(outcome.decode())
        return [outcomes[i] for i in range(len(entries))]

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
        limit = min(limit, CLAIM_MAX)
        room = limit if steps is None else steps
        turns = limit if ticks is None else ticks
        first = self._next_shard = (self._next_shard + 1) % self._shards
        parts: list[Claimed] = []
        for offset in range(self._shards):
            lane = lane_keys(self._namespace, queue, (first + offset) % self._shards)
            part = await self._claim(lane, limit, room, turns, lease_ms, code)
            parts.append(part)
            taken = sum(delivery.key.startswith("t:") for delivery in part.deliveries)
            limit -= len(part.deliveries)
            room -= len(part.deliveries) - taken
            turns -= taken
        dues = [part.next_due_ms for part in parts if part.next_due_ms is not None]
        return Claimed(
            tuple(delivery for part in parts for delivery in part.deliveries),
            min(dues) if dues else None,
            ",".join(sorted(part.generation for part in parts)),
            any(part.sweep for part in parts),
            any(part.waiting for part in parts),
        )

    async def wait(self, queues: Sequence[str], timeout_ms: int, *, steps: bool = True) -> bool:
        names = tuple(queues)
        if names not in self._ears:
            self._ears[names] = Bell(self._dialer, self._pipeline, self._timeout_seconds)
        lanes = [lane for name in names for lane in self._lanes(name)]
        return await self._ears[names].wait(bells(lanes, steps=steps), timeout_ms)

    async def renew(self, deliveries: Sequence[Delivery], lease_ms: int, *, begin: bool = False) -> Renewal:
        lost: list[str] = []
        withdrawn: list[str] = []
        groups = grouped(deliveries, lambda delivery: self._lane(delivery.queue, delivery.key))
        calls = [
            self._run("renew", lane, lease_ms, int(begin), *flat(renewed(held) for held in mine))
            for lane, mine in groups
        ]
        for (_, held), verdicts in zip(groups, await self._registered(groups, calls), strict=True):
            lost += [d.token for d, verdict in zip(held, verdicts, strict=True) if verdict == 0]
            withdrawn += [d.token for d, verdict in zip(held, verdicts, strict=True) if verdict == 2]
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
        lane = self._lane(delivery.queue, delivery.key)
        mine = [entry for entry in follow_ups if self._lane(entry.queue, entry.key) is lane]
        surplus, here = parted(delivery.key, mine)
        others = [entry for entry in follow_ups if self._lane(entry.queue, entry.key) is not lane]
        if first := [*others, *surplus]:
            # Before the settle, not beside it: a crash in between repeats them, the other way round would lose them.
            await self.enqueue(first)
        reply = await self._run(
            "settle", lane, lease_ms, delivery.key, delivery.token, int(recovered), conflicts, int(delivery.recover),
            self._token_prefix(), *flat((*placed(entry), int(entry.lease)) for entry in here),
        )  # fmt: skip
        answer = settled(reply, delivery, here, conflicts)
        if answer.outcome is SettleOutcome.lost and here:
            await asyncio.gather(self._register([lane]), self._record_shards())
        return answer

    async def release(self, delivery: Delivery, delay_ms: int = 0, *, proof: bool = False) -> bool:
        lane = self._lane(delivery.queue, delivery.key)
        released: int = await self._run("release", lane, delivery.key, delivery.token, delay_ms, int(proof))
        return released == 1

    async def refuse(self, delivery: Delivery, code: str, why: str) -> bool:
        lane = self._lane(delivery.queue, delivery.key)
        told = why[:WHY_CHARS_MAX]
        refused: int = await self._run("refuse", lane, delivery.key, delivery.token, code, told)
        return refused == 1

    async def expire(self, owner: str) -> int:
        ended = 0
        for lane in await self._known_lanes():
            cursor = b"0"
            while True:
                cursor, count = await self._run("expire", lane, owner, cursor)
                ended += count
                if cursor == b"0":
                    break
        return ended

    async def sweep(self, queue: str, generation: str, lease_ms: int) -> bool:
        calls = [self._run("sweep", lane, lease_ms, generation) for lane in self._lanes(queue)]
        return any(await asyncio.gather(*calls))

    async def withdraw(self, queue: str, keys: Sequence[str]) -> list[str]:
        begun: list[str] = []
        for lane, mine in grouped(keys, lambda key: self._lane(queue, key)):
            begun += [token.decode() for token in await self._run("withdraw", lane, *mine)]
        return begun

    async def depth(self) -> list[Depth]:
        return [depth_of(lane, await self._run("depth", lane)) for lane in await self._known_lanes()]

    async def peek(self, queue: str, limit: int) -> list[Peeked]:
        found: list[Peeked] = []
        for lane in self._lanes(queue):
            found += [peeked(queue, row) for row in await self._run("peek", lane, max(1, limit))]
        order = ("leased", "ready", "delayed")
        return sorted(found, key=lambda message: order.index(message.state))[:limit]

    async def lanes(self) -> list[tuple[str, int]]:
        return [(lane.queue, lane.shard) for lane in await self._known_lanes()]

    async def scan(self, queue: str, shard: int, cursor: int, count: int) -> tuple[list[Held], int]:
        reply = await self._run("inspect", lane_keys(self._namespace, queue, shard), cursor, count)
        return [held_of(queue, row) for row in reply[1:]], int(reply[0])

    async def look(self, queue: str, keys: Sequence[str]) -> list[Held]:
        found: list[Held] = []
        for lane, mine in grouped(keys, lambda key: self._lane(queue, key)):
            found += [held_of(queue, row) for row in (await self._run("inspect", lane, 0, 0, *mine))[1:]]
        return found

    async def clock_ms(self) -> int:
        seconds, microseconds = await self._pipeline.call("TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def publish(self, channel: str, message: bytes) -> None:
        await self._pipeline.call("PUBLISH", channel_key(self._namespace, channel), message)

    async def writable(self) -> None:
        await self._pipeline.call("SET", probe_key(self._namespace), 1, "PX", 1)

    def subscribe(self, channel: str) -> Listener:
        return Listener(self._hints, channel_key(self._namespace, channel))

    async def close(self) -> None:
        for ear in self._ears.values():
            await ear.close()
        self._ears.clear()
        await self._hints.close()
        await self._pipeline.close()

    def _lane(self, queue: str, key: str) -> LaneKeys:
        return lane_keys(self._namespace, queue, shard_of(key, self._shards))

    def _lanes(self, queue: str) -> list[LaneKeys]:
        return [lane_keys(self._namespace, queue, shard) for shard in range(self._shards)]

    def _token_prefix(self) -> str:
        """``<owner>.<call>-``, to which the script appends the number of the hand-over within the call."""
        return f"{self._owner}.{next(_calls)}-"

    def _run(self, name: str, lane: LaneKeys, *arguments: Argument, identified: bool = False) -> asyncio.Future[Reply]:
        now = "" if self._clock_ms is None else self._clock_ms()
        return self._pipeline.run(name, lane.declared, now, *arguments, identified=identified)

    async def _registered(self, groups: Groups[Item], calls: list[asyncio.Future[Reply]]) -> list[Reply]:
        """The replies of calls that may make a lane known, which is recorded on the same trip."""
        if not calls:
            return []
        return (await asyncio.gather(self._register([lane for lane, _ in groups]), *calls))[1:]

    async def _claim(self, lane: LaneKeys, limit: int, steps: int, ticks: int, lease_ms: int, code: str) -> Claimed:
        fresh = secrets.token_hex(8), self._token_prefix()
        reply = await self._run("claim", lane, limit, steps, lease_ms, *fresh, code, ticks, identified=True)
        generation = reply[0].decode()
        if self._generations.get(lane.member) != generation:
            await asyncio.gather(self._register([lane]), self._record_shards())
            self._generations[lane.member] = generation
        return Claimed(
            tuple(claimed(lane.queue, generation, row) for row in reply[4:]),
            None if reply[2] < 0 else reply[2],
            generation,
            reply[1] == 1,
            reply[3] == 1,
        )

    def _register(self, lanes: Sequence[LaneKeys]) -> asyncio.Future[Reply]:
        return self._pipeline.call("SADD", lanes_key(self._namespace), *(lane.member for lane in lanes))

    async def _known_lanes(self) -> list[LaneKeys]:
        members: list[bytes] = await self._pipeline.call("SMEMBERS", lanes_key(self._namespace))
        split = (member.decode().rpartition("/") for member in sorted(members))
        return [lane_keys(self._namespace, queue, int(shard)) for queue, _, shard in split]
