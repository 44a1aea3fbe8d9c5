"""Every implementation of the queue behind one face, on a clock that the test moves."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Protocol, cast

import pytest
from redis.asyncio import Redis

from fencepost_queue.lane import Lane
from fencepost_queue.memory import MemoryServer
from fencepost_queue.message import Kind, Message, State
from fencepost_queue.protocol import Queue
from fencepost_queue.valkey import ValkeyQueue

MESSAGES = (Path(__file__).parent / "messages.lua").read_text()
SETS = ("ticks", "steps", "leases", "delays", "refused")
START_MS = 1_700_000_000_000


class Clock:
    """Milliseconds that pass only when told to."""

    def __init__(self) -> None:
        self.now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms

    def pass_ms(self, milliseconds: int) -> None:
        self.now_ms += milliseconds


class Server(Protocol):
    """One namespace on one implementation."""

    clock: Clock

    def client(self, owner: str) -> Queue: ...

    async def flush(self) -> None:
        """Lose all of the namespace's data."""
        ...

    async def move(self, queue: str) -> None:
        """What the lane has was made by another server than the one that has it now."""
        ...

    async def messages(self, queue: str) -> dict[str, Message]:
        """The lane's messages as they stand."""
        ...

    async def bells(self, queue: str) -> dict[Kind, int]: ...

    async def close(self) -> None: ...


class InMemory:
    def __init__(self) -> None:
        self.clock = Clock()
        self.server = MemoryServer(self.clock)

    def client(self, owner: str) -> Queue:
        return self.server.client(owner)

    async def flush(self) -> None:
        self.server.flush()

    async def move(self, queue: str) -> None:
        self.server.restore(self.server.snapshot())

    async def messages(self, queue: str) -> dict[str, Message]:
        return dict(self.server.lanes.get(queue, Lane(queue)).messages)

    async def bells(self, queue: str) -> dict[Kind, int]:
        return dict(self.server.lanes.get(queue, Lane(queue)).bells)

    async def close(self) -> None:
        return None


class OnServer:
    def __init__(self, url: str, namespace: str) -> None:
        self.clock = Clock()
        self.url = url
        self.namespace = namespace
        self.raw: Any = cast(Any, Redis).from_url(url)
        self._clients: list[ValkeyQueue] = []

    def client(self, owner: str) -> ValkeyQueue:
        queue = ValkeyQueue(self.url, self.namespace, owner=owner, clock_ms=self.clock)
        self._clients.append(queue)
        return queue

    def key(self, queue: str, name: str) -> str:
        return f"fp:{{{self.namespace}/{queue}/0}}:{name}"

    async def flush(self) -> None:
        keys = [key async for key in self.raw.scan_iter(match=f"fp:*{self.namespace}*", count=1000)]
        if keys:
            await self.raw.delete(*keys)

    async def move(self, queue: str) -> None:
        await self.raw.set(self.key(queue, "server"), "another")

    async def messages(self, queue: str) -> dict[str, Message]:
        return (await self.state(queue))[0][0]

    async def sets(self, queue: str) -> dict[str, dict[str, int]]:
        """The sorted sets as they stand."""
        return (await self.state(queue))[0][1]

    async def bells(self, queue: str) -> dict[Kind, int]:
        return (await self.state(queue))[0][2]

    async def state(self, *queues: str) -> list[tuple[dict[str, Message], dict[str, dict[str, int]], dict[Kind, int]]]:
        """Messages, sorted sets and unheard rings of these queues, in one round trip."""
        calls = self.raw.pipeline(transaction=False)
        for queue in queues:
            calls.eval(MESSAGES, 1, self.key(queue, "messages"))
            for name in SETS:
                calls.zrange(self.key(queue, name), 0, -1, withscores=True)
            for kind in Kind:
                calls.llen(self.key(queue, f"bell.{kind.value}s"))
        replies = iter(await calls.execute())
        found: list[tuple[dict[str, Message], dict[str, dict[str, int]], dict[Kind, int]]] = []
        for _ in queues:
            messages = {row[0].decode(): _message(row[1:]) for row in next(replies)}
            sets = {name: {key.decode(): int(score) for key, score in next(replies)} for name in SETS}
            found.append((messages, sets, {kind: next(replies) for kind in Kind}))
        return found

    async def close(self) -> None:
        for queue in self._clients:
            await queue.close()
        await self.flush()
        await self.raw.aclose()


def _message(row: list[Any]) -> Message:
    state = {b"r": State.ready, b"l": State.leased, b"d": State.delayed}[row[0]]
    (
        at,
        since,
        token,
        crashes,
        proofs,
        conflicts,
        rounds,
        recover,
        dirty,
        dirty_recover,
        withdrawn,
        body,
        refused,
        why,
        forgiven,
        begun,
    ) = row[1:]
    counts = (crashes, proofs, conflicts, rounds)
    marks = (recover == 1, dirty == 1, dirty_recover == 1, withdrawn == 1)
    told = (refused.decode(), why.decode())
    return Message(state, at, since, token.decode(), body, *counts, *marks, *told, forgiven, begun)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis of the distribution's, on a socket of its own."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("redis-server is not installed here: the suite ran on the model and on Valkey only")
    with tempfile.TemporaryDirectory(prefix="fencepost-redis-") as folder:
        path = Path(folder) / "socket"
        command = [
            binary,
            "--port",
            "0",
            "--unixsocket",
            str(path),
            "--dir",
            folder,
            "--save",
            "",
            "--appendonly",
            "no",
        ]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert server.stdout is not None
        try:
            while "eady to accept connections" not in (line := server.stdout.readline()):
                assert line, f"redis-server ended: {server.wait()}"
            yield f"unix://{path}"
        finally:
            server.terminate()
            server.wait(30)
            server.stdout.close()


@pytest.fixture
async def on_valkey(valkey_url: str, namespace: str) -> AsyncIterator[OnServer]:
    server = OnServer(valkey_url, namespace)
    yield server
    await server.close()


@pytest.fixture(params=["memory", "valkey", "redis"])
async def server(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[Server]:
    """One namespace of each implementation in turn."""
    made: Server
    if request.param == "memory":
        made = InMemory()
    else:
        made = OnServer(request.getfixturevalue(f"{request.param}_url"), namespace)
    yield made
    await made.close()
