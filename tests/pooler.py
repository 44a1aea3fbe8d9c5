"""A real PgBouncer before the test's Postgres, in transaction mode, if this machine has one."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fencepost.dev.postgres import DATABASE, USER

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")


def knows_prepared_statements() -> bool:
    """Whether it is 1.21 or later."""
    if PGBOUNCER is None:
        return False
    said = subprocess.run([PGBOUNCER, "--version"], capture_output=True, text=True, check=True).stdout
    major, minor = said.split()[1].split(".")[:2]
    return (int(major), int(minor)) >= (1, 21)


@asynccontextmanager
async def pooler(
    postgres_url: str, *, servers: int = 3, mode: str = "transaction", max_prepared: int | None = None
) -> AsyncGenerator[str]:
    """The URL that leads through it. ``servers``: its connections to Postgres. ``max_prepared``: the statements that it
    knows; None: those of its default."""
    assert PGBOUNCER is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="fencepost-pooler-"))
    host = parse_qs(urlsplit(postgres_url).query)["host"][0]
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n{DATABASE} = host={host} port=5432 user={USER}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = {mode}\ndefault_pool_size = {servers}\nmax_client_conn = 500\n"
        + ("" if max_prepared is None else f"max_prepared_statements = {max_prepared}\n")
    )
    os.chmod(folder, 0o755)  # it does not run as root
    as_root: dict[str, Any] = {"user": "nobody"} if os.geteuid() == 0 else {}
    process = await asyncio.create_subprocess_exec(
        PGBOUNCER, str(config), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, **as_root
    )
    try:
        async with asyncio.timeout(30):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    assert process.returncode is None, "pgbouncer has ended"
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    break
        yield f"postgresql://{USER}@127.0.0.1:{port}/{DATABASE}?sslmode=disable"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        shutil.rmtree(folder)
