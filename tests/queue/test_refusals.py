"""Messages that one worker's code cannot do: they go to other codes at once, and to the same code not again."""

from __future__ import annotations

import asyncio

import pytest
from tests.queue.conftest import Server

from fencepost_queue.limits import REFUSALS_MAX, REFUSED_BY_ALL_MS
from fencepost_queue.protocol import Delivery, Entry, Queue

LEASE_MS = 10_000
OLD, NEW = "code-old", "code-new"


async def keys(queue: Queue, code: str, limit: int = 99, steps: int | None = None) -> list[str]:
    """What a claim of that code is given."""
    return [one.key for one in (await queue.claim("q", limit, LEASE_MS, steps=steps, code=code)).deliveries]


async def refused(queue: Queue, code: str, *wanted: str) -> list[Delivery]:
    """Messages that are enqueued, claimed and refused."""
    await queue.enqueue([Entry("q", key) for key in wanted])
    claimed = list((await queue.claim("q", len(wanted), LEASE_MS, code=code)).deliveries)
    assert [one.key for one in claimed] == list(wanted)
    for one in claimed:
        assert await queue.refuse(one, code, f"{one.key} is unknown here")
    return claimed


async def test_h132_what_a_code_has_refused_it_is_not_given_again(server: Server) -> None:
    """Neither to the same process nor to another of the same code; another code has it at once, ticks and steps."""
    queue, other = server.client("a"), server.client("b")
    await refused(queue, OLD, "t:1", "s:1:a")
    assert await keys(queue, OLD) == []
    assert await keys(other, OLD) == []
    assert sorted(await keys(other, NEW)) == ["s:1:a", "t:1"]


async def test_h132_thousands_that_nobody_can_do_are_in_no_one_s_way(server: Server) -> None:
    """They do not stand before what comes later, however many they are."""
    queue = server.client("a")
    for start in range(0, 1_000, 50):
        await refused(queue, OLD, *(f"t:{n}" for n in range(start, start + 50)))
    await queue.enqueue([Entry("q", "t:mine")])
    assert await keys(queue, OLD, limit=1) == ["t:mine"]


async def test_refused_steps_need_room_and_refused_ticks_do_not(server: Server) -> None:
    """As any other."""
    queue = server.client("a")
    await refused(queue, OLD, "t:1", "s:1:a")
    assert await keys(queue, NEW, steps=0) == ["t:1"]
    assert await keys(queue, NEW) == ["s:1:a"]


async def test_a_refusal_is_no_crash_and_asks_for_no_recovery(server: Server) -> None:
    """Its owner has done nothing; and it is said what it lacked."""
    queue = server.client("a")
    (held,) = await refused(queue, OLD, "t:1")
    (seen,) = await queue.peek("q", 9)
    assert (seen.state, seen.refused, seen.why) == ("ready", 1, "t:1 is unknown here")
    assert (await queue.depth())[0].ready == 1
    assert not await queue.refuse(held, OLD, ""), "it is not its owner's any more"
    (again,) = (await queue.claim("q", 9, LEASE_MS, code=NEW)).deliveries
    assert (again.crashes, again.recover) == (0, False)


async def test_a_second_code_refuses_as_well(server: Server) -> None:
    """It stands open to a third."""
    queue = server.client("a")
    await refused(queue, OLD, "t:1")
    (second,) = (await queue.claim("q", 9, LEASE_MS, code=NEW)).deliveries
    assert await queue.refuse(second, NEW, "nor here")
    assert await keys(queue, OLD) == await keys(queue, NEW) == []
    assert await keys(queue, "code-third") == ["t:1"]


async def test_the_lease_of_a_refused_message_ends_as_any(server: Server) -> None:
    """Who took it has died: the code that has refused it is not asked again."""
    queue = server.client("a")
    await refused(queue, OLD, "s:1:a")
    assert await keys(queue, NEW) == ["s:1:a"]
    server.clock.pass_ms(LEASE_MS + 1)
    assert await keys(queue, OLD) == []
    (again,) = (await queue.claim("q", 9, LEASE_MS, code=NEW)).deliveries
    assert (again.crashes, again.recover) == (1, True)


@pytest.mark.parametrize("key", ["t:1", "s:1:a"])
async def test_h132_a_recovery_offers_it_to_every_code_anew(server: Server, key: str) -> None:
    """The same code may be able to by then: a module that failed to load, a key that has come."""
    queue = server.client("a")
    await refused(queue, OLD, key)
    await queue.enqueue([Entry("q", key)])
    assert await keys(queue, OLD) == []
    await queue.enqueue([Entry("q", key, recover=True)])
    assert await keys(queue, OLD) == [key]


async def test_a_tick_s_next_round_is_for_every_code(server: Server) -> None:
    """Somebody could do it: what the refusals were about is over."""
    queue = server.client("a")
    await refused(queue, OLD, "t:1")
    (held,) = (await queue.claim("q", 9, LEASE_MS, code=NEW)).deliveries
    await queue.enqueue([Entry("q", "t:1")])
    settled = await queue.settle(held, lease_ms=LEASE_MS)
    assert settled.again is not None
    assert await queue.release(settled.again)
    assert await keys(queue, OLD) == ["t:1"]


async def test_what_very_many_codes_have_refused_is_offered_to_all_after_a_pause(server: Server) -> None:
    """The list of codes is bounded, and a message does not go round in circles without a pause."""
    queue = server.client("a")
    await refused(queue, "code-0", "t:1")
    for n in range(1, REFUSALS_MAX + 1):
        (held,) = (await queue.claim("q", 9, LEASE_MS, code=f"code-{n}")).deliveries
        assert await queue.refuse(held, f"code-{n}", "")
    assert await keys(queue, "code-0") == []
    server.clock.pass_ms(REFUSED_BY_ALL_MS)
    assert await keys(queue, "code-0") == ["t:1"]


async def test_h132_a_refusal_wakes_more_than_one(server: Server) -> None:
    """The first that is woken may be of the same code, and what it leaves is rung for all the same."""
    queue, waiting = server.client("a"), [server.client(f"w{n}") for n in range(3)]
    await queue.enqueue([Entry("q", "t:1")])
    (held,) = (await queue.claim("q", 9, LEASE_MS, code=OLD)).deliveries

    async def woken(one: Queue) -> bool:
        heard = await one.wait(["q"], 5_000)
        await one.claim("q", 9, LEASE_MS, code=OLD)
        return heard

    tasks = [asyncio.create_task(woken(one)) for one in waiting]
    await asyncio.sleep(0.2)
    assert await queue.refuse(held, OLD, "")
    async with asyncio.timeout(4):
        assert await asyncio.gather(*tasks) == [True, True, True]
