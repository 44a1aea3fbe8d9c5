"""Servers that come back with old data, or in another role: what is lost is noticed, and nobody stays with a server
that takes no writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.relay import Relay
from tests.valkeys import Server as Valkey
from tests.valkeys import servers

from fencepost_queue import pipeline
from fencepost_queue.errors import ReplicaServer
from fencepost_queue.protocol import Entry, QueueTrouble
from fencepost_queue.valkey import ValkeyQueue, connect

if TYPE_CHECKING:
    from .conftest import OnServer, Server

LEASE_MS = 10_000


async def test_h220_one_of_many_claims_sweeps_where_another_server_has_the_data(server: Server) -> None:
    """Its generation is the old one, and what was lost with the other server is not in it."""
    clients = [server.client(f"w{n}") for n in range(10)]
    await asyncio.gather(*(client.claim("q", 1, LEASE_MS) for client in clients))
    before = (await clients[0].claim("q", 1, LEASE_MS)).generation
    for _ in range(3):
        await asyncio.gather(*(client.sweep("q", before, 0) for client in clients))
        await server.move("q")
        claimed = await asyncio.gather(*(client.claim("q", 1, LEASE_MS) for client in clients))
        assert sum(one.sweep for one in claimed) == 1
        (after,) = {one.generation for one in claimed}
        assert after != before
        before = after


async def test_h220_owners_take_their_leases_back_from_old_data(server: Server) -> None:
    """The old data know nothing of what is under way: no body is begun a second time for it."""
    a, b = server.client("a"), server.client("b")
    await a.claim("q", 1, LEASE_MS)
    await a.enqueue([Entry("q", "s:run:a")])
    (held,) = (await a.claim("q", 1, LEASE_MS)).deliveries
    await b.withdraw("q", ["s:run:a"])
    await server.flush()
    await b.claim("q", 1, LEASE_MS)  # the data of another time, with a generation
    await server.move("q")
    await b.claim("q", 1, LEASE_MS)
    assert (await a.renew([held], LEASE_MS)).lost == ()
    await b.enqueue([Entry("q", "s:run:a", recover=True)])
    assert (await b.claim("q", 1, LEASE_MS)).deliveries == ()


async def test_h220_a_caller_that_knows_an_older_identity_does_no_harm(on_valkey: OnServer) -> None:
    """Two clients of which one connected before the server's replication changed do not sweep by turns for ever."""
    a, b = on_valkey.client("a"), on_valkey.client("b")
    assert (await a.claim("q", 1, LEASE_MS)).sweep
    a._pipeline.identity = "of an earlier time"  # pyright: ignore[reportPrivateUsage]
    generations = {(await one.claim("q", 1, LEASE_MS)).generation for one in (a, b, a, b)}
    assert len(generations) == 1


async def test_h220_a_server_that_restarts_from_an_old_dump_is_swept(tmp_path: Path, namespace: str) -> None:
    """What was enqueued since the dump is gone, with its generation as it was."""
    with servers(tmp_path, 1) as (valkey,):
        queue = await connect(valkey.url, namespace, owner="a")
        try:
            assert (await queue.claim("q", 1, LEASE_MS)).sweep
            await queue.sweep("q", (await queue.claim("q", 1, LEASE_MS)).generation, 0)
            valkey.raw.save()
            await queue.enqueue([Entry("q", "t:1")])
            assert not (await queue.claim("q", 0, LEASE_MS)).sweep
            valkey.kill()
            valkey.start()
            with pytest.raises(QueueTrouble):
                await queue.writable()
            claimed = await queue.claim("q", 1, LEASE_MS)
            assert claimed.deliveries == ()
            assert claimed.sweep
        finally:
            await queue.close()


@asynccontextmanager
async def _behind(valkey: Valkey, namespace: str) -> AsyncGenerator[tuple[Relay, ValkeyQueue]]:
    """A queue whose connections go through something that a fail-over points elsewhere."""
    relay = Relay(valkey.port)
    await relay.listen()
    queue = await connect(f"redis://127.0.0.1:{relay.port}/0", namespace, owner="a")
    try:
        yield relay, queue
    finally:
        await queue.close()
        relay.refuse()


async def test_h221_nobody_stays_with_a_primary_that_became_a_replica(tmp_path: Path, namespace: str) -> None:
    """Calls, the bell and the hints: each goes to the new primary, though the old one answers and cuts nothing."""
    with servers(tmp_path, 2) as (old, new):
        async with _behind(old, namespace) as (relay, queue):
            new.follow(old)
            await queue.enqueue([Entry("q", "t:1")])
            old.raw.wait(1, 10_000)
            async with queue.subscribe("ended:1") as hints:
                new.lead()
                old.follow(new)
                relay.lead_to(new.port)
                with pytest.raises(QueueTrouble, match="read only replica"):
                    await queue.claim("q", 1, LEASE_MS)
                claimed = await queue.claim("q", 1, LEASE_MS)
                assert [one.key for one in claimed.deliveries] == ["t:1"]
                assert claimed.sweep, "what the old primary took last may not have come over"
                assert await hints.next(5.0) is None, "hints may have been lost"
                while not new.raw.pubsub_numsub(f"fp:{namespace}:hint:ended:1")[0][1]:  # noqa: ASYNC110 - asked there
                    await asyncio.sleep(0)
                await queue.publish("ended:1", b"7")
                assert await hints.next(5.0) == b"7"


async def test_h221_the_bell_leaves_a_primary_that_became_a_replica(tmp_path: Path, namespace: str) -> None:
    with servers(tmp_path, 2) as (old, new):
        async with _behind(old, namespace) as (relay, queue):
            assert not await queue.wait(["q"], 200)
            new.follow(old)
            new.lead()
            old.follow(new)
            relay.lead_to(new.port)
            with pytest.raises(QueueTrouble):
                await queue.wait(["q"], 1_000)
            new.raw.rpush(f"fp:{{{namespace}/q/0}}:bell.ticks", 1)
            assert await queue.wait(["q"], 5_000)


async def test_h221_a_replica_is_not_taken_for_the_queue(tmp_path: Path, namespace: str) -> None:
    """On connecting, and where a connection that was idle leads to one; when it leads again, it is used again."""
    with servers(tmp_path, 2) as (one, other):
        queue = await connect(one.url, namespace, owner="a")
        try:
            before = (await queue.claim("q", 1, LEASE_MS)).generation
            one.follow(other)
            with pytest.raises(ReplicaServer, match=f"a slave of 127.0.0.1:{other.port}"):
                await connect(one.url, namespace)
            with pytest.raises(QueueTrouble):
                await queue.writable()
            with pytest.raises(ReplicaServer):
                await queue.lanes()
            one.lead()
            claimed = await queue.claim("q", 1, LEASE_MS)
            assert claimed.sweep
            assert claimed.generation != before
        finally:
            await queue.close()


async def test_h221_an_idle_connection_is_asked_for_the_role(
    tmp_path: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads alone would go on for ever."""
    monkeypatch.setattr(pipeline, "SURE_SECONDS", 0.0)
    with servers(tmp_path, 2) as (one, other):
        queue = await connect(one.url, namespace, owner="a")
        try:
            assert await queue.lanes() == []
            one.follow(other)
            with pytest.raises(ReplicaServer):
                await queue.lanes()
        finally:
            await queue.close()
