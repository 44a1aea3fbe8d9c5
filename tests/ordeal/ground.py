"""A Postgres and a Valkey of an ordeal's own, each of which can be killed and started without the other.

Who ends them: the guards of ``fencepost.dev`` end both when this process stops them or dies.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis import Redis

from fencepost.dev.places import home_pointer
from fencepost.dev.servers import EmbeddedServers, erase, start

GONE_SECONDS = 20.0


def now() -> int:
    """Microseconds since the epoch. The servers are on this machine, so it is the database's clock as well."""
    return time.time_ns() // 1000


class Ground:
    """Both servers. Calls block for as long as a server takes; ``asyncio.to_thread`` them."""

    def __init__(self, folder: Path) -> None:
        self._postgres_dir = folder / "postgres"
        self._valkey_dir = folder / "valkey"
        self._postgres: EmbeddedServers | None = None
        self._valkey: EmbeddedServers | None = None
        self.start_postgres()
        try:
            self.start_valkey()
        except BaseException:
            self.stop()
            raise
        assert self._postgres is not None
        assert self._valkey is not None
        self.postgres_url = self._postgres.postgres_url
        self.redis_url = self._valkey.redis_url

    def start_postgres(self) -> None:
        """Start Postgres with the data that it has."""
        self._postgres = start(self._postgres_dir, valkey=False)

    def start_valkey(self) -> None:
        """Start Valkey with the data that it has."""
        self._valkey = start(self._valkey_dir, postgres=False)

    def kill_postgres(self) -> None:
        """Immediate shutdown: nothing is written any more, the next start recovers from the write-ahead log."""
        pointer = home_pointer(self._postgres_dir, "postgres")
        home = Path(pointer.read_text()) if pointer.exists() else self._postgres_dir / "postgres"
        pid = int((home / "data" / "postmaster.pid").read_text().split()[0])
        self._postgres = _ended(self._postgres, pid, signal.SIGQUIT)

    def kill_valkey(self) -> None:
        """kill -9."""
        with Redis.from_url(self.redis_url) as client:
            found: Any = client.info("server")
        self._valkey = _ended(self._valkey, int(found["process_id"]), signal.SIGKILL)

    def stop(self) -> None:
        """Stop what runs. Idempotent."""
        try:
            if self._postgres is not None:
                self._postgres.stop()
        finally:
            if self._valkey is not None:
                self._valkey.stop()


def _ended(servers: EmbeddedServers | None, pid: int, number: int) -> None:
    assert servers is not None
    os.kill(pid, number)
    until = time.monotonic() + GONE_SECONDS
    while Path(f"/proc/{pid}").exists():  # reaped by its guard
        assert time.monotonic() < until, f"server {pid} did not end within {GONE_SECONDS:g} s of signal {number}"
        time.sleep(0.005)
    servers.stop()  # the guard has ended with its server: this gives back the locks


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="fencepost-ordeal-"))
    folder.chmod(0o711)  # not a private folder: root's Postgres runs as nobody and must reach its data
    (folder / "logs").mkdir()
    return folder


@asynccontextmanager
async def ground() -> AsyncGenerator[tuple[Ground, Path]]:
    """Servers in a temporary folder, and a folder for logs beside them; all is gone when the block is left."""
    folder = _folder()
    made: Ground | None = None
    try:
        made = await asyncio.to_thread(Ground, folder)
        yield made, folder / "logs"
    finally:
        if made is not None:
            made.stop()
        for name in ("postgres", "valkey"):
            erase(folder / name)
        shutil.rmtree(folder)
