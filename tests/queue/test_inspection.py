"""What an audit reads of a queue: all messages, in slices, as they stand; and nothing changes by it."""

from __future__ import annotations

from typing import cast

from tests.queue.conftest import OnServer, Server

from fencepost_queue.inspection import Held, Inspection
from fencepost_queue.protocol import Entry

LEASE_MS = 10_000


async def scanned(reader: Inspection, count: int) -> dict[str, Held]:
    """All messages of queue q, in slices of about ``count``."""
    found: dict[str, Held] = {}
    cursor = 0
    while True:
        held, cursor = await reader.scan("q", 0, cursor, count)
        found |= {message.key: message for message in held}
        if cursor == 0:
            return found


async def test_every_message_is_read_as_it_stands(server: Server) -> None:
    """Ready, delayed, leased and over; by slices and by key."""
    queue = server.client("A")
    reader = cast(Inspection, queue)
    await queue.enqueue([Entry("q", "t:1"), Entry("q", "s:1:a"), Entry("q", "t:2", delay_ms=50_000, recover=True)])
    claimed = await queue.claim("q", 1, LEASE_MS)
    server.clock.pass_ms(12_000)
    await queue.enqueue([Entry("q", "t:1")])
    before = await server.messages("q")
    found = await scanned(reader, 1)
    assert [delivery.key for delivery in claimed.deliveries] == ["t:1"]
    assert found == {
        "t:1": Held("q", "t:1", "leased", "A", 0, 0, 0, False, True, -2_000, None, True),
        "s:1:a": Held("q", "s:1:a", "ready", None, 0, 0, 0, False, False, None, 12_000, True),
        "t:2": Held("q", "t:2", "delayed", None, 0, 0, 0, True, False, 38_000, None, True),
    }
    assert await reader.look("q", ["t:2", "t:9", "s:1:a"]) == [found["t:2"], found["s:1:a"]]
    assert await reader.look("other", ["t:2"]) == []
    assert await reader.lanes() == [("q", 0)]
    assert await server.messages("q") == before


async def test_many_messages_come_in_slices(server: Server) -> None:
    """Each at least once."""
    queue = server.client("A")
    await queue.enqueue([Entry("q", f"t:{n}") for n in range(2_000)])
    assert set(await scanned(cast(Inspection, queue), 100)) == {f"t:{n}" for n in range(2_000)}


async def test_a_message_out_of_its_place_is_told(on_valkey: OnServer) -> None:
    """Its hash is there, its entry in the order is not."""
    queue = on_valkey.client("A")
    await queue.enqueue([Entry("q", "t:1"), Entry("q", "t:2")])
    await on_valkey.raw.zrem(on_valkey.key("q", "ticks"), "t:1")
    found = await scanned(queue, 10)
    assert {key: held.placed for key, held in found.items()} == {"t:1": False, "t:2": True}


async def test_the_servers_clock(on_valkey: OnServer) -> None:
    """Milliseconds since the epoch, by the server itself, whatever a test's clock says."""
    seconds, _ = await on_valkey.raw.time()
    assert seconds * 1000 <= await on_valkey.client("A").clock_ms() < (seconds + 60) * 1000
