"""The hash is the authority: what the sorted sets lost or have too much of is put right. Only a real server has
sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fencepost_queue.message import Kind
from fencepost_queue.protocol import EnqueueOutcome, Entry
from fencepost_queue.states import TRANSITIONS, Standing, mermaid
from fencepost_queue.valkey import connect

if TYPE_CHECKING:
    from .conftest import OnServer

LEASE_MS = 10_000


@pytest.mark.parametrize("key", ["t:1", "s:1:a"])
@pytest.mark.parametrize("state", ["ready", "leased", "delayed"])
async def test_h43_an_absorbed_enqueue_puts_back_the_entry_that_was_lost(
    on_valkey: OnServer, key: str, state: str
) -> None:
    a, b = on_valkey.client("a"), on_valkey.client("b")
    await a.enqueue([Entry("q", key, delay_ms=500 if state == "delayed" else 0)])
    if state == "leased":
        await a.claim("q", 1, LEASE_MS)
    sets = await on_valkey.sets("q")
    for name in sets:
        await on_valkey.raw.delete(on_valkey.key("q", name))
    on_valkey.clock.pass_ms(LEASE_MS)
    assert (await b.claim("q", 1, LEASE_MS)).deliveries == (), "the mark is there, the entry is not"
    (outcome,) = await b.enqueue([Entry("q", key, delay_ms=LEASE_MS)])
    assert outcome in (EnqueueOutcome.absorbed, EnqueueOutcome.dirty)
    assert await on_valkey.sets("q") == sets
    (delivery,) = (await b.claim("q", 1, LEASE_MS)).deliveries
    assert (delivery.key, delivery.crashes) == (key, 1 if state == "leased" else 0)


async def test_h43_a_ready_entry_that_is_put_back_rings(on_valkey: OnServer) -> None:
    a = on_valkey.client("a")
    await a.enqueue([Entry("q", "t:1")])
    await on_valkey.raw.delete(on_valkey.key("q", "ticks"), on_valkey.key("q", "bell.ticks"))
    await a.enqueue([Entry("q", "t:1")])
    assert (await on_valkey.bells("q"))[Kind.tick] == 1


async def test_h43_a_renewal_puts_back_the_entry_of_a_lease(on_valkey: OnServer) -> None:
    a, b = on_valkey.client("a"), on_valkey.client("b")
    await a.enqueue([Entry("q", "s:1:a")])
    claimed = await a.claim("q", 1, LEASE_MS)
    await on_valkey.raw.delete(on_valkey.key("q", "leases"))
    await a.renew(claimed.deliveries, LEASE_MS)
    on_valkey.clock.pass_ms(LEASE_MS)
    assert len((await b.claim("q", 1, LEASE_MS)).deliveries) == 1


@pytest.mark.parametrize("name", ["ticks", "steps", "leases", "delays"])
async def test_h43_an_entry_whose_message_is_gone_is_discarded(on_valkey: OnServer, name: str) -> None:
    a = on_valkey.client("a")
    await on_valkey.raw.zadd(on_valkey.key("q", name), {f"t:{i}": i for i in range(300)})
    await a.enqueue([Entry("q", "t:real"), Entry("q", "s:real:a")])
    taken: list[str] = []
    for _ in range(4):
        taken += [d.key for d in (await a.claim("q", 9, LEASE_MS)).deliveries]
    assert sorted(taken) == ["s:real:a", "t:real"]
    expected = {"t:real", "s:real:a"} if name == "leases" else set[str]()
    assert set((await on_valkey.sets("q"))[name]) == expected


async def test_h43_an_entry_of_a_refusal_that_is_no_more_is_discarded(on_valkey: OnServer) -> None:
    """Gone, taken by others, refused by others since, or no entry that was ever written."""
    a = on_valkey.client("a")
    await a.enqueue([Entry("q", "t:1"), Entry("q", "s:1:a")])
    (first, second) = (await a.claim("q", 9, LEASE_MS)).deliveries
    assert await a.refuse(first, "c1", "")
    entries = {f"c0|t:{i}": 0 for i in range(100)} | {f"c1,c0|{first.key}": 0, f"c0|{second.key}": 0, "t:7": 0}
    await on_valkey.raw.zadd(on_valkey.key("q", "refused"), entries)
    taken = [d.key for _ in range(3) for d in (await a.claim("q", 9, LEASE_MS, code="c2")).deliveries]
    assert taken == [first.key]
    assert (await on_valkey.sets("q"))["refused"] == {}


async def test_h43_an_entry_in_a_set_that_the_message_does_not_call_for_is_discarded(on_valkey: OnServer) -> None:
    """F13: a key that is popped and is not ready is not delivered a second time."""
    a, b = on_valkey.client("a"), on_valkey.client("b")
    await a.enqueue([Entry("q", "t:1")])
    (held,) = (await a.claim("q", 1, LEASE_MS)).deliveries
    for name in ("ticks", "delays"):
        await on_valkey.raw.zadd(on_valkey.key("q", name), {"t:1": 1})
    assert (await b.claim("q", 1, LEASE_MS)).deliveries == ()
    assert (await a.renew([held], LEASE_MS)).lost == ()
    assert await on_valkey.sets("q") == {
        "ticks": {}, "steps": {}, "delays": {}, "refused": {}, "leases": {"t:1": on_valkey.clock() + LEASE_MS},
    }  # fmt: skip


async def test_h43_an_entry_whose_time_disagrees_with_its_message_is_put_right(on_valkey: OnServer) -> None:
    a = on_valkey.client("a")
    await a.enqueue([Entry("q", "t:1"), Entry("q", "t:2", delay_ms=500)])
    await a.claim("q", 1, LEASE_MS)
    before = await on_valkey.sets("q")
    await on_valkey.raw.zadd(on_valkey.key("q", "leases"), {"t:1": 1})
    await on_valkey.raw.zadd(on_valkey.key("q", "delays"), {"t:2": 1})
    assert (await a.claim("q", 9, LEASE_MS)).deliveries == ()
    assert await on_valkey.sets("q") == before


async def test_h48_nothing_in_a_lane_has_a_time_to_live(on_valkey: OnServer) -> None:
    a = on_valkey.client("a")
    await a.enqueue([Entry("q", "t:1"), Entry("q", "s:1:a"), Entry("q", "t:2", delay_ms=50), Entry("q", "t:3")])
    await a.claim("q", 1, LEASE_MS)
    keys = [key async for key in on_valkey.raw.scan_iter(match=f"fp:*{on_valkey.namespace}*")]
    assert len(keys) == 15, (
        "messages, four sets, two bells, counter, generation, sweep, round, waiting, server, lanes, shards: no more and"
        " no less"
    )
    assert {await on_valkey.raw.ttl(key) for key in keys} == {-1}


async def test_a_runs_messages_are_in_one_shard_and_all_shards_are_claimed(on_valkey: OnServer) -> None:
    queue = await connect(on_valkey.url, on_valkey.namespace, owner="a", shards=4)
    try:
        runs = [f"{i:04}" for i in range(40)]
        await queue.enqueue([Entry("q", key) for run in runs for key in (f"t:{run}", f"s:{run}:a")])
        depths = await queue.depth()
        assert [d.shard for d in depths] == [0, 1, 2, 3]
        assert all(d.ready and d.ready % 2 == 0 for d in depths)
        assert await queue.wait(["q"], 5_000)
        claimed = await queue.claim("q", 100, LEASE_MS, steps=10)
        kinds = [d.key[0] for d in claimed.deliveries]
        assert (kinds.count("t"), kinds.count("s"), claimed.sweep) == (40, 10, True)
        assert [await queue.sweep("q", claimed.generation, lease) for lease in (LEASE_MS, 0, 0)] == [True, True, False]
        tick = claimed.deliveries[0]
        step = Entry("q", tick.key.replace("t:", "s:") + ":new", lease=True)
        far = Entry("q", "s:another run:a")
        assert [d.key for d in (await queue.settle(tick, [step, far], lease_ms=LEASE_MS)).granted] == [step.key]
        assert (await queue.renew(claimed.deliveries, LEASE_MS)).lost == (tick.token,)
        assert len(await queue.peek("q", 1000)) == 81
        assert await queue.expire("a") == 50
    finally:
        await queue.close()


def test_the_table_of_states_is_whole_and_draws_a_diagram() -> None:
    assert {row.before for row in TRANSITIONS} == {row.after for row in TRANSITIONS} == set(Standing)
    drawn = mermaid()
    assert drawn.startswith("stateDiagram-v2\n    [*] --> absent\n")
    assert "    dirty --> leased: claim (the lease has ended, and there is room)<br>settle (by its owner)\n" in drawn
