"""The model and the server side by side: random operations, every answer compared, the whole state after every step,
every step of every key checked against the table of states.py. Prints its seed; fails if anything never came to pass.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from fencepost_queue.lane import Lane
from fencepost_queue.limits import REFUSALS_MAX
from fencepost_queue.memory import MemoryServer
from fencepost_queue.message import Message, State
from fencepost_queue.protocol import Claimed, Delivery, EnqueueOutcome, Entry, Queue, Renewal, Settled, SettleOutcome
from fencepost_queue.states import TRANSITIONS, Operation, Standing

if TYPE_CHECKING:
    from .conftest import OnServer

LANES = ("q", "r")
CODES = tuple(f"c{n}" for n in range(REFUSALS_MAX + 2))
KEYS = ("t:1", "t:2", "s:1:a", "s:1:b", "s:2:a")
LEASES_MS = (200, 1000)
STEPS = 1500
STEPS_MAX = 20 * STEPS
"""Rare rows of the table get as many steps as they need, within reason."""
TABLE = {(row.operation, row.before, row.after) for row in TRANSITIONS}

OUTCOMES: set[object] = {
    *EnqueueOutcome,
    *SettleOutcome,
    *((name, True) for name in ("sweep", "swept", "withdrawn", "begun", "lost", "expired", "recover", "released")),
    *(("steps wait", True), ("steps wait", False)),
    *(("released", False), ("swept", False), ("crashes", 0), ("crashes", 2)),
    *(("refused", True), ("refused", False), "refused by all", "refused and taken"),
}


class Names:
    """Which name of the one stands for which of the other: tokens and generations are random on both sides."""

    def __init__(self) -> None:
        self._there: dict[str, str] = {}
        self._back: dict[str, str] = {}

    def same(self, model: str, real: str) -> bool:
        return self._there.setdefault(model, real) == real and self._back.setdefault(real, model) == model


class Pair:
    """One hand-over, as each side knows it."""

    def __init__(self, model: Delivery, real: Delivery, owner: int) -> None:
        self.model = model
        self.real = real
        self.owner = owner


class Differential:
    def __init__(self, real: OnServer, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = real.clock
        self.real_server = real
        self.model_server = MemoryServer(self.clock)
        self.clients: list[tuple[Queue, Queue]] = [(self.model_server.client(o), real.client(o)) for o in ("a", "b")]
        self.names = Names()
        self.generations: dict[str, list[tuple[str, str]]] = {lane: [] for lane in LANES}
        self.pairs: list[Pair] = []
        self.seen: set[tuple[Operation, Standing, Standing]] = set()
        self.outcomes: set[object] = set()
        self.before: dict[tuple[str, str], Message] = {}

    async def step(self) -> None:
        self.clock.pass_ms(self.random.choice((0, 0, 1, 37, 99, 150)))
        operations: list[tuple[Callable[[], Any], int]] = [
            (self.enqueue, 10), (self.claim, 10), (self.settle, 9), (self.renew, 7), (self.release, 4),
            (self.withdraw, 3), (self.expire, 1), (self.sweep, 2), (self.flush, 1), (self.look, 2), (self.flood, 1),
            (self.grant, 4), (self.refuse, 6), (self.refuse_by_all, 1),
        ]  # fmt: skip
        chosen = self.random.choices([o for o, _ in operations], [w for _, w in operations])[0]
        await chosen()

    async def enqueue(self) -> None:
        await self.place([self.entry() for _ in range(self.random.choice((1, 1, 1, 3)))])

    async def place(self, entries: list[Entry]) -> None:
        model, real = self.client()
        outcomes = await model.enqueue(entries)
        assert await real.enqueue(entries) == outcomes
        self.outcomes.update(outcomes)
        await self.compare(Operation.enqueue, entries if len(entries) == 1 else None)

    async def claim(self) -> None:
        owner = self.random.randrange(2)
        model, real = self.clients[owner]
        lane, lease = self.random.choice(LANES), self.random.choice(LEASES_MS)
        limit = self.random.choice((0, 1, 1, 2, 9))
        steps = self.random.choice((None, None, 0, 1))
        ticks = self.random.choice((None, None, None, 0, 1))
        code = self.random.choice(("", *CODES[:2]))
        expected: Claimed = await model.claim(lane, limit, lease, steps=steps, ticks=ticks, code=code)
        found: Claimed = await real.claim(lane, limit, lease, steps=steps, ticks=ticks, code=code)
        self.outcomes.add(("steps wait", expected.waiting))
        assert expected.waiting is found.waiting
        assert self.names.same(expected.generation, found.generation)
        assert (expected.sweep, expected.next_due_ms) == (found.sweep, found.next_due_ms)
        assert len(expected.deliveries) == len(found.deliveries)
        for mine, theirs in zip(expected.deliveries, found.deliveries, strict=True):
            self.handed(mine, theirs, owner)
            refused = self.before.get((lane, mine.key))
            if refused is not None and refused.refused:
                assert code not in refused.refused.split(",") or refused.state is not State.ready
                self.outcomes.add("refused and taken")
        self.outcomes.add(("sweep", expected.sweep))
        self.generations[lane] = [*self.generations[lane][-2:], (expected.generation, found.generation)]
        await self.compare(Operation.claim, LANES)

    async def settle(self) -> None:
        pair = self.pair()
        if pair is None:
            return
        await self.settle_one(pair, [self.entry(lease=True) for _ in range(self.random.choice((0, 0, 1, 2)))])

    async def grant(self) -> None:
        """A follow-up that asks to be leased, half of the time of a key that is dirty, which is rare."""
        pair = self.pair()
        if pair is None:
            return
        others = [key for key in KEYS if key != pair.model.key]
        dirty = [key for key in others if (held := self.before.get((pair.model.queue, key))) and held.dirty]
        key = self.random.choice(dirty if dirty and self.random.random() < 0.5 else others)
        await self.settle_one(pair, [Entry(pair.model.queue, key, recover=self.random.random() < 0.3, lease=True)])

    async def flood(self) -> None:
        """A tick that is dirty at every settle, until it is put at the back of ready."""
        for _ in range(4):
            if not self.pairs or not self.pairs[-1].model.key.startswith("t:"):
                return
            pair = self.pairs[-1]
            await self.place([Entry(pair.model.queue, pair.model.key)])
            await self.settle_one(pair, [])

    async def settle_one(self, pair: Pair, follow_ups: list[Entry]) -> None:
        model, real = self.clients[pair.owner]
        lease = self.random.choice(LEASES_MS)
        recovered, conflicts = self.random.random() < 0.4, self.random.randrange(3)
        expected: Settled = await model.settle(
            pair.model, follow_ups, lease_ms=lease, recovered=recovered, conflicts=conflicts
        )
        found: Settled = await real.settle(
            pair.real, follow_ups, lease_ms=lease, recovered=recovered, conflicts=conflicts
        )
        assert expected.outcome is found.outcome
        assert expected.waiting is found.waiting
        assert (expected.again is None) == (found.again is None)
        if expected.again is not None and found.again is not None:
            self.handed(expected.again, found.again, pair.owner)
        assert len(expected.granted) == len(found.granted)
        for mine, theirs in zip(expected.granted, found.granted, strict=True):
            self.handed(mine, theirs, pair.owner)
        self.outcomes.add(expected.outcome)
        alone = not follow_ups
        one = len(follow_ups) == 1 and follow_ups[0].queue == pair.model.queue and follow_ups[0].key != pair.model.key
        if alone:
            await self.compare(Operation.settle, [pair.model])
        elif one and follow_ups[0].lease:
            await self.compare(Operation.grant, follow_ups, also=pair.model)
        else:
            await self.compare(Operation.settle, None)

    async def renew(self) -> None:
        chosen = self.random.sample(self.pairs, min(len(self.pairs), self.random.choice((1, 1, 4))))
        lease = self.random.choice(LEASES_MS)
        model, real = self.client()
        begin = self.random.random() < 0.5
        expected: Renewal = await model.renew([pair.model for pair in chosen], lease, begin=begin)
        found: Renewal = await real.renew([pair.real for pair in chosen], lease, begin=begin)
        for mine, theirs in ((expected.lost, found.lost), (expected.withdrawn, found.withdrawn)):
            assert [p for p in chosen if p.model.token in mine] == [p for p in chosen if p.real.token in theirs]
        self.outcomes.add(("withdrawn", bool(expected.withdrawn)))
        self.outcomes.add(("lost", bool(expected.lost)))
        await self.compare(Operation.renew, [chosen[0].model] if len(chosen) == 1 else None)

    async def refuse(self) -> None:
        pair = self.pair()
        if pair is not None:
            await self.refuse_one(pair, self.random.choice(CODES[:2]))

    async def refuse_by_all(self) -> None:
        """One message by each code in turn, until it is offered to all anew."""
        if not self.pairs:
            return
        pair = self.pairs[-1]
        model, real = self.clients[pair.owner]
        for code in CODES:
            place = (pair.model.queue, pair.model.key)
            if not await self.refuse_one(pair, code):
                return
            if self.before[place].state is State.delayed:
                self.outcomes.add("refused by all")
                return
            expected = await model.claim(pair.model.queue, 99, 1_000, code=CODES[-1])
            found = await real.claim(pair.real.queue, 99, 1_000, code=CODES[-1])
            for mine, theirs in zip(expected.deliveries, found.deliveries, strict=True):
                self.handed(mine, theirs, pair.owner)
            await self.compare(Operation.claim, LANES)
            mine = [one for one in self.pairs if one.model.key == pair.model.key and one.model.queue == place[0]]
            pair = mine[-1]

    async def refuse_one(self, pair: Pair, code: str) -> bool:
        model, real = self.clients[pair.owner]
        refused = await model.refuse(pair.model, code, f"{code} lacks it")
        assert await real.refuse(pair.real, code, f"{code} lacks it") is refused
        self.outcomes.add(("refused", refused))
        await self.compare(Operation.refuse, [pair.model])
        return refused

    async def release(self) -> None:
        pair = self.pair()
        if pair is None:
            return
        model, real = self.clients[pair.owner]
        delay, proof = self.random.choice((0, 50, 400)), self.random.random() < 0.3
        released = await model.release(pair.model, delay, proof=proof)
        assert await real.release(pair.real, delay, proof=proof) is released
        self.outcomes.add(("released", released))
        await self.compare(Operation.release, [pair.model])

    async def withdraw(self) -> None:
        lane, key = self.random.choice(LANES), self.random.choice(KEYS)
        model, real = self.client()
        mine, theirs = await model.withdraw(lane, [key]), await real.withdraw(lane, [key])
        told = [pair for pair in self.pairs if pair.model.token in mine]
        assert told == [pair for pair in self.pairs if pair.real.token in theirs]
        assert len(mine) == len(theirs)
        self.outcomes.add(("begun", bool(told)))
        await self.compare(Operation.withdraw, [Entry(lane, key)])

    async def sweep(self) -> None:
        """Of a generation that is, or of one that was."""
        lane = self.random.choice(LANES)
        if not self.generations[lane]:
            return
        mine, theirs = self.random.choice(self.generations[lane])
        lease = self.random.choice((0, *LEASES_MS))
        model, real = self.client()
        goes_on = await model.sweep(lane, mine, lease)
        assert await real.sweep(lane, theirs, lease) is goes_on
        self.outcomes.add(("swept", goes_on))

    async def expire(self) -> None:
        owner = self.random.choice(("a", "b"))
        model, real = self.client()
        ended = await model.expire(owner)
        assert await real.expire(owner) == ended
        self.outcomes.add(("expired", ended > 0))
        await self.compare(Operation.expire, LANES)

    async def flush(self) -> None:
        if self.random.random() < 0.7:
            return
        self.model_server.flush()
        await self.real_server.flush()
        await self.compare(Operation.flush, LANES)

    async def look(self) -> None:
        model, real = self.client()
        for lane in LANES:
            limit = self.random.choice((1, 3, 99))
            assert await model.peek(lane, limit) == await real.peek(lane, limit)
        inhabited = [d for d in await model.depth() if d.ready or d.leased or d.delayed]
        known = {d.queue: d for d in await real.depth()}
        assert [known.get(d.queue, d) for d in inhabited] == inhabited

    def entry(self, *, lease: bool = False) -> Entry:
        delay = self.random.choice((0, 0, 60, 300, 900))
        recover, leased = self.random.random() < 0.3, lease and delay == 0 and self.random.random() < 0.7
        body = bytes(self.random.randrange(256) for _ in range(3))
        return Entry(self.random.choice(LANES), self.random.choice(KEYS), body, delay, recover, leased)

    def client(self) -> tuple[Queue, Queue]:
        return self.random.choice(self.clients)

    def pair(self) -> Pair | None:
        """Mostly a recent hand-over, at times a long-lost one."""
        if not self.pairs:
            return None
        return self.random.choice(self.pairs[-6:] if self.random.random() < 0.8 else self.pairs)

    def handed(self, model: Delivery, real: Delivery, owner: int) -> None:
        assert self.names.same(model.token, real.token)
        assert self.names.same(model.generation, real.generation)
        neutral = {"token": "", "generation": ""}
        assert msgspec.structs.replace(model, **neutral) == msgspec.structs.replace(real, **neutral)
        self.outcomes.update({("crashes", min(model.crashes, 2)), ("recover", model.recover)})
        self.pairs = [*self.pairs[-40:], Pair(model, real, owner)]

    async def compare(self, operation: Operation, named: Any, *, also: Delivery | None = None) -> None:
        """The whole state of both; then every key's step against the table, where one operation can be told."""
        after: dict[tuple[str, str], Message] = {}
        for lane, (real, sets, bells) in zip(LANES, await self.real_server.state(*LANES), strict=True):
            model = self.model_server.lanes.get(lane, Lane(lane))
            assert neutral(model.messages) == neutral(real)
            for key, message in model.messages.items():
                assert self.names.same(message.token, real[key].token)
            assert sets == sets_of(model)
            assert bells == model.bells
            after.update({(lane, key): message for key, message in real.items()})
        touched = self.touched(named) - ({(also.queue, also.key)} if also else set())
        for place in {(lane, key) for lane in LANES for key in KEYS}:
            step = (operation, standing(self.before.get(place)), standing(after.get(place)))
            if place in touched:
                assert step in TABLE, step
                self.seen.add(step)
            elif named is not None and (also is None or place != (also.queue, also.key)):
                assert self.before.get(place) == after.get(place), f"{operation} changed a key that it did not name"
        self.before = after

    def touched(self, named: Any) -> set[tuple[str, str]]:
        if named is LANES:
            return {(lane, key) for lane in LANES for key in KEYS if (lane, key) in self.before}
        return {(entry.queue, entry.key) for entry in named or ()}


def neutral(messages: dict[str, Message]) -> dict[str, Message]:
    return {key: msgspec.structs.replace(message, token="") for key, message in messages.items()}


def standing(message: Message | None) -> Standing:
    if message is None:
        return Standing.absent
    return Standing.dirty if message.dirty else Standing(message.state.value)


def sets_of(lane: Lane) -> dict[str, dict[str, int]]:
    """What the sorted sets must hold, by the messages alone."""
    sets: dict[str, dict[str, int]] = {"ticks": {}, "steps": {}, "leases": {}, "delays": {}, "refused": {}}
    for key, message in lane.messages.items():
        if message.state is State.ready and message.refused:
            sets["refused"][f"{message.refused}|{key}"] = message.at
            continue
        ready = "ticks" if key.startswith("t:") else "steps"
        name = {State.ready: ready, State.leased: "leases", State.delayed: "delays"}[message.state]
        sets[name][key] = message.at
    return sets


@pytest.mark.parametrize("chosen", ["11", "12", "new"])
async def test_the_server_does_what_the_model_does(on_valkey: OnServer, chosen: str) -> None:
    """Two seeds that are always run, and one that nobody has tried."""
    seed = random.SystemRandom().randrange(10**9) if chosen == "new" else int(chosen)
    print(f"seed {seed}")
    differential = Differential(on_valkey, seed)
    for step in range(STEPS_MAX):
        await differential.step()
        if step >= STEPS and differential.seen >= TABLE and differential.outcomes >= OUTCOMES:
            break
    missing = {*(TABLE - differential.seen), *(OUTCOMES - differential.outcomes)}
    assert not missing, f"seed {seed}: never met {sorted(map(str, missing))}"
