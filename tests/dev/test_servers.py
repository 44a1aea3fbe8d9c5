"""Embedded servers: set up as production would, kept apart, and clear about what stands in their way."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path

import pytest
import redis
from tests.dev.owners import ask, gone, kept, postgres_home, write

from fencepost.dev import places, postgres, servers, valkey
from fencepost.dev.servers import ServersError, erase, find_running, start

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="changing accounts needs root")


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


def test_two_projects_live_side_by_side(folder: Path) -> None:
    """Each with servers and data of its own."""
    with start(folder / "one") as one, start(folder / "two") as two:
        write(one.postgres_url, one.redis_url)
        assert ask(two.postgres_url, "select to_regclass('kept')") is None
        with redis.Redis.from_url(two.redis_url) as client:
            assert client.get("kept") is None


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
    with pytest.raises(ServersError, match="run this in a folder that you may write"):
        start(folder / "file" / "state")


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
