"""What becomes of one message: placing, absorbing, claiming, handing back, withdrawing. Run by every implementation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fencepost_queue.keys import check_namespace, lane_keys
from fencepost_queue.protocol import (
    Delivery,
    EnqueueOutcome,
    Entry,
    Queue,
    SettleOutcome,
)
from fencepost_queue.valkey import ValkeyQueue

if TYPE_CHECKING:
    from .conftest import OnServer, Server

LEASE_MS = 10_000
TICK = "t:run"
STEP = "s:run:charge#1"


async def place(queue: Queue, key: str, *, delay_ms: int = 0, recover: bool = False) -> EnqueueOutcome:
    return (await queue.enqueue([Entry("q", key, b"body", delay_ms, recover)]))[0]


async def take(queue: Queue) -> Delivery:
    (delivery,) = (await queue.claim("q", 1, LEASE_MS)).deliveries
    return delivery


async def nothing(queue: Queue) -> bool:
    return not (await queue.claim("q", 1, LEASE_MS)).deliveries


async def test_an_absent_key_becomes_ready_and_is_delivered_once(server: Server) -> None:
    a = server.client("a")
    assert await place(a, TICK) is EnqueueOutcome.ready
    delivery = await take(a)
    assert (delivery.queue, delivery.key, delivery.body) == ("q", TICK, b"body")
    assert (delivery.crashes, delivery.proofs, delivery.conflicts, delivery.recover) == (0, 0, 0, False)
    assert await nothing(server.client("b"))


async def test_bodies_are_bytes_of_any_kind(server: Server) -> None:
    a = server.client("a")
    body = bytes(range(256)) * 300
    await a.enqueue([Entry("q", STEP, body)])
    assert (await take(a)).body == body


async def test_ticks_are_delivered_in_the_order_of_their_enqueues(server: Server) -> None:
    a = server.client("a")
    keys = [f"t:{9 - i}" for i in range(9)]
    for key in keys:
        await place(a, key)
    assert [d.key for d in (await a.claim("q", 4, LEASE_MS)).deliveries] == keys[:4]
    assert [d.key for d in (await a.claim("q", 9, LEASE_MS)).deliveries] == keys[4:]


async def test_a_claim_takes_no_more_steps_than_it_has_room_for(server: Server) -> None:
    """Ticks and steps are ready in two sets: a worker whose body slots are full still turns runs."""
    a = server.client("a")
    for key in ("s:1:x", "s:2:x", "s:3:x", "t:1", "t:2"):
        await place(a, key)
    assert [d.key for d in (await a.claim("q", 2, LEASE_MS, steps=1)).deliveries] == ["t:1", "s:1:x"]
    assert [d.key for d in (await a.claim("q", 2, LEASE_MS, steps=0)).deliveries] == ["t:2"]
    assert [d.key for d in (await a.claim("q", 9, LEASE_MS)).deliveries] == ["s:2:x", "s:3:x"]


async def test_a_delayed_message_is_delivered_when_due_and_not_before(server: Server) -> None:
    a = server.client("a")
    assert await place(a, TICK, delay_ms=1000) is EnqueueOutcome.delayed
    server.clock.pass_ms(999)
    early = await a.claim("q", 1, LEASE_MS)
    assert (early.deliveries, early.next_due_ms) == ((), 1)
    server.clock.pass_ms(1)
    assert (await take(a)).key == TICK


async def test_h46_of_two_delays_the_earlier_holds_and_one_message_comes(server: Server) -> None:
    a = server.client("a")
    await place(a, TICK, delay_ms=1000)
    assert await place(a, TICK, delay_ms=2000) is EnqueueOutcome.absorbed
    assert await place(a, TICK, delay_ms=500) is EnqueueOutcome.earlier
    server.clock.pass_ms(500)
    await take(a)
    server.clock.pass_ms(2000)
    assert await nothing(a)


async def test_h46_a_wake_that_comes_early_makes_the_delayed_tick_ready(server: Server) -> None:
    a = server.client("a")
    await place(a, TICK, delay_ms=3_600_000)
    assert await place(a, TICK) is EnqueueOutcome.earlier
    delivery = await take(a)
    assert (await a.settle(delivery, [Entry("q", TICK, delay_ms=3_000_000)], lease_ms=LEASE_MS)).granted == ()
    (armed,) = await a.peek("q", 9)
    assert (armed.state, armed.due_ms) == ("delayed", 3_000_000), "an early wake is re-armed"


async def test_a_ready_message_absorbs_what_follows(server: Server) -> None:
    a = server.client("a")
    await place(a, TICK)
    assert await place(a, TICK) is EnqueueOutcome.absorbed
    await take(a)
    assert await nothing(a)


async def test_a_leased_step_absorbs_and_a_leased_tick_becomes_dirty(server: Server) -> None:
    a = server.client("a")
    for key in (TICK, STEP):
        await place(a, key)
        await take(a)
    assert await place(a, STEP) is EnqueueOutcome.absorbed
    assert await place(a, TICK, delay_ms=5000) is EnqueueOutcome.dirty
    assert {m.key: m.dirty for m in await a.peek("q", 9)} == {TICK: True, STEP: False}


async def test_h48_a_step_key_lives_exactly_as_long_as_its_message(server: Server) -> None:
    """Nothing of a settled message is left that could swallow the same step's next dispatch."""
    a = server.client("a")
    for _ in range(3):
        assert await place(a, STEP) is EnqueueOutcome.ready
        assert (await a.settle(await take(a), lease_ms=LEASE_MS)).outcome is SettleOutcome.settled
        assert await server.messages("q") == {}


async def test_h68_a_hand_back_is_no_crash_and_asks_for_recovery(server: Server) -> None:
    a = server.client("a")
    await place(a, STEP)
    for _ in range(20):
        assert await a.release(await take(a), 100)
        assert await nothing(a), "a released message waits for its delay"
        server.clock.pass_ms(100)
    delivery = await take(a)
    assert (delivery.crashes, delivery.proofs, delivery.recover) == (0, 0, True)


async def test_h42_a_dirty_message_is_ready_at_once_whatever_the_delay_of_its_release(server: Server) -> None:
    a = server.client("a")
    await place(a, TICK)
    delivery = await take(a)
    await place(a, TICK)
    assert await a.release(delivery, 60_000)
    again = await take(a)
    assert again.recover
    assert (await a.settle(again, lease_ms=LEASE_MS)).outcome is SettleOutcome.settled, "the mark is spent"


async def test_a_crash_in_solitude_is_counted_when_told(server: Server) -> None:
    a = server.client("a")
    await place(a, STEP)
    for proofs in (1, 2):
        assert await a.release(await take(a), proof=True)
        (message,) = (await server.messages("q")).values()
        assert (message.proofs, message.crashes) == (proofs, 0)


async def test_withdrawn_work_that_nobody_has_begun_is_gone(server: Server) -> None:
    a = server.client("a")
    await place(a, STEP)
    await place(a, "s:run:charge#2", delay_ms=1000)
    assert await a.withdraw("q", [STEP, "s:run:charge#2", "s:run:never#1"]) == []
    assert await server.messages("q") == {}
    assert await nothing(a)


async def test_the_owner_of_withdrawn_work_is_told_by_its_next_renewal(server: Server) -> None:
    a = server.client("a")
    await place(a, STEP)
    delivery = await take(a)
    assert (await a.renew([delivery], LEASE_MS)).withdrawn == ()
    assert await server.client("b").withdraw("q", [STEP, "s:run:never#1"]) == [delivery.token]
    renewal = await a.renew([delivery], LEASE_MS)
    assert (renewal.withdrawn, renewal.lost) == ((delivery.token,), ())


async def test_depth_and_peek_show_what_there_is(server: Server) -> None:
    a = server.client("a")
    await place(a, "t:1")
    await take(a)
    await place(a, "t:2", recover=True)
    server.clock.pass_ms(70)
    await place(a, "s:3:x")
    await place(a, "t:4", delay_ms=500)
    (depth,) = await a.depth()
    assert (depth.queue, depth.shard, depth.ready, depth.leased, depth.delayed) == ("q", 0, 2, 1, 1)
    assert depth.oldest_ready_ms == 70
    seen = [(m.key, m.state, m.owner, m.recover, m.due_ms) for m in await a.peek("q", 9)]
    assert seen == [
        ("t:1", "leased", "a", False, LEASE_MS - 70),
        ("t:2", "ready", None, True, None),
        ("s:3:x", "ready", None, False, None),
        ("t:4", "delayed", None, False, 500),
    ]
    assert [m.key for m in await a.peek("q", 2)] == ["t:1", "t:2"]


async def test_what_is_due_counts_as_ready_with_no_worker_alive_to_claim_it(server: Server) -> None:
    """A delay that is over and a lease that has ended: to an autoscaler at 0 workers both are work."""
    a = server.client("a")
    await place(a, "t:1", delay_ms=500)
    await place(a, "t:2", delay_ms=90_000)
    await place(a, STEP)
    await take(a)
    server.clock.pass_ms(499)
    (depth,) = await a.depth()
    assert (depth.ready, depth.leased, depth.delayed, depth.oldest_ready_ms) == (0, 1, 2, None)
    server.clock.pass_ms(1)
    (depth,) = await a.depth()
    assert (depth.ready, depth.leased, depth.delayed, depth.oldest_ready_ms) == (1, 1, 1, 0)
    server.clock.pass_ms(LEASE_MS)
    (depth,) = await a.depth()
    assert (depth.ready, depth.leased, depth.delayed, depth.oldest_ready_ms) == (2, 0, 1, LEASE_MS)
    await place(a, "t:3")
    server.clock.pass_ms(7)
    (depth,) = await a.depth()
    assert (depth.ready, depth.leased, depth.delayed, depth.oldest_ready_ms) == (3, 0, 1, LEASE_MS + 7)


async def test_h71_namespaces_and_queues_do_not_see_each_other(on_valkey: OnServer, namespace: str) -> None:
    a = on_valkey.client("a")
    other = ValkeyQueue(on_valkey.url, f"{namespace}_b", owner="b", clock_ms=on_valkey.clock)
    try:
        await place(a, TICK)
        await a.enqueue([Entry("other", STEP)])
        assert await nothing(other)
        assert [(d.queue, d.ready) for d in await other.depth()] == [("q", 0)]
        assert await other.peek("q", 9) == []
        assert await other.expire("a") == 0
        assert [d.queue for d in await a.depth()] == ["other", "q"]
        assert (await take(a)).key == TICK
    finally:
        await other.close()


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a{b}", "x" * 64, "ä"])
def test_h71_a_namespace_that_could_run_into_another_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="namespace"):
        check_namespace(name)


def test_h71_names_that_differ_make_keys_that_differ() -> None:
    """The separator is no part of a namespace, so that splitting a key in two ways is impossible."""
    one = lane_keys("a", "b/c", 0).declared
    two = lane_keys("a", "b", 0).declared
    assert not {*one} & {*two}
    tags = {key[key.index("{") : key.index("}") + 1] for key in one}
    assert tags == {"{a/b/c/0}"}, "one hash tag per lane"


@pytest.mark.parametrize("ended", ["released", "expired"])
async def test_the_mark_of_withdrawn_work_goes_with_the_lease(server: Server, ended: str) -> None:
    """The next holder looks the step up in the log, which knows better than a mark left for somebody else."""
    a = server.client("a")
    await place(a, STEP)
    delivery = await take(a)
    await a.withdraw("q", [STEP])
    if ended == "released":
        await a.release(delivery)
    server.clock.pass_ms(LEASE_MS)
    assert (await a.renew([await take(a)], LEASE_MS)).withdrawn == ()
