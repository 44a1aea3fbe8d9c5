"""Embedded servers live as long as their owner and no longer, whatever way it goes; their data outlives both."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.dev.owners import OWNER, ask, children, first_line, gone, kept, owner, postgres_home, write

from fencepost.dev import places
from fencepost.dev.servers import find_running, start

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="changing accounts needs root")


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


def test_stale_files_of_a_machine_that_went_down_do_not_matter(folder: Path, request: pytest.FixtureRequest) -> None:
    """A postmaster.pid whose process id now belongs to somebody else, sockets without a listener, a half-made
    cluster, an old servers.json.
    """
    state = folder / "state"
    with start(state) as embedded:
        write(embedded.postgres_url, embedded.redis_url)
        published = (state / "servers.json").read_bytes()
        home = postgres_home(embedded)
        pid_file = (home / "data" / "postmaster.pid").read_text()
    lines = pid_file.splitlines()
    account = places.server_account()
    # Of the same account, for Postgres knows by itself that another account's process is no server of this data.
    stranger = subprocess.Popen(["/bin/sleep", "300"], cwd="/", user=account.uid if account else None)
    request.addfinalizer(stranger.wait)
    request.addfinalizer(stranger.kill)
    stale = "\n".join([str(stranger.pid), *lines[1:]]) + "\n"
    (home / "data" / "postmaster.pid").write_text(stale)
    (home / "run" / ".s.PGSQL.5432.lock").write_text(stale)
    (home / "run" / ".s.PGSQL.5432").touch()
    (home / "data.new").mkdir()
    (state / "valkey" / "run" / "valkey.sock").touch()
    (state / "servers.json").write_bytes(published)
    assert find_running(state) is None
    with start(state) as embedded:
        assert kept(embedded.postgres_url, embedded.redis_url) == (42, b"42")


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
