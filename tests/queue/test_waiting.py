"""Bells, blocking and hints."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fencepost_queue.limits import BELL_TOKENS_MAX
from fencepost_queue.memory import MemoryServer
from fencepost_queue.message import Kind
from fencepost_queue.protocol import Entry, Queue

if TYPE_CHECKING:
    from .conftest import OnServer, Server

LEASE_MS = 10_000
LONG_MS = 20_000


async def place(queue: Queue, key: str, *, delay_ms: int = 0) -> None:
    await queue.enqueue([Entry("q", key, delay_ms=delay_ms)])


async def blocked(server: OnServer, count: int) -> None:
    """Until the server says that so many clients block."""
    async with asyncio.timeout(10):
        while (await server.raw.info("clients"))["blocked_clients"] != count:  # noqa: ASYNC110 - it tells by INFO only
            await asyncio.sleep(0.001)


async def test_a_ring_that_came_before_is_heard(server: Server) -> None:
    a = server.client("a")
    await place(a, "t:1")
    assert await a.wait(["other", "q"], LONG_MS)
    assert not await a.wait(["other", "q"], 10), "each ring is heard once"


async def test_one_enqueue_wakes_one_of_the_idle(on_valkey: OnServer) -> None:
    waits = [asyncio.create_task(on_valkey.client(name).wait(["q"], LONG_MS)) for name in "abc"]
    await blocked(on_valkey, 3)
    await place(on_valkey.client("p"), "t:1")
    done, rest = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED, timeout=10)
    assert [task.result() for task in done] == [True]
    await blocked(on_valkey, 2)
    for task in rest:
        task.cancel()
    await asyncio.wait(rest)


async def test_a_wait_ends_by_its_time(server: Server) -> None:
    assert await server.client("a").wait(["q"], 20) is False


async def test_a_worker_without_room_for_steps_leaves_their_rings_to_others(server: Server) -> None:
    """And does not wake itself with them for ever."""
    a = server.client("a")
    for key in ("s:1:x", "s:2:x"):
        await place(a, key)
    assert not await a.wait(["q"], 10, steps=False)
    assert (await a.claim("q", 5, LEASE_MS, steps=0)).deliveries == ()
    assert await server.bells("q") == {Kind.tick: 0, Kind.step: 2}
    await place(a, "t:1")
    assert await a.wait(["q"], LONG_MS, steps=False)
    while await a.wait(["q"], 5):
        pass  # had it heard them after all, it would still not ring for itself
    assert [d.key for d in (await a.claim("q", 5, LEASE_MS, steps=0)).deliveries] == ["t:1"]
    assert await server.bells("q") == {Kind.tick: 0, Kind.step: 0}


async def test_a_claim_that_leaves_work_rings_for_another(server: Server) -> None:
    a, b = server.client("a"), server.client("b")
    for i in range(3):
        await place(a, f"t:{i}")
    while await a.wait(["q"], 5):
        pass  # somebody took all rings and died
    assert len((await a.claim("q", 1, LEASE_MS)).deliveries) == 1
    assert await b.wait(["q"], LONG_MS)


async def test_a_claim_with_room_left_silences_the_bell(server: Server) -> None:
    a = server.client("a")
    for i in range(3):
        await place(a, f"t:{i}")
    await a.claim("q", 9, LEASE_MS)
    assert await server.bells("q") == {Kind.tick: 0, Kind.step: 0}


async def test_unheard_rings_are_capped(server: Server) -> None:
    a = server.client("a")
    await a.enqueue([Entry("q", f"{kind}:{i}:x") for i in range(BELL_TOKENS_MAX + 50) for kind in "ts"])
    assert await server.bells("q") == {Kind.tick: BELL_TOKENS_MAX, Kind.step: BELL_TOKENS_MAX}


async def test_a_delay_that_is_next_to_come_due_wakes_somebody_who_will_remember_it(server: Server) -> None:
    """Else a worker that blocks for two seconds oversleeps a delay of one."""
    a = server.client("a")
    await place(a, "t:1", delay_ms=1000)
    assert await a.wait(["q"], LONG_MS)
    assert (await a.claim("q", 9, LEASE_MS)).next_due_ms == 1000
    await place(a, "t:2", delay_ms=2000)
    assert not await a.wait(["q"], 10), "it comes later than what is known"
    await place(a, "t:2", delay_ms=300)
    assert await a.wait(["q"], LONG_MS)


async def test_who_takes_its_fill_hands_on_the_watch_over_what_comes_due(server: Server) -> None:
    a = server.client("a")
    await place(a, "t:late", delay_ms=1000)
    await place(a, "t:1")
    assert [d.key for d in (await a.claim("q", 9, LEASE_MS)).deliveries] == ["t:1"]
    await place(a, "t:2")
    assert await a.wait(["q"], LONG_MS)
    assert (await a.claim("q", 1, LEASE_MS)).next_due_ms == 1000
    assert await server.client("b").wait(["q"], LONG_MS)


async def test_a_ring_for_a_cancelled_wait_is_heard_by_the_next(on_valkey: OnServer) -> None:
    a = on_valkey.client("a")
    waiting = asyncio.create_task(a.wait(["q"], LONG_MS))
    await blocked(on_valkey, 1)
    waiting.cancel()
    await asyncio.wait({waiting})
    await place(on_valkey.client("p"), "t:1")
    await blocked(on_valkey, 0)
    assert await on_valkey.bells("q") == {Kind.tick: 0, Kind.step: 0}, "the abandoned pop took it"
    assert await a.wait(["q"], LONG_MS)


@pytest.mark.parametrize("then", ["waits for others", "closes"])
async def test_h55_a_ring_in_the_hands_of_who_will_not_use_it_is_rung_again(on_valkey: OnServer, then: str) -> None:
    a, b = on_valkey.client("a"), on_valkey.client("b")
    waiting = asyncio.create_task(a.wait(["q"], LONG_MS))
    await blocked(on_valkey, 1)
    waiting.cancel()
    await asyncio.wait({waiting})
    await place(b, "s:1:x")
    await blocked(on_valkey, 0)
    if then == "closes":
        await a.close()
    else:
        assert not await a.wait(["q"], 20, steps=False)
    assert await b.wait(["q"], LONG_MS)


async def test_h55_a_wait_that_was_cancelled_blocks_nobody_after_close(on_valkey: OnServer) -> None:
    a = on_valkey.client("a")
    waiting = asyncio.create_task(a.wait(["q"], LONG_MS))
    await blocked(on_valkey, 1)
    waiting.cancel()
    await asyncio.wait({waiting})
    await a.close()
    await blocked(on_valkey, 0)
    await place(on_valkey.client("b"), "t:1")
    assert (await on_valkey.bells("q"))[Kind.tick] == 1


async def test_h55_a_blocked_worker_survives_a_flush(on_valkey: OnServer) -> None:
    a = on_valkey.client("a")
    await a.claim("q", 1, LEASE_MS)
    waiting = asyncio.create_task(a.wait(["q"], LONG_MS))
    await blocked(on_valkey, 1)
    await on_valkey.flush()
    await place(on_valkey.client("p"), "t:1")
    assert await waiting
    claimed = await a.claim("q", 1, LEASE_MS)
    assert (claimed.sweep, [d.key for d in claimed.deliveries]) == (True, ["t:1"])


async def test_h55_in_memory_a_ring_for_a_wait_that_is_cancelled_at_that_moment_is_rung_again() -> None:
    server = MemoryServer(lambda: 0)
    a, b = server.client("a"), server.client("b")
    waiting = asyncio.create_task(a.wait(["q"], LONG_MS))
    await asyncio.sleep(0)  # Lets the wait begin: it runs until it blocks.
    await place(b, "t:1")
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    assert await b.wait(["q"], LONG_MS)


async def test_two_waits_on_the_same_queues_are_refused(on_valkey: OnServer) -> None:
    a = on_valkey.client("a")
    waiting = asyncio.create_task(a.wait(["q"], LONG_MS))
    await blocked(on_valkey, 1)
    with pytest.raises(AssertionError, match="one wait at a time"):
        await a.wait(["q"], 10)
    waiting.cancel()
    await asyncio.wait({waiting})


async def test_hints_reach_every_listener_of_their_channel(server: Server) -> None:
    a, b = server.client("a"), server.client("b")
    async with a.subscribe("ended:1") as first, a.subscribe("ended:1") as second, b.subscribe("ended:2") as other:
        await b.publish("ended:1", b"x")
        await b.publish("ended:1", b"y")
        assert [await first.next(10), await first.next(10), await second.next(10)] == [b"x", b"y", b"x"]
        assert await other.next(0.01) is None
    async with a.subscribe("ended:1") as anew:
        assert await anew.next(0.01) is None
        await b.publish("ended:1", b"z")
        assert await anew.next(10) == b"z"


async def test_leaving_one_subscription_keeps_the_others(server: Server) -> None:
    a = server.client("a")
    async with a.subscribe("x") as kept:
        async with a.subscribe("x"):
            pass
        await a.publish("x", b"1")
        assert await kept.next(10) == b"1"


async def test_a_wait_on_an_idle_server_ends_on_time(on_valkey: OnServer) -> None:
    """The server's own timers come some 50 ms late when nothing else wakes it, and every durable sleep would with
    them; the lateness of most waits is far below that. Half of them may be late for want of a free core.
    """
    a = on_valkey.client("a")
    loop = asyncio.get_running_loop()
    late: list[float] = []
    for number in range(15):
        started = loop.time()
        assert not await a.wait(["q"], 31 + number)
        late.append(loop.time() - started - (31 + number) / 1000)
    assert min(late) >= 0
    assert sorted(late)[len(late) // 3] < 0.02
