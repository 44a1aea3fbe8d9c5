"""Valkeys whose role and data a test changes: each on a port of its own, killed and started again as it likes."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from redis import Redis

from fencepost.dev import valkey

DUMP = "dump.rdb"


class Server:
    """One server. ``data``: its folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port: int = found.getsockname()[1]
        self._process: subprocess.Popen[str] | None = None
        self.raw: Any = cast(Any, Redis)(port=self.port)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """With the dump that is in its folder, if there is one."""
        program = str(valkey._program())  # pyright: ignore[reportPrivateUsage]
        settings = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self.data), "save": "", "appendonly": "no"}
        settings |= {"dbfilename": DUMP, "repl-diskless-sync-delay": "0"}
        options = [part for name, value in settings.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen([program, *options], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        while "eady to accept connections" not in (line := self._process.stdout.readline()):
            assert line, f"the server ended: {self._process.wait()}"

    def kill(self) -> None:
        """SIGKILL: what is not in the dump is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def follow(self, primary: Server) -> None:
        """Become a replica, and wait until it has what the primary has."""
        self.raw.replicaof("127.0.0.1", primary.port)
        while self.raw.info("replication").get("master_link_status") != "up":
            primary.raw.ping()
        primary.raw.wait(1, 10_000)

    def lead(self) -> None:
        """Become a primary, with what it has."""
        self.raw.replicaof("NO", "ONE")


@contextmanager
def servers(folder: Path, count: int) -> Generator[list[Server]]:
    """So many of them, running, each without data."""
    made = [Server(folder / f"valkey{n}") for n in range(count)]
    try:
        for one in made:
            one.data.mkdir()
            one.start()
        yield made
    finally:
        for one in made:
            one.kill()
