"""The end of a message and what follows from it. Run by every implementation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fencepost_queue.connection import Argument, Reply
from fencepost_queue.keys import LaneKeys
from fencepost_queue.limits import ITEMS_PER_CALL
from fencepost_queue.protocol import (
    Delivery,
    EnqueueOutcome,
    Entry,
    Queue,
    Settled,
    SettleOutcome,
)
from fencepost_queue.valkey import ValkeyQueue

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


async def state(server: Server, key: str) -> str:
    found = (await server.messages("q")).get(key)
    return "absent" if found is None else found.state.value


async def test_follow_ups_are_placed_as_the_message_goes(server: Server) -> None:
    a = server.client("a")
    await place(a, TICK)
    answer = await a.settle(
        await take(a),
        [Entry("q", STEP, b"leased", lease=True), Entry("q", "s:run:b#1", b"queued"), Entry("q", TICK, delay_ms=700)],
        lease_ms=LEASE_MS,
    )
    assert (answer.outcome, answer.again) == (SettleOutcome.settled, None)
    (granted,) = answer.granted
    assert (granted.key, granted.body, granted.queue) == (STEP, b"leased", "q")
    states = {key: message.state.value for key, message in (await server.messages("q")).items()}
    assert states == {STEP: "leased", "s:run:b#1": "ready", TICK: "delayed"}
    assert (await a.settle(granted, lease_ms=LEASE_MS)).outcome is SettleOutcome.settled, "a grant is a delivery"


async def test_follow_ups_of_another_lane_are_enqueued_and_never_leased(server: Server) -> None:
    a = server.client("a")
    await place(a, TICK)
    answer = await a.settle(await take(a), [Entry("other", STEP, lease=True, recover=True)], lease_ms=LEASE_MS)
    assert answer.granted == ()
    (elsewhere,) = (await a.claim("other", 9, LEASE_MS)).deliveries
    assert (elsewhere.key, elsewhere.recover) == (STEP, True)


async def test_h42_a_wake_during_a_turn_hands_the_tick_back_to_its_owner(server: Server) -> None:
    a, b = server.client("a"), server.client("b")
    await place(a, TICK)
    delivery = await take(a)
    assert await place(b, TICK) is EnqueueOutcome.dirty
    answer = await a.settle(delivery, lease_ms=LEASE_MS)
    assert answer.outcome is SettleOutcome.again
    assert answer.again is not None
    assert answer.again.token != delivery.token
    assert await nothing(b), "turns of one run do not overlap"
    assert (await a.settle(delivery, lease_ms=LEASE_MS)).outcome is SettleOutcome.lost, "the old token is spent"
    assert (await a.settle(answer.again, lease_ms=LEASE_MS)).outcome is SettleOutcome.settled


async def test_h42_a_tick_that_is_dirty_again_and_again_goes_to_the_back_of_ready(server: Server) -> None:
    a = server.client("a")
    await place(a, TICK)
    await place(a, "t:behind")
    delivery = await take(a)
    outcomes: list[SettleOutcome] = []
    for _ in range(4):
        await place(a, TICK)
        answer = await a.settle(delivery, lease_ms=LEASE_MS)
        outcomes.append(answer.outcome)
        delivery = answer.again or delivery
    assert outcomes == [SettleOutcome.again] * 3 + [SettleOutcome.requeued]
    assert [(await take(a)).key, (await take(a)).key] == ["t:behind", TICK]


async def test_h92_a_follow_up_is_leased_only_if_its_key_is_absent(server: Server) -> None:
    """F4. A committed step 2's creation; before its settle a recovering tick on B enqueues step 2 and B runs it."""
    a, b = server.client("a"), server.client("b")
    for before_settle in ("ready", "leased", "delayed"):
        await place(a, TICK)
        delivery = await take(a)
        await place(b, STEP, delay_ms=500 if before_settle == "delayed" else 0)
        held = await take(b) if before_settle == "leased" else None
        answer = await a.settle(delivery, [Entry("q", STEP, lease=True)], lease_ms=LEASE_MS)
        assert (answer.outcome, answer.granted) == (SettleOutcome.settled, ()), "no grant, no second body"
        if held is not None:
            assert (await b.renew([held], LEASE_MS)).lost == ()
        await b.settle(held or await take(b), lease_ms=LEASE_MS)
        assert await server.messages("q") == {}


async def test_h93_on_again_the_follow_ups_for_the_settled_key_are_dropped(server: Server) -> None:
    """F5. Else the run's own delayed tick makes it dirty, for ever."""
    a = server.client("a")
    await place(a, TICK)
    delivery = await take(a)
    await place(a, TICK)
    own = Entry("q", TICK, delay_ms=60_000)
    answer = await a.settle(delivery, [own], lease_ms=LEASE_MS)
    assert answer.again is not None
    assert (await server.messages("q"))[TICK].dirty is False
    answer = await a.settle(answer.again, [own], lease_ms=LEASE_MS)
    assert answer.outcome is SettleOutcome.settled
    assert await state(server, TICK) == "delayed", "the next round placed it"


@pytest.mark.parametrize("times", [1, 4])
async def test_h94_a_follow_up_that_is_dropped_leaves_its_recover(server: Server, times: int) -> None:
    """On `again`, and after the fourth on `requeued`: what the turn asked of its own next tick, that round is asked."""
    a = server.client("a")
    await place(a, TICK)
    delivery = await take(a)
    for time in range(1, times + 1):
        await place(a, TICK)
        own = [Entry("q", TICK, recover=True)] if time == times else []
        answer = await a.settle(delivery, own, lease_ms=LEASE_MS)
        delivery = answer.again or await take(a)
        assert delivery.recover is (time == times)


@pytest.mark.parametrize("recovered", [False, True])
@pytest.mark.parametrize("handed_over", [False, True])
@pytest.mark.parametrize("with_the_mark", [False, True])
async def test_h94_again_keeps_recover_until_a_settle_has_recovered(
    server: Server, recovered: bool, handed_over: bool, with_the_mark: bool
) -> None:
    """G7. A settle that placed the recovery dispatch answers for what it was handed, not for what came with the
    mark."""
    a = server.client("a")
    await place(a, TICK, recover=handed_over)
    delivery = await take(a)
    assert delivery.recover is handed_over
    await place(a, TICK, recover=with_the_mark)
    answer = await a.settle(delivery, lease_ms=LEASE_MS, recovered=recovered)
    assert answer.again is not None
    assert answer.again.recover is ((handed_over and not recovered) or with_the_mark)


async def test_h94_the_own_tick_of_a_turn_that_left_keeps_recover_and_conflicts(server: Server) -> None:
    """I5. The loser settles with its own tick; nobody but the message may know of its recover."""
    a = server.client("a")
    await place(a, TICK, recover=True)
    answer = await a.settle(await take(a), [Entry("q", TICK)], lease_ms=LEASE_MS, conflicts=1)
    assert answer.outcome is SettleOutcome.settled
    delivery = await take(a)
    assert (delivery.recover, delivery.conflicts) == (True, 1)
    await a.settle(delivery, [Entry("q", TICK)], lease_ms=LEASE_MS, recovered=True)
    delivery = await take(a)
    assert (delivery.recover, delivery.conflicts) == (False, 0)


async def test_h94_recover_survives_a_hand_back_and_a_change_of_lane(server: Server) -> None:
    a = server.client("a")
    await place(a, TICK, recover=True)
    delivery = await take(a)
    await a.release(delivery, 100)
    server.clock.pass_ms(100)
    delivery = await take(a)
    assert delivery.recover
    await a.settle(delivery, [Entry("other", TICK, recover=delivery.recover)], lease_ms=LEASE_MS)
    (moved,) = (await a.claim("other", 1, LEASE_MS)).deliveries
    assert moved.recover


@pytest.mark.parametrize("met", ["ready", "delayed", "leased tick", "leased step"])
async def test_h57_a_request_to_recover_is_or_ed_into_whatever_it_meets(server: Server, met: str) -> None:
    a, b = server.client("a"), server.client("b")
    key = STEP if met == "leased step" else TICK
    await place(a, key, delay_ms=500 if met == "delayed" else 0)
    held = await take(a) if met.startswith("leased") else None
    await place(b, key, recover=True)
    await place(b, key, recover=False)
    if held is None:
        assert (await take(b)).recover
    elif key == TICK:
        answer = await a.settle(held, lease_ms=LEASE_MS, recovered=True)
        assert answer.again is not None
        assert answer.again.recover
    else:
        await a.settle(held, [Entry("q", STEP, delay_ms=1)], lease_ms=LEASE_MS)
        server.clock.pass_ms(1)
        assert (await take(b)).recover, "its own retry carries what came while it was leased"


@pytest.mark.parametrize("by", ["reclaimed and settled by another", "ready again", "leased to another"])
async def test_h95_follow_ups_of_a_settle_that_lost_are_enqueued_all_the_same(server: Server, by: str) -> None:
    """F8. No lease changes, and nothing is leased to who lost."""
    a, b = server.client("a"), server.client("b")
    await place(a, TICK)
    frozen = await take(a)
    server.clock.pass_ms(LEASE_MS)
    other = await take(b)
    if by == "ready again":
        await b.release(other)
    elif by == "reclaimed and settled by another":
        await b.settle(other, lease_ms=LEASE_MS)
    before = (await server.messages("q")).get(TICK)
    answer = await a.settle(frozen, [Entry("q", STEP, lease=True), Entry("q", "s:run:b#1")], lease_ms=LEASE_MS)
    assert (answer.outcome, answer.granted) == (SettleOutcome.lost, ())
    assert (await server.messages("q")).get(TICK) == before
    assert {await state(server, STEP), await state(server, "s:run:b#1")} == {"ready"}


async def test_h95_the_own_tick_of_a_settle_that_lost_meets_what_is_there(server: Server) -> None:
    a, b = server.client("a"), server.client("b")
    await place(a, TICK)
    frozen = await take(a)
    server.clock.pass_ms(LEASE_MS)
    other = await take(b)
    assert (await a.settle(frozen, [Entry("q", TICK)], lease_ms=LEASE_MS, conflicts=2)).outcome is SettleOutcome.lost
    answer = await b.settle(other, lease_ms=LEASE_MS)
    assert answer.outcome is SettleOutcome.again, "somebody owes the run a turn"


async def test_h95_after_a_flush_the_own_tick_of_a_settle_that_lost_is_a_message_again(server: Server) -> None:
    a = server.client("a")
    await place(a, TICK, recover=True)
    delivery = await take(a)
    await server.flush()
    assert (await a.settle(delivery, [Entry("q", TICK)], lease_ms=LEASE_MS, conflicts=2)).outcome is SettleOutcome.lost
    assert [(d.queue, d.ready) for d in await a.depth()] == [("q", 1)], "the lane is known again"
    delivery = await take(a)
    assert (delivery.recover, delivery.conflicts) == (True, 2)


@pytest.mark.parametrize("dirty", [False, True])
async def test_h111_conflicts_and_recover_are_arguments_of_settle(server: Server, dirty: bool) -> None:
    """A flood reaches the conflict limit: the count survives `again`, `requeued` and the own tick."""
    a = server.client("a")
    await place(a, TICK, recover=True)
    delivery = await take(a)
    for conflicts in range(1, 8):
        if dirty:
            await place(a, TICK)
        answer = await a.settle(delivery, [Entry("q", TICK)], lease_ms=LEASE_MS, conflicts=conflicts)
        delivery = answer.again or await take(a)
        assert (delivery.conflicts, delivery.recover, delivery.crashes) == (conflicts, True, 0)
        assert (await server.messages("q"))[TICK].conflicts == conflicts


async def test_crashes_end_with_a_settle_that_was_reached(server: Server) -> None:
    a = server.client("a")
    await place(a, TICK)
    await take(a)
    server.clock.pass_ms(LEASE_MS)
    delivery = await take(a)
    assert delivery.crashes == 1
    await place(a, TICK)
    answer: Settled = await a.settle(delivery, lease_ms=LEASE_MS)
    assert answer.again is not None
    assert answer.again.crashes == 0


async def test_h98_no_token_is_ever_used_twice(server: Server) -> None:
    """F11. Across messages, rounds, a flush and a client that the same process opens for the same owner."""
    tokens: list[str] = []
    for client in (server.client("a"), server.client("b")):
        for _ in range(2):
            for key in (TICK, STEP):
                await place(client, key)
            tick, step = (await client.claim("q", 2, LEASE_MS)).deliveries
            await place(client, TICK)
            answer = await client.settle(tick, [Entry("q", "s:run:b#1", lease=True)], lease_ms=LEASE_MS)
            assert answer.again is not None
            tokens += [tick.token, step.token, answer.again.token, *(d.token for d in answer.granted)]
            await server.flush()
    assert len(set(tokens)) == len(tokens) == 16
    assert all(token.startswith(("a.", "b.")) for token in tokens)


async def test_h98_a_frozen_turn_cannot_settle_the_runs_next_tick(server: Server) -> None:
    a, b = server.client("a"), server.client("b")
    await place(a, TICK)
    frozen = await take(a)
    server.clock.pass_ms(LEASE_MS)
    await b.settle(await take(b), [Entry("q", TICK)], lease_ms=LEASE_MS)
    current = await take(a)
    assert (await a.settle(frozen, lease_ms=LEASE_MS)).outcome is SettleOutcome.lost
    assert not await a.release(frozen)
    assert (await a.renew([frozen, current], LEASE_MS)).lost == (frozen.token,)
    assert (await a.settle(current, lease_ms=LEASE_MS)).outcome is SettleOutcome.settled


async def test_a_wide_fan_out_is_placed_in_pages_and_its_leases_are_granted(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No script takes more than its bound; what is leased and the message's own next round go with the settle."""
    sizes: list[tuple[str, int]] = []
    real = ValkeyQueue._run  # pyright: ignore[reportPrivateUsage] - what a script is given is seen nowhere else

    def run(self: ValkeyQueue, name: str, lane: LaneKeys, *arguments: Argument, **more: bool) -> asyncio.Future[Reply]:
        sizes.append((name, sum(isinstance(one, str) and one.startswith("s:") for one in arguments)))
        return real(self, name, lane, *arguments, **more)

    monkeypatch.setattr(ValkeyQueue, "_run", run)
    a = server.client("a")
    await place(a, TICK)
    wide = [Entry("q", f"s:run:w#{n}", b"queued") for n in range(2 * ITEMS_PER_CALL)]
    leased = [Entry("q", f"s:run:l#{n}", b"leased", lease=True) for n in range(3)]
    held = await take(a)
    sizes.clear()
    answer = await a.settle(held, [*wide, *leased, Entry("q", TICK, delay_ms=700)], lease_ms=LEASE_MS)
    assert answer.outcome is SettleOutcome.settled
    assert [granted.key for granted in answer.granted] == [entry.key for entry in leased]
    states = {key: message.state.value for key, message in (await server.messages("q")).items()}
    assert states == {
        **{entry.key: "ready" for entry in wide},
        **{entry.key: "leased" for entry in leased},
        TICK: "delayed",
    }
    assert all(size <= ITEMS_PER_CALL for _, size in sizes)
    assert not sizes or ("settle", 3) in sizes
