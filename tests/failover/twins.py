"""Two Postgres servers, one of which follows the other by streaming replication, without being waited for.

``cut_off`` makes the one fall behind, ``take_over`` ends the first and promotes the second: what was committed in
between is lost, as at a fail-over of an asynchronous standby.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg

from fencepost.dev.guarded import Guarded
from fencepost.dev.places import server_account, server_home
from fencepost.dev.postgres import start_postgres

PATIENCE_SECONDS = 60.0


class Twins:
    """``url`` leads to whichever of the two takes writes; ``first`` and ``second`` to one of them."""

    def __init__(self, folder: Path) -> None:
        self._folders = folder / "first", folder / "second"
        self._servers: list[Guarded] = []
        self.first: str = ""
        self.second: str = ""

    @property
    def url(self) -> str:
        """Both, as libpq and asyncpg understand it."""
        hosts = ",".join(_socket(url) for url in (self.first, self.second))
        return f"postgresql://postgres@/postgres?host={hosts}&port=5432,5432&target_session_attrs=read-write"

    async def start_first(self) -> None:
        """The one that takes writes."""
        self.first = await asyncio.to_thread(self._start, 0)

    async def start_second(self) -> None:
        """A copy of the first, which follows it from now on."""
        (row,) = await asked(self.first, "SELECT setting FROM pg_config WHERE name = 'BINDIR'")
        await asyncio.to_thread(self._copy, Path(row["setting"]))
        self.second = await asyncio.to_thread(self._start, 1)
        await self.caught_up()

    async def caught_up(self) -> None:
        """Until the second has all that the first has committed."""
        (row,) = await asked(self.first, "SELECT pg_current_wal_lsn()::text AS lsn")
        await until(
            lambda: asked(self.second, f"SELECT 1 WHERE pg_last_wal_replay_lsn() >= '{row['lsn']}'"),
            "the standby has caught up",
        )

    async def cut_off(self) -> None:
        """The second gets nothing more."""
        await asked(self.second, "ALTER SYSTEM SET primary_conninfo = ''")
        await asked(self.second, "SELECT pg_reload_conf()")
        await until(
            lambda: asked(self.second, "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_stat_wal_receiver)"),
            "the standby receives nothing more",
        )

    async def take_over(self) -> None:
        """The first is gone, the second takes writes. What it had not received is lost."""
        await asyncio.to_thread(self._servers[0].close)
        (row,) = await asked(self.second, "SELECT pg_promote(true, 60) AS promoted")
        assert row["promoted"], "the standby was not promoted"

    async def close(self) -> None:
        """End both."""
        for server in self._servers:
            await asyncio.to_thread(server.close)

    def _start(self, index: int) -> str:
        self._folders[index].mkdir(mode=0o711, exist_ok=True)
        server, url = start_postgres(self._folders[index])
        self._servers.append(server)
        return url

    def _copy(self, programs: Path) -> None:
        account = server_account()
        self._folders[1].mkdir(mode=0o711)
        data = server_home(self._folders[1], "postgres", account) / "data"
        called = [str(programs / "pg_basebackup"), "--host", _socket(self.first), "--username", "postgres"]
        called += ["--pgdata", str(data), "--write-recovery-conf", "--checkpoint", "fast", "--no-sync"]
        who: dict[str, Any] = {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}
        subprocess.run(called, check=True, cwd="/", env={"LC_ALL": "C"}, **who)


def _socket(url: str) -> str:
    (folder,) = parse_qs(urlsplit(url).query)["host"]
    return folder


async def asked(url: str, sql: str) -> list[Any]:
    """One statement on a connection of its own."""
    connection: Any = await asyncpg.connect(url)
    try:
        found: list[Any] = await connection.fetch(sql)
        return found
    finally:
        await connection.close()


async def until(ask: Callable[[], Awaitable[Any]], what: str) -> None:
    """Until the answer is true."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await ask():  # noqa: ASYNC110 - a server tells nobody
            await asyncio.sleep(0.02)
    assert what
