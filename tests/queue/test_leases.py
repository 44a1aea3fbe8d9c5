"""Leases: who may keep one, how one ends, and what a loss of the server changes. Run by every implementation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fencepost_queue.protocol import (
    Delivery,
    EnqueueOutcome,
    Entry,
    Queue,
    Renewal,
    SettleOutcome,
)

if TYPE_CHECKING:
    from .conftest import Server

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


async def test_a_renewal_keeps_the_lease(server: Server) -> None:
    a, b = server.client("a"), server.client("b")
    await place(a, STEP)
    delivery = await take(a)
    for _ in range(5):
        server.clock.pass_ms(LEASE_MS - 1)
        assert await nothing(b)
        assert (await a.renew([delivery], LEASE_MS)).lost == ()
    server.clock.pass_ms(LEASE_MS)
    assert (await take(b)).key == STEP


async def test_an_expired_lease_that_nobody_took_is_renewed(server: Server) -> None:
    a = server.client("a")
    await place(a, STEP)
    delivery = await take(a)
    server.clock.pass_ms(3 * LEASE_MS)
    assert (await a.renew([delivery], LEASE_MS)).lost == ()
    assert await nothing(server.client("b"))


async def test_h70_the_message_of_a_silent_owner_is_reclaimed_as_a_crash(server: Server) -> None:
    """Nothing but the lease speaks for an owner: there is no registry that could forget it."""
    a, b = server.client("a"), server.client("b")
    await place(a, TICK)
    await take(a)
    for crashes in (1, 2, 3):
        server.clock.pass_ms(LEASE_MS)
        delivery = await take(b)
        assert (delivery.key, delivery.crashes, delivery.recover) == (TICK, crashes, True)
        assert await b.renew([delivery], LEASE_MS, begin=True) == Renewal()


async def test_h42_a_dirty_tick_whose_owner_died_is_one_tick(server: Server) -> None:
    a, b = server.client("a"), server.client("b")
    await place(a, TICK)
    await take(a)
    await place(b, TICK)
    server.clock.pass_ms(LEASE_MS)
    assert (await b.settle(await take(b), lease_ms=LEASE_MS)).outcome is SettleOutcome.settled


async def test_h63_only_the_delivery_that_holds_a_lease_may_renew_settle_or_release_it(server: Server) -> None:
    a, b = server.client("a"), server.client("b")
    await place(a, STEP)
    old = await take(a)
    server.clock.pass_ms(LEASE_MS)
    current = await take(b)
    held = (await server.messages("q"))[STEP]
    assert (await a.renew([old], LEASE_MS)).lost == (old.token,)
    assert await a.release(old) is False
    assert (await a.settle(old, lease_ms=LEASE_MS)).outcome is SettleOutcome.lost
    assert (await server.messages("q"))[STEP] == held, "nothing of it touched the new owner's lease"
    assert (await b.settle(current, lease_ms=LEASE_MS)).outcome is SettleOutcome.settled


async def test_h63_what_was_released_or_reclaimed_is_not_stolen_back(server: Server) -> None:
    """Ready, and the generation is the same: its owner gave it up or lost it."""
    a, b = server.client("a"), server.client("b")
    await place(a, STEP)
    delivery = await take(a)
    await a.release(delivery)
    assert (await a.renew([delivery], LEASE_MS)).lost == (delivery.token,)
    await b.settle(await take(b), lease_ms=LEASE_MS)
    assert (await a.renew([delivery], LEASE_MS)).lost == (delivery.token,), "absent, and the generation is the same"


async def test_h64_one_dead_lease_behind_10_000_live_ones_is_found_at_once(server: Server) -> None:
    a, b = server.client("a"), server.client("b")
    live = [Entry("q", f"s:{i:05}:x") for i in range(10_000)]
    await a.enqueue([*live[:5000], Entry("q", "s:dead:x"), *live[5000:]])
    held: list[Delivery] = []
    while len(held) < 10_001:
        held += (await a.claim("q", 1000, LEASE_MS)).deliveries
    server.clock.pass_ms(LEASE_MS - 1)
    await a.renew([delivery for delivery in held if delivery.key != "s:dead:x"], LEASE_MS)
    server.clock.pass_ms(1)
    claimed = await b.claim("q", 9, LEASE_MS)
    assert [(d.key, d.crashes) for d in claimed.deliveries] == [("s:dead:x", 1)]


async def test_h64_reclaim_is_bounded_and_says_that_there_is_more(server: Server) -> None:
    a, b = server.client("a"), server.client("b")
    await a.enqueue([Entry("q", f"s:{i}:x") for i in range(300)])
    await a.claim("q", 300, LEASE_MS)
    server.clock.pass_ms(LEASE_MS)
    first = await b.claim("q", 300, LEASE_MS)
    assert (len(first.deliveries), first.next_due_ms) == (128, 0)
    counts = [len((await b.claim("q", 300, LEASE_MS)).deliveries) for _ in range(3)]
    assert counts == [128, 44, 0]


async def test_a_dead_owners_leases_end_when_its_supervisor_says_so(server: Server) -> None:
    a, b = server.client("a"), server.client("a.b")
    for key in (TICK, STEP):
        await place(a, key)
        await take(a)
    await place(a, "t:other")
    kept = await take(b)
    await a.enqueue([Entry("elsewhere", "t:far")])
    await a.claim("elsewhere", 1, LEASE_MS)
    assert await b.expire("a") == 3, "in every lane, and not those of an owner whose name begins alike"
    assert await b.expire("a") == 0
    deliveries = (await b.claim("q", 9, LEASE_MS)).deliveries
    assert {(d.key, d.crashes, d.recover) for d in deliveries} == {(TICK, 1, True), (STEP, 1, True)}
    assert (await b.renew([kept], LEASE_MS)).lost == ()


async def test_expire_finds_all_of_many_leases(server: Server) -> None:
    a, b = server.client("a"), server.client("b")
    for owner, client in (("a", a), ("b", b)):
        await client.enqueue([Entry("q", f"s:{owner}{i}:x") for i in range(1500)])
        await client.claim("q", 1000, LEASE_MS)
        await client.claim("q", 500, LEASE_MS)
    assert await b.expire("a") == 1500


async def test_h55_exactly_one_claim_is_told_that_the_generation_is_new(server: Server) -> None:
    """Whoever is told runs the one full reconcile."""
    clients = [server.client(name) for name in "abc"]
    first = [await client.claim("q", 1, LEASE_MS) for client in clients]
    assert [c.sweep for c in first] == [True, False, False]
    assert len({c.generation for c in first}) == 1
    await server.flush()
    second = [await client.claim("q", 1, LEASE_MS) for client in clients]
    assert [c.sweep for c in second] == [True, False, False]
    assert {c.generation for c in second} != {c.generation for c in first}


async def test_h127_a_sweep_that_nobody_says_to_be_at_is_asked_of_another_after_a_lease(server: Server) -> None:
    """Its worker died, or the answer that asked it was lost. While it says that it is at it nobody is asked, and when
    it is done nobody ever is.
    """
    a, b = server.client("a"), server.client("b")
    generation = (await a.claim("q", 1, LEASE_MS)).generation
    for _ in range(3):
        server.clock.pass_ms(LEASE_MS - 1)
        assert not (await b.claim("q", 1, LEASE_MS)).sweep
        assert await a.sweep("q", generation, LEASE_MS)
    server.clock.pass_ms(LEASE_MS)
    assert [(await one.claim("q", 1, LEASE_MS)).sweep for one in (b, a)] == [True, False]
    assert await b.sweep("q", generation, 0)
    assert not await a.sweep("q", generation, LEASE_MS)
    server.clock.pass_ms(100 * LEASE_MS)
    assert not (await a.claim("q", 1, LEASE_MS)).sweep


async def test_h127_a_sweep_for_data_that_is_lost_again_ends_no_later_one(server: Server) -> None:
    a, b = server.client("a"), server.client("b")
    older = (await a.claim("q", 1, LEASE_MS)).generation
    await server.flush()
    assert not await a.sweep("q", older, 0)
    newer = (await b.claim("q", 1, LEASE_MS)).generation
    assert not await a.sweep("q", older, 0)
    server.clock.pass_ms(LEASE_MS)
    assert (await a.claim("q", 1, LEASE_MS)).sweep
    assert await a.sweep("q", newer, 0)


async def test_h104_one_of_many_claims_sweeps_after_a_flush(server: Server) -> None:
    """Ten workers find the server empty at once, and one is told to sweep: no herd of full reconciles."""
    clients = [server.client(f"w{n}") for n in range(10)]
    await asyncio.gather(*(client.claim("q", 1, LEASE_MS) for client in clients))
    for _ in range(3):
        await server.flush()
        claimed = await asyncio.gather(*(client.claim("q", 1, LEASE_MS) for client in clients))
        assert sum(one.sweep for one in claimed) == 1
        assert len({one.generation for one in claimed}) == 1


@pytest.mark.parametrize("reconciled", [False, True])
async def test_h104_after_a_flush_renewals_take_leases_back(server: Server, reconciled: bool) -> None:
    """Before the generation is set anew and after, and before the reconciler has asked again and after."""
    a, b = server.client("a"), server.client("b")
    for key in (TICK, STEP):
        await place(a, key)
    held = (await a.claim("q", 2, LEASE_MS)).deliveries
    await server.flush()
    if reconciled:
        for key in (TICK, STEP):
            await place(b, key, recover=True)
        assert (await b.claim("q", 0, LEASE_MS)).sweep
    assert (await a.renew(held, LEASE_MS)).lost == ()
    assert (await b.claim("q", 9, LEASE_MS)).deliveries == (), "no body runs twice"
    assert (await a.renew(held, LEASE_MS)).lost == ()
    messages = await server.messages("q")
    assert {key: m.dirty for key, m in messages.items()} == {TICK: reconciled, STEP: False}
    answer = await a.settle(held[0], lease_ms=LEASE_MS, recovered=True)
    assert answer.outcome is (SettleOutcome.again if reconciled else SettleOutcome.settled)
    if answer.again is not None:
        assert answer.again.recover, "what the reconciler asked for is still owed"
    assert (await a.settle(held[1], lease_ms=LEASE_MS)).outcome is SettleOutcome.settled


async def test_h104_what_another_took_after_a_flush_is_not_taken_back(server: Server) -> None:
    a, b = server.client("a"), server.client("b")
    await place(a, STEP)
    delivery = await take(a)
    await server.flush()
    await place(b, STEP)
    current = await take(b)
    assert (await a.renew([delivery], LEASE_MS)).lost == (delivery.token,)
    assert (await b.renew([current], LEASE_MS)).lost == ()


@pytest.mark.parametrize(("proof", "known"), [(True, (1, 1, 0)), (False, (1, 0, 3))])
async def test_h104_a_lease_that_is_taken_back_keeps_what_the_message_knew(
    server: Server, proof: bool, known: tuple[int, int, int]
) -> None:
    a = server.client("a")
    await place(a, TICK, recover=True)
    await a.settle(await take(a), [Entry("q", TICK, b"body")], lease_ms=LEASE_MS, conflicts=3)
    await take(a)
    server.clock.pass_ms(LEASE_MS)
    delivery = await take(a)
    if proof:
        await a.release(delivery, proof=True)
        delivery = await take(a)
    await server.flush()
    await a.renew([delivery], LEASE_MS)
    message = (await server.messages("q"))[TICK]
    assert (message.crashes, message.proofs, message.conflicts) == known
    assert (message.recover, message.body) == (True, b"body")


async def test_h44_after_a_flush_the_queue_takes_work_as_if_new(server: Server) -> None:
    a, b = server.client("a"), server.client("b")
    for key in (TICK, STEP):
        await place(a, key)
    delivery = await take(a)
    await place(a, "t:delayed", delay_ms=100)
    await server.flush()
    assert await a.depth() == []
    assert await a.release(delivery) is False
    assert await nothing(b)
    for key in (TICK, STEP, "t:delayed"):
        assert await place(b, key, recover=True) is EnqueueOutcome.ready
    assert [d.key for d in (await b.claim("q", 9, LEASE_MS)).deliveries] == [TICK, STEP, "t:delayed"]


async def test_what_a_dead_worker_held_comes_before_what_waits(server: Server) -> None:
    """It has waited its turn already; among each other, reclaimed messages keep the order of their leases."""
    a, b = server.client("a"), server.client("b")
    for n in range(2):
        await place(a, f"s:run:held#{n}")
    await a.claim("q", 2, LEASE_MS)
    for n in range(5):
        await place(a, f"s:run:waits#{n}")
    assert await b.expire("a") == 2
    claimed = await b.claim("q", 3, LEASE_MS)
    assert [delivery.key for delivery in claimed.deliveries] == ["s:run:held#0", "s:run:held#1", "s:run:waits#0"]
