"""What may stand in a server's URL, and that nothing of one that cannot be read is ever shown."""

from __future__ import annotations

import asyncio
import traceback
import uuid
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from fencepost import errors, sync
from fencepost.cli.main import cli
from fencepost.client import Client
from fencepost.config import Config, ConfigError, load_config, redacted_url
from fencepost.server_urls import IGNORED, REFUSED, TAKEN, Kind, UrlError, read
from fencepost_store import migrations
from fencepost_store.translation import where

SECRET = "hunter2"
HOSTILE = [f"x{mark}{SECRET}{mark}y" for mark in "/?#[]@ \t\n\\%:&=,;'\"é"] + [
    f"{SECRET}/", f"{SECRET}?", f"{SECRET}#", f"#{SECRET}", f"?a={SECRET}", f"p@{SECRET}/x", f"/{SECRET}?x=1#{SECRET}"
]  # fmt: skip
ID = "01a22d35-60b2-759b-9e04-ded169881572"
COMMANDS = {
    "config show": "", "config check": "", "db migrate": "", "db check": "", "doctor": "",
    "db prune": "--older-than 30d",
    "start": "flow", "runs list": "", "runs find": "flow key",
    "runs show": ID, "runs events": ID, "runs streams": ID, "runs stream": f"{ID} x",
    "runs why": ID, "runs cancel": ID, "runs terminate": ID, "runs export": ID, "runs result": ID,
    "replay": "--open --module tests.kills.kill_flows",
    "hooks resume": "token 1", "queue depth": "", "queue peek": "default", "worker": "fencepost.errors",
    "dev": "fencepost.errors",
}  # fmt: skip
"""With the least that each needs; the demo has servers of its own."""


def leaves(command: click.Command, path: str = "") -> list[str]:
    """All commands that there are."""
    if not isinstance(command, click.Group):
        return [path.strip()]
    context = click.Context(command)
    found = [(name, command.get_command(context, name)) for name in command.list_commands(context)]
    return [leaf for name, one in found if one is not None for leaf in leaves(one, f"{path} {name}")]


def test_each_command_is_asked() -> None:
    assert sorted([*COMMANDS, "demo"]) == sorted(leaves(cli))


def config_of(name: str, url: str) -> Config:
    """By hand, past the reader of files and variables."""
    if name == "database_url":
        return Config(database_url=url, redis_url="redis://127.0.0.1:1/0")
    return Config(database_url="postgresql://u@127.0.0.1:1/d", redis_url=url)


def told(error: BaseException) -> str:
    """All that a traceback would print."""
    return "".join(traceback.format_exception(error)) + repr(error)


@pytest.mark.parametrize("setting", ["DATABASE_URL", "REDIS_URL"])
@pytest.mark.parametrize("password", [one for one in HOSTILE if any(mark in one for mark in "/?#")])
def test_no_command_shows_a_password_that_breaks_its_url(
    password: str, setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in its output and not in a traceback; it says to percent-encode."""
    monkeypatch.chdir(tmp_path)
    scheme = "postgresql" if setting == "DATABASE_URL" else "redis"
    environ = {f"FENCEPOST_{setting}": f"{scheme}://u:{password}@127.0.0.1:1/0"}
    for command, more in COMMANDS.items():
        result = CliRunner().invoke(cli, [*command.split(), *more.split()], env=environ)
        shown = result.output + (told(result.exception) if result.exception else "")
        assert SECRET not in shown, (command, shown)
        assert result.exit_code == 2, (command, shown)
        assert "percent-encode" in result.output, (command, shown)


@pytest.mark.parametrize("password", HOSTILE)
@pytest.mark.parametrize("name", ["database_url", "redis_url"])
async def test_no_client_shows_one(password: str, name: str) -> None:
    """However its settings come; what can be read may be tried, and is not reached."""
    scheme = "postgresql" if name == "database_url" else "redis"
    url = f"{scheme}://u:{password}@127.0.0.1:1/0"
    config = config_of(name, url)

    async def open_client(client: Client) -> None:
        async with client:
            pass

    def open_sync() -> None:
        with sync.Client(config):
            pass

    for attempt in (
        lambda: open_client(Client(database_url=config.database_url, redis_url=config.redis_url)),
        lambda: open_client(Client(config)),
        lambda: asyncio.to_thread(open_sync),
    ):
        (raised,) = await asyncio.gather(attempt(), return_exceptions=True)
        assert isinstance(raised, (ConfigError, errors.ServerUnavailable)), raised
        assert SECRET not in told(raised)
    assert SECRET not in repr(config)


MARKS = st.text(st.sampled_from("/?#[]@: %=&,ab\\"), max_size=8)


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.sampled_from("/?#[]@: %=&,ab\\"), max_size=8), st.text(st.sampled_from("/?#[]@: %=&,ab\\"), max_size=8)
)
def test_a_password_is_in_nothing_that_is_shown(before: str, behind: str) -> None:
    """Of any form, in both kinds of URL; and what the store says of where it is."""
    kinds: list[tuple[Kind, str]] = [("postgres", "postgresql"), ("redis", "redis")]
    for kind, scheme in kinds:
        url = f"{scheme}://user:{before}{SECRET}{behind}@host:1/0"
        assert SECRET not in redacted_url(url)
        assert SECRET not in where(url)
        problem = ""
        try:
            found = read(url, kind)
        except UrlError as error:
            problem = told(error)
        else:
            assert SECRET not in found.shown
            assert SECRET in found.driver
        assert SECRET not in problem


POSTGRES = {
    "postgresql://u:p@a:5432,b:5433/d?target_session_attrs=primary": None,
    "postgres://u@[::1]:5432/d": "postgresql://u@[::1]:5432/d",
    "postgresql:///d?host=/tmp&port=5432": None,
    "postgresql://h/d?connect_timeout=10": "postgresql://h/d",
    "postgresql://h/d?sslmode=require&channel_binding=require": "postgresql://h/d?sslmode=require",
    "postgresql://h/d?keepalives=1&keepalives_idle=30&application_name=me": "postgresql://h/d",
    "postgresql://h/d?options=-c%20search_path%3Dx": None,
    "postgresql://h/d?service=mine": None,
    "postgresql://h/d?passfile=/x": None,
}
REDIS = {
    "valkey://h:6379/1": "redis://h:6379/1",
    "valkeys://h": "rediss://h",
    "unix:///run/v.sock?db=3": None,
    "redis://h?decode_responses=true&protocol=3&socket_timeout=1&health_check_interval=5&max_connections=2": "redis://h",
    "rediss://h/0?ssl_cert_reqs=none": None,
    "redis://u:p@h/0?client_name=me": None,
}


@pytest.mark.parametrize(("url", "driver"), (POSTGRES | REDIS).items())
def test_what_is_taken_translated_and_ignored(url: str, driver: str | None) -> None:
    """What is ignored is told, by name and with the reason."""
    kind: Kind = "postgres" if url in POSTGRES else "redis"
    found = read(url, kind)
    assert found.driver == (driver or url)
    ignored = [name for name in IGNORED[kind] if f"?{name}=" in url or f"&{name}=" in url]
    assert sorted(note.split()[2] for note in found.notes) == sorted(ignored)


@pytest.mark.parametrize(
    ("kind", "url", "words"),
    [
        ("postgres", "postgresql://h/d?statement_timeout=5", "statement_timeout is unknown; .*options=-c"),
        ("postgres", "postgresql://h/d?replication=true", "replication cannot be used"),
        ("postgres", "postgresql://h:port/d", "host or port"),
        ("postgres", "postgresql://h:99999/d", "host or port"),
        ("postgres", "host=h password=hunter2", "begins with postgresql://"),
        ("redis", "localhost:6379", "begins with redis://.*such as redis://host:6379/0"),
        ("redis", "redis://h/x", "must be one number"),
        ("redis", "redis://h/1?db=2", "must be one number"),
        ("redis", "redis://a,b/0", "host or port"),
        ("redis", "redis://h?colour=red", "colour is unknown; known are"),
        ("redis", "redis://h?ssl_cert_reqs=none", "rediss://"),
        ("redis", "unix://", "path of a socket"),
    ],
)
def test_what_is_refused_is_refused_with_the_way_out(kind: Kind, url: str, words: str) -> None:
    """By the reader, and so by every command and client."""
    with pytest.raises(UrlError, match=words):
        read(url, kind)
    name = "database_url" if kind == "postgres" else "redis_url"
    with pytest.raises(ConfigError, match=words):
        load_config(environ={f"FENCEPOST_{name.upper()}": url})
    result = CliRunner().invoke(cli, ["config", "check"], env={f"FENCEPOST_{name.upper()}": url})
    assert (result.exit_code, SECRET in result.output) == (2, False)


def test_config_check_tells_what_is_ignored() -> None:
    environ = {
        "FENCEPOST_DATABASE_URL": "postgresql://h/d?connect_timeout=3",
        "FENCEPOST_REDIS_URL": "valkey://h?timeout=2",
    }
    result = CliRunner().invoke(cli, ["config", "check"], env=environ)
    assert result.exit_code == 0
    assert "note: database_url: the option connect_timeout is ignored: use the setting" in result.output
    assert "note: redis_url: the option timeout is ignored" in result.output


def test_each_option_has_one_fate() -> None:
    kinds: tuple[Kind, ...] = ("postgres", "redis")
    for kind in kinds:
        fates = [*TAKEN[kind], *IGNORED[kind], *REFUSED[kind]]
        assert len(fates) == len(set(fates))


async def test_servers_take_what_the_tables_say(postgres_url: str, valkey_url: str) -> None:
    """Each ignored option, on real servers: a client works as without it."""
    more = "&".join(f"{name}=1" for name in IGNORED["postgres"])
    also = "&".join(f"{name}=1" for name in IGNORED["redis"])
    namespace = f"u_{uuid.uuid4().hex[:16]}"
    await migrations.migrate(postgres_url, namespace)
    config = Config(
        database_url=f"{postgres_url}&{more}", redis_url=f"{valkey_url}&{also}", namespace=namespace, env="test"
    )
    async with Client(config) as client:
        run = await client.start("flow", 1)
        assert (await run.status()).id == run.id


async def test_connect_timeout_seconds_bounds_the_way_to_postgres() -> None:
    """A server that takes the connection and says nothing."""
    kept: list[asyncio.StreamWriter] = []  # one that nobody holds closes its connection, from Python 3.13 on
    silent = await asyncio.start_server(lambda reader, writer: kept.append(writer), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    config = Config(
        database_url=f"postgresql://u@127.0.0.1:{port}/d?sslmode=disable",
        redis_url="redis://127.0.0.1:1/0",
        connect_timeout_seconds=0.2,
    )
    async with asyncio.timeout(5):
        with pytest.raises(errors.ServerUnavailable, match="did not answer in time"):
            async with Client(config):
                pass
    silent.close()
