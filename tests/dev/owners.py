"""Other processes that own embedded servers, and what the tests ask of them."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import queue
import select
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import asyncpg
import redis

from fencepost.dev.servers import EmbeddedServers

OWNER = """
import sys
from pathlib import Path
from fencepost.dev.servers import start
servers = start(Path(sys.argv[1]))
print(servers.owned, servers.postgres_url, servers.redis_url, flush=True)
sys.stdin.read()
servers.stop()
"""
"""A program that owns servers until its standard input ends."""
PATIENCE_SECONDS = 10


@contextlib.contextmanager
def owner(state: Path, interpreter: str = sys.executable, **options: Any) -> Generator[subprocess.Popen[str]]:
    """Another process that owns the servers of a folder; its first line of output says that they answer."""
    command = [interpreter, "-c", OWNER, str(state)]
    process: subprocess.Popen[str] = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def first_line(process: subprocess.Popen[str]) -> list[str]:
    """Wait until the owner has its servers: (owned, Postgres URL, Redis URL)."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], 60)
    assert readable, "the owner said nothing for 60 s"
    return process.stdout.readline().split()


def gone(state: Path) -> bool:
    """True once no process of either server is left: each of them inherited its server's lock. Waits for the locks, not
    for a while; False after 10 s.
    """
    released: queue.SimpleQueue[None] = queue.SimpleQueue()

    def wait(path: Path) -> None:
        with path.open() as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
        released.put(None)

    deadline = time.monotonic() + PATIENCE_SECONDS
    locks = sorted(state.glob("[pv]*.lock"))
    for lock in locks:
        threading.Thread(target=wait, args=(lock,), daemon=True).start()
    try:
        for _ in locks:
            released.get(timeout=max(0, deadline - time.monotonic()))
    except queue.Empty:
        return False
    return True


def ask(url: str, statement: str) -> object:
    """One value from a Postgres."""

    async def fetch() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(fetch())


def write(postgres_url: str, redis_url: str) -> None:
    """Leave a row and a key behind."""
    ask(postgres_url, "create table if not exists kept as select 42 as n")
    with redis.Redis.from_url(redis_url) as client:
        client.set("kept", "42")
        client.execute_command("WAITAOF", 1, 0, 10_000)  # in the log of the disk, which everysec promises a second late


def kept(postgres_url: str, redis_url: str) -> tuple[object, object]:
    """What ``write`` left."""
    with redis.Redis.from_url(redis_url) as client:
        return ask(postgres_url, "select n from kept"), client.get("kept")


def children(pid: int) -> list[int]:
    """The process ids of a process' children (Linux)."""
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def postgres_home(embedded: EmbeddedServers) -> Path:
    """Where the Postgres of a pair has its files."""
    pointer = embedded.state_dir / "postgres.home"
    return Path(pointer.read_text()) if pointer.exists() else embedded.state_dir / "postgres"
