"""What happens when the server is away, slow, unfit or not ours: errors by type, nothing sent twice, back by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fencepost_queue.check import judge
from fencepost_queue.connection import FAILURES, Dialer, exchange
from fencepost_queue.errors import EvictingServer, QueueRefused, ServerTooOld
from fencepost_queue.protocol import Entry, QueueTrouble
from fencepost_queue.valkey import ValkeyQueue, connect

if TYPE_CHECKING:
    from .conftest import OnServer

LEASE_MS = 10_000


class Proxy:
    """Stands between client and server on a socket of its own; can swallow replies and cut the line."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream.removeprefix("unix://").partition("?")[0]
        self.swallow = False
        self.swallowed = asyncio.Event()
        self.sent = b""
        self.arrivals = 0
        self._pipes: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self.upstream)
        self._pipes |= {writer, back}
        async with asyncio.TaskGroup() as group:
            group.create_task(self.pump(reader, back, out=True))
            group.create_task(self.pump(there, writer, out=False))

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, out: bool) -> None:
        while data := await reader.read(65536):
            if out:
                self.sent += data
                self.arrivals += 1
            elif self.swallow:
                self.swallowed.set()
                continue
            writer.write(data)
        writer.close()

    def cut(self) -> None:
        for writer in self._pipes:
            writer.close()
        self._pipes.clear()


@asynccontextmanager
async def proxied(url: str, folder: Path) -> AsyncGenerator[tuple[Proxy, str]]:
    proxy = Proxy(url)
    path = folder / "s"
    server = await asyncio.start_unix_server(proxy.serve, path)
    try:
        yield proxy, f"unix://{path}"
    finally:
        server.close()
        proxy.cut()


async def test_a_settle_whose_reply_was_lost_is_trouble_and_is_sent_once(
    on_valkey: OnServer, namespace: str, tmp_path: Path
) -> None:
    async with proxied(on_valkey.url, tmp_path) as (proxy, url):
        queue = await connect(url, namespace, owner="a")
        try:
            await queue.enqueue([Entry("q", "t:1")])
            (delivery,) = (await queue.claim("q", 1, LEASE_MS)).deliveries
            proxy.sent, proxy.swallow = b"", True
            settling = asyncio.create_task(queue.settle(delivery, [Entry("q", "s:1:a")], lease_ms=LEASE_MS))
            await proxy.swallowed.wait()
            proxy.cut()
            with pytest.raises(QueueTrouble):
                await settling
            assert proxy.sent.count(b"EVALSHA") == 1
            proxy.swallow = False
            assert [m.key for m in await queue.peek("q", 9)] == ["s:1:a"], "it landed, and the client is back by itself"
        finally:
            await queue.close()


async def test_a_server_that_does_not_answer_is_trouble_after_the_time(
    on_valkey: OnServer, namespace: str, tmp_path: Path
) -> None:
    async with proxied(on_valkey.url, tmp_path) as (proxy, url):
        queue = await connect(url, namespace, timeout_seconds=0.2)
        proxy.swallow = True
        calls = [asyncio.create_task(queue.enqueue([Entry("q", f"t:{i}")])) for i in range(5)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {QueueTrouble}
        assert "in time" in str(outcomes[0])
        proxy.swallow = False
        proxy.cut()
        await queue.enqueue([Entry("q", "t:9")])
        await queue.close()


async def test_a_listener_is_told_of_a_lost_connection_and_hears_again(
    on_valkey: OnServer, namespace: str, tmp_path: Path
) -> None:
    async with proxied(on_valkey.url, tmp_path) as (proxy, url):
        queue = await connect(url, namespace)
        async with queue.subscribe("x") as hints:
            for _ in range(3):
                proxy.cut()
                async with asyncio.timeout(10):
                    assert await hints.next(10) is None
                    channel = f"fp:{namespace}:hint:x"
                    while await on_valkey.raw.publish(channel, b"m") == 0:  # noqa: ASYNC110 - the only sign
                        await asyncio.sleep(0.001)
                    while await hints.next(10) != b"m":
                        pass
        await queue.close()


async def test_a_wait_whose_connection_breaks_is_trouble_and_the_next_one_works(
    on_valkey: OnServer, namespace: str, tmp_path: Path
) -> None:
    async with proxied(on_valkey.url, tmp_path) as (proxy, url):
        queue = await connect(url, namespace)
        waiting = asyncio.create_task(queue.wait(["q"], 20_000))
        async with asyncio.timeout(10):
            while not (await on_valkey.raw.info("clients"))["blocked_clients"]:  # noqa: ASYNC110 - it tells by INFO only
                await asyncio.sleep(0.001)
        proxy.cut()
        with pytest.raises(QueueTrouble):
            await waiting
        # The held connection was cut as well: its next call says so, the one after it has a new one.
        with pytest.raises(QueueTrouble):
            await queue.enqueue([Entry("q", "t:1")])
        await queue.enqueue([Entry("q", "t:1")])
        assert await queue.wait(["q"], 20_000)
        await queue.close()


async def test_scripts_that_the_server_forgot_are_loaded_again(on_valkey: OnServer) -> None:
    a = on_valkey.client("a")
    await a.enqueue([Entry("q", "t:1")])
    await on_valkey.raw.execute_command("SCRIPT", "FLUSH")
    outcomes = await asyncio.gather(a.claim("q", 1, LEASE_MS), a.enqueue([Entry("q", "t:2")]), a.ping())
    assert [d.key for d in outcomes[0].deliveries] == ["t:1"]
    assert len(await a.peek("q", 9)) == 2


async def test_a_cancelled_caller_takes_nobody_with_it(on_valkey: OnServer) -> None:
    a = on_valkey.client("a")
    calls = [asyncio.create_task(a.enqueue([Entry("q", f"t:{i}")])) for i in range(9)]
    await asyncio.sleep(0)  # Lets all of them be issued.
    calls[4].cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(o) for o in outcomes].count(list) == 8
    assert (await a.depth())[0].ready == 9, "what was sent runs its course"


async def test_calls_that_are_issued_together_leave_together(on_valkey: OnServer, tmp_path: Path) -> None:
    async with proxied(on_valkey.url, tmp_path) as (proxy, url):
        queue = await connect(url, on_valkey.namespace)
        proxy.sent, proxy.arrivals = b"", 0
        await asyncio.gather(*(queue.enqueue([Entry("q", f"t:{i}")]) for i in range(100)))
        assert proxy.sent.count(b"EVALSHA") == 100
        assert proxy.arrivals < 50, "one by one, each would wait for the reply of the one before"
        await queue.close()


async def test_a_closed_client_says_so_and_closes_twice(on_valkey: OnServer) -> None:
    a = on_valkey.client("a")
    await a.ping()
    await a.close()
    await a.close()
    with pytest.raises(QueueTrouble, match="closed"):
        await a.ping()


async def test_an_unreachable_server_is_trouble(tmp_path: Path, namespace: str) -> None:
    with pytest.raises(QueueTrouble, match="cannot be reached"):
        await connect(f"unix://{tmp_path}/none", namespace)


async def test_a_wrong_database_is_refused(on_valkey: OnServer, namespace: str) -> None:
    with pytest.raises(QueueRefused, match="database"):
        await connect(on_valkey.url.partition("?")[0] + "?db=9999", namespace)


async def test_a_wrong_password_is_refused_and_not_shown(on_valkey: OnServer, namespace: str) -> None:
    url = on_valkey.url.partition("?")[0].replace("unix://", "unix://someone:s3cret@")
    with pytest.raises(QueueRefused, match="credentials") as caught:
        await connect(url, namespace)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://:s3cret@h", "redis://u:s3cret@h:port", "redis://:s3cret@h:70000/x", "s3cret"])
async def test_a_url_that_cannot_be_read_is_refused_and_not_shown(url: str, namespace: str) -> None:
    with pytest.raises((QueueRefused, QueueTrouble)) as caught:
        await connect(url, namespace)
    chain = [str(caught.value), str(caught.value.__cause__)]
    assert not any("s3cret" in text for text in chain)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ValkeyQueue("redis://h", "n", owner="a b"),
        lambda: ValkeyQueue("redis://h", "n", shards=0),
        lambda: ValkeyQueue("redis://h", "n/m"),
    ],
)
def test_what_cannot_be_right_is_refused_at_once(make: Callable[[], Awaitable[object]]) -> None:
    with pytest.raises(ValueError, match=r"allowed|at least"):
        make()


async def test_h73_an_evicting_server_is_refused_by_name_of_the_setting(on_valkey: OnServer, namespace: str) -> None:
    await on_valkey.raw.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(EvictingServer, match=r"maxmemory-policy is 'allkeys-lru'.*noeviction"):
            await connect(on_valkey.url, namespace)
    finally:
        await on_valkey.raw.config_set("maxmemory-policy", "noeviction")
    await (await connect(on_valkey.url, namespace)).close()


@pytest.mark.parametrize("version", ["6.0.16", "5.0.7", "", "3"])
def test_a_server_that_is_too_old_is_refused(version: str) -> None:
    with pytest.raises(ServerTooOld, match=r"6\.2"):
        judge({"redis_version": version})


@pytest.mark.parametrize("version", ["6.2.0", "7.2.4", "8.0.1", "10.1"])
def test_a_server_that_is_new_enough_is_accepted(version: str) -> None:
    judge({"redis_version": version, "maxmemory_policy": "noeviction", "maxmemory": "100"})


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_connection_that_was_reset_meanwhile_is_trouble_on_either_loop(valkey_url: str, loop: str) -> None:
    """uvloop raises RuntimeError for it, and asyncio in 3.13.0 AttributeError, which nobody would take for trouble with
    a server: the claim loop would end by it."""

    async def main() -> None:
        connection = await Dialer(valkey_url, 5).dial()
        assert await exchange(connection, [("PING",)]) == [b"PONG"]
        transport: asyncio.Transport = connection._writer.transport  # type: ignore[attr-defined]  # pyright: ignore
        transport.abort()
        await asyncio.sleep(0.05)  # until the loop has closed it, of which nothing can be awaited
        with pytest.raises(FAILURES):
            await exchange(connection, [("PING",)])
        await connection.disconnect(nowait=True)

    factory = asyncio.new_event_loop if loop == "asyncio" else pytest.importorskip("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
