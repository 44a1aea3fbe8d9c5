"""Whose step is next, and what the loss of an owner says of the messages that it had. Run by every implementation."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from fencepost_queue.limits import COMPANY_MAX, FORGIVEN_MAX, YOUNG_MS
from fencepost_queue.protocol import Delivery, Entry, Queue

if TYPE_CHECKING:
    from .conftest import OnServer, Server

LEASE_MS = 10_000


async def place(queue: Queue, *keys: str) -> None:
    await queue.enqueue([Entry("q", key) for key in keys])


async def take(queue: Queue, count: int) -> list[Delivery]:
    return list((await queue.claim("q", count, LEASE_MS)).deliveries)


async def runs(queue: Queue, count: int) -> list[str]:
    return [delivery.key.split(":")[1] for delivery in await take(queue, count)]


async def test_h200_steps_come_in_turn_over_their_runs(server: Server) -> None:
    """A run that has asked for many holds no other up: each waits for one step of every other run at most."""
    a = server.client("a")
    await place(a, *(f"s:big:{n:04}" for n in range(300)))
    assert await runs(a, 2) == ["big", "big"]
    await place(a, "s:one:x", "s:two:x", "s:two:y")
    assert sorted(await runs(a, 3)) == ["big", "one", "two"]
    assert sorted(await runs(a, 2)) == ["big", "two"]
    assert await runs(a, 2) == ["big", "big"]


async def test_h200_a_run_that_comes_again_and_again_passes_nobody(server: Server) -> None:
    """Neither the older run nor the newer one."""
    a = server.client("a")
    for name in ("0", "2"):
        await place(a, *(f"s:1:{name}{n}" for n in range(3)))
        taken: list[str] = []
        for n in range(6):
            await place(a, f"s:{name}:{n}")
            taken += await runs(a, 1)
        assert taken.count("1") == 3
        await take(a, 99)


@pytest.mark.parametrize("seed", range(3))
async def test_h200_what_is_withdrawn_costs_its_run_no_turn(server: Server, seed: int) -> None:
    """In any order; and behind it the run's next step is as near as anybody's."""
    a, chance = server.client("a"), random.Random(seed)
    keys = [f"s:big:{n:04}" for n in range(40)]
    await place(a, *keys)
    await place(a, *(f"s:other:{n}" for n in range(5)))
    chance.shuffle(keys)
    await a.withdraw("q", keys)
    await place(a, "s:big:again")
    assert sorted(await runs(a, 2)) == ["big", "other"]


async def test_h200_every_step_is_taken_once(server: Server) -> None:
    """Whatever comes between: hand-backs, lost leases, delays."""
    a, chance = server.client("a"), random.Random(5)
    keys = {f"s:{n % 7}:{n}" for n in range(120)}
    await place(a, *sorted(keys))
    settled: list[str] = []
    while len(settled) < len(keys):
        for delivery in await take(a, 9):
            match chance.randrange(4):
                case 0:
                    await a.release(delivery, chance.choice((0, 50)))
                case 1:
                    pass
                case _:
                    await a.settle(delivery, lease_ms=LEASE_MS)
                    settled.append(delivery.key)
        server.clock.pass_ms(LEASE_MS // 3)
    assert sorted(settled) == sorted(keys)


async def test_h200_nothing_is_left_of_the_turns(on_valkey: OnServer) -> None:
    """When no step waits, no run is counted."""
    a = on_valkey.client("a")
    await place(a, "s:1:a", "s:1:b", "s:2:a")
    assert await on_valkey.raw.hgetall(on_valkey.key("q", "waiting")) == {b"1": b"2", b"2": b"1"}
    await a.withdraw("q", ["s:1:a"])
    (delivery, _) = await take(a, 9)
    assert await on_valkey.raw.exists(on_valkey.key("q", "waiting")) == 0
    await a.release(delivery)
    assert len(await on_valkey.raw.hgetall(on_valkey.key("q", "waiting"))) == 1


async def test_a_claim_takes_of_each_kind_what_it_has_room_for(server: Server) -> None:
    """Ticks have a bound of their own; who has no room for a kind leaves its rings to others."""
    a = server.client("a")
    await place(a, "t:1", "t:2", "t:3", "s:1:x", "s:2:x")
    assert [d.key for d in (await a.claim("q", 9, LEASE_MS, ticks=1, steps=1)).deliveries] == ["t:1", "s:1:x"]
    claimed = await a.claim("q", 9, LEASE_MS, ticks=0, steps=1)
    assert ([d.key for d in claimed.deliveries], claimed.waiting) == (["s:2:x"], False)
    assert await a.wait(["q"], 1_000, steps=False), "two ticks are there"
    assert [d.key for d in (await a.claim("q", 9, LEASE_MS, ticks=2)).deliveries] == ["t:2", "t:3"]


async def test_who_claims_and_who_settles_hears_whether_steps_wait(server: Server) -> None:
    """What the settle itself has placed counts, what is leased or refused does not."""
    a = server.client("a")
    await place(a, "t:1", "s:1:x", "s:2:x")
    claimed = await a.claim("q", 9, LEASE_MS, steps=1)
    assert claimed.waiting
    tick, step = claimed.deliveries
    assert (await a.settle(tick, lease_ms=LEASE_MS)).waiting
    (other,) = await take(a, 9)
    assert not (await a.settle(step, lease_ms=LEASE_MS)).waiting
    assert (await a.settle(other, [Entry("q", "s:3:x")], lease_ms=LEASE_MS)).waiting


async def test_h201_what_nobody_began_is_no_crash(server: Server) -> None:
    """Whoever is given what was lost once says that it begins. If the answer of its claim was lost, or it dies before
    that, the message is no more suspect than before.
    """
    a, b = server.client("a"), server.client("b")
    await place(a, "t:run")
    await take(a, 1)
    held: list[Delivery] = []
    for _ in range(4):
        server.clock.pass_ms(LEASE_MS)
        held = await take(b, 1)
        assert [(one.crashes, one.recover) for one in held] == [(1, True)]
    await b.renew(held, LEASE_MS)
    server.clock.pass_ms(LEASE_MS)
    held = await take(b, 1)
    assert [one.crashes for one in held] == [1], "it was kept, and not begun"
    await b.renew(held, LEASE_MS, begin=True)
    server.clock.pass_ms(LEASE_MS)
    (delivery,) = await take(b, 1)
    assert delivery.crashes == 2


async def lose(server: Server, count: int) -> list[int]:
    """An owner that has begun so many messages is lost: the crashes of each, as the next one is told."""
    a, b = server.client("a"), server.client("b")
    await a.renew(await take(a, count), LEASE_MS, begin=True)
    server.clock.pass_ms(LEASE_MS)
    held = await take(b, 99)
    for delivery in held:
        await b.release(delivery)
    return [delivery.crashes for delivery in held]


async def test_h202_of_many_that_are_lost_together_none_is_blamed(server: Server) -> None:
    """Their owner is, but not for ever: what kills every owner may always be in company."""
    many = COMPANY_MAX + 1
    await place(server.client("a"), *(f"t:{n}" for n in range(many)))
    assert await lose(server, many) == [1] * many
    for _ in range(FORGIVEN_MAX):
        assert await lose(server, many) == [1] * many
    assert await lose(server, many) == [2] * many


async def test_h202_a_few_that_are_lost_together_are_blamed(server: Server) -> None:
    """One of them may have killed its owner, and it is cheap to see which. What was never lost before is no company."""
    few = COMPANY_MAX
    await place(server.client("a"), *(f"t:{n}" for n in range(few)))
    assert await lose(server, few) == [1] * few
    await place(server.client("a"), *(f"t:new{n}" for n in range(few)))
    assert sorted(await lose(server, 2 * few)) == [1] * few + [2] * few


async def test_h202_each_owner_has_its_own_company(server: Server) -> None:
    """Two owners that are lost at one time are two losses."""
    a, b, c = server.client("a"), server.client("b"), server.client("c")
    await place(a, *(f"t:{n}" for n in range(2 * COMPANY_MAX)))
    await lose(server, 2 * COMPANY_MAX)
    for owner in (a, b):
        await owner.renew(await take(owner, COMPANY_MAX), LEASE_MS, begin=True)
    server.clock.pass_ms(LEASE_MS)
    assert [delivery.crashes for delivery in await take(c, 99)] == [2] * (2 * COMPANY_MAX)


async def test_h202_of_many_those_are_blamed_that_began_last(server: Server) -> None:
    """What has lived for a while has not killed its owner now. Those that were spared are blamed in the end."""
    a, b = server.client("a"), server.client("b")
    many = COMPANY_MAX + 5
    keys = [f"t:{n:02}" for n in range(many)]
    await place(a, *keys)
    await lose(server, many)
    for spared in range(1, FORGIVEN_MAX + 2):
        held = sorted(await take(a, many), key=lambda delivery: delivery.key)
        assert len(held) == many
        await a.renew(held[:-2], LEASE_MS, begin=True)
        server.clock.pass_ms(YOUNG_MS)
        await a.renew(held[-2:], LEASE_MS, begin=True)
        await a.expire("a")
        lost = {delivery.key: delivery for delivery in await take(b, many)}
        crashes = [lost[key].crashes for key in keys]
        older = 1 if spared <= FORGIVEN_MAX else 2
        assert crashes == [older] * (many - 2) + [1 + spared] * 2
        for delivery in lost.values():
            await b.release(delivery)
