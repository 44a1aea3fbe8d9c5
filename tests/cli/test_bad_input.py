"""Every bad input: what is said, how it ends, and that nothing was half written."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import redis
from tests.cli.terminal import Terminal, write_flows


def runs(terminal: Terminal) -> list[object]:
    """What the namespace holds."""
    found = terminal("runs", "list", "--json")
    assert found.exit_code == 0, found.output
    return list(json.loads(found.stdout)["runs"])


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("start", "{flows}:nosuch"), 3, ["no workflow 'nosuch'", "fulfil"]),
        (("start", "nosuch", "--module", "{flows}"), 3, ["no workflow 'nosuch'", "fulfil"]),
        (("start", "nomodule:fulfil"), 2, ["there is no module 'nomodule'", "PYTHONPATH"]),
        (("start", "{flows}:fulfil"), 2, ["missing a required argument: 'order'"]),
        (("start", "{flows}:fulfil", "{{}}"), 2, ["argument 'order'", "missing required field `id`", "{{}}"]),
        (("start", "{flows}:fulfil", '{{"id": "x"}}'), 2, ["argument 'order'", "Expected `int`, got `str`", "$.id"]),
        (("start", "{flows}:fulfil", "1", "2"), 2, ["too many positional arguments"]),
        (("start", "{flows}:fulfil", "--kwargs", '{{"ordr": 1}}'), 2, ["'ord"]),
        (("start", "fulfil", "{{id: 42}}"), 2, ["argument 1 is not JSON", "{{id: 42}}", "for a string write"]),
        (("start", "fulfil", "--kwargs", "[1]"), 2, ["--kwargs is not a JSON object"]),
        (("start", "fulfil", "--kwargs", '{{"key": 1}}'), 2, ["pass them by position"]),
        (
            ("start", "fulfil", "1", "--delay", "5parsecs"),
            2,
            ["'--delay'", "length = '5parsecs'", "no length of time", "'30s'"],
        ),
        (("start", "fulfil", "1", "--delay", "-1"), 2, ["length = -1.0", "0 s or more"]),
        (("start", "fulfil", "1", "--wait", "--timeout", "nan"), 2, ["'--timeout'", "0 s or more"]),
        (("start", "fulfil", "1", "--strict"), 2, ["--strict", "--key"]),
        (("start", "fulfil", "1", "--attribute", "1x=2"), 2, ["attribute '1x'", "a letter or _"]),
        (("start", "fulfil", '"\\ud800"'), 2, ["arguments of fulfil[0][0]", "cannot be written as UTF-8"]),
    ],
)
def test_a_start_with_bad_input_writes_nothing(
    terminal: Terminal, flows: str, args: tuple[str, ...], code: int, words: list[str]
) -> None:
    """Unknown workflow, wrong arguments, no JSON, a value that no log can hold."""
    told = terminal(*(arg.format(flows=flows) for arg in args))
    assert told.exit_code == code, told.output
    for word in words:
        assert word.format() in told.stderr
    assert "Traceback" not in told.stderr
    assert runs(terminal) == []


def test_a_payload_over_the_limit(terminal: Terminal) -> None:
    """The message has the size, the bound and the way out."""
    told = terminal(
        "start", "fulfil", json.dumps("x" * 2000), FENCEPOST_PAYLOAD_BYTES_MAX="1024", FENCEPOST_BATCH_BYTES_MAX="1024"
    )
    assert told.exit_code == 2
    assert "the limit is 1,024" in told.stderr
    assert "pass a reference" in told.stderr
    assert runs(terminal) == []


def test_a_signal_that_nobody_waits_for(terminal: Terminal) -> None:
    """Not found."""
    told = terminal("hooks", "resume", "approve:nobody", "{}")
    assert told.exit_code == 3
    assert "no run listens on the hook token 'approve:nobody'" in told.stderr


@pytest.mark.parametrize("command", ["show", "events", "why", "result"])
def test_a_run_that_does_not_exist(terminal: Terminal, command: str) -> None:
    """Not found, with the id."""
    unknown = "01900000-0000-7000-8000-000000000000"
    told = terminal("runs", command, unknown)
    assert told.exit_code == 3
    assert unknown in told.stderr


def test_the_same_key_with_other_arguments(terminal: Terminal) -> None:
    """The first run, or a refusal if that was asked for."""
    first = json.loads(terminal("start", "f", "1", "--key", "k", "--json").stdout)
    again = json.loads(terminal("start", "f", "2", "--key", "k", "--json").stdout)
    assert (first["created"], again["created"], again["id"]) == (True, False, first["id"])
    told = terminal("start", "f", "2", "--key", "k", "--strict")
    assert told.exit_code == 5
    assert first["id"] in told.stderr
    assert len(runs(terminal)) == 1


NEEDS_SERVERS = [("runs", "list"), ("queue", "depth"), ("start", "x"), ("worker", "{flows}"), ("db", "check")]


@pytest.mark.parametrize("args", NEEDS_SERVERS, ids=" ".join)
def test_no_servers_are_named_and_none_run(bare: Terminal, flows: str, args: tuple[str, ...]) -> None:
    """The message says how to name some."""
    told = bare(*(arg.format(flows=flows) for arg in args))
    assert told.exit_code == 4
    assert "fencepost dev MODULE" in told.stderr
    assert "FENCEPOST_DATABASE_URL" in told.stderr


@pytest.mark.parametrize("args", NEEDS_SERVERS, ids=" ".join)
def test_no_server_answers(bare: Terminal, flows: str, args: tuple[str, ...], tmp_path: Path) -> None:
    """Exit code 4, the address, no password, no traceback."""
    told = bare(
        *(
            "--database-url",
            f"postgresql://ann:hidden@/db?host={tmp_path}",
            "--redis-url",
            f"unix://{tmp_path}/none.sock",
        ),
        *(arg.format(flows=flows) for arg in args),
    )
    assert told.exit_code == 4, told.output
    assert str(tmp_path) in told.stderr
    assert "hidden" not in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize(("old", "new"), [("postgres@", "nobody_we_know@"), ("/postgres?", "/no_such_database?")])
@pytest.mark.parametrize("args", [("runs", "list"), ("db", "migrate"), ("worker", "{flows}")], ids=" ".join)
def test_postgres_refuses(terminal: Terminal, flows: str, args: tuple[str, ...], old: str, new: str) -> None:
    """A role or database that does not exist: refused, with what was asked for."""
    url = terminal.environ["FENCEPOST_DATABASE_URL"]
    assert old in url
    told = terminal("--database-url", url.replace(old, new), *(arg.format(flows=flows) for arg in args))
    assert told.exit_code == 5, told.output
    assert new.strip("@/?") in told.stderr
    assert "check user, password, database" in told.stderr


@pytest.mark.parametrize(
    "args", [("runs", "list"), ("start", "x"), ("worker", "{flows}"), ("db", "check")], ids=" ".join
)
def test_a_schema_that_is_missing(terminal: Terminal, flows: str, args: tuple[str, ...]) -> None:
    """Every command names the one that makes it."""
    told = terminal("--namespace", "t_never_made", *(arg.format(flows=flows) for arg in args))
    assert told.exit_code == 5, told.output
    assert "fencepost db migrate" in told.stderr


def test_a_schema_that_is_old_or_newer(terminal: Terminal, namespace: str) -> None:
    """By the versions that it records."""

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(terminal.environ["FENCEPOST_DATABASE_URL"])
        await connection.execute(statement)
        await connection.close()

    assert terminal("db", "check").exit_code == 0
    asyncio.run(execute(f"INSERT INTO {namespace}.schema_version (version, name) VALUES (999, 'from_the_future')"))
    newer = terminal("runs", "list")
    assert (newer.exit_code, "upgrade fencepost" in newer.stderr) == (5, True)
    asyncio.run(execute(f"DELETE FROM {namespace}.schema_version"))
    old = terminal("db", "check")
    assert (old.exit_code, "fencepost db migrate" in old.stderr) == (5, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lease_secnds = 3\n", ["lease_secnds", "lease_seconds"]),
        ("lease_seconds = -3\n", ["lease_seconds = -3", "> 0"]),
        ("lease_seconds = 'x\n", ["is not TOML"]),
        ("lease_seconds = 3\nrenewal_seconds = 2\n", ["renewal_seconds = 2", "less than half"]),
        ("database_url = 'mysql://x'\n", ["database_url", "postgresql://"]),
        ("database_url = 'postgresql://u:hidden@h:port/x'\n", ["database_url", "percent-encode"]),
        ("namespace = 'Shop'\n", ["'Shop'", "lower-case letters"]),
        ("queues = ['a b']\n", ["'a b'", "letters, digits", "`queues[0]`"]),
        ("payload_codecs = ['a b']\n", ["'a b'", "MODULE:NAME"]),
        ("env = 'prod'\n", ["'prod'", "development, production, test"]),
        ("[worker]\nprocesses = 3\n", ["'worker'", "at the top level"]),
        ("env = 'production'\n", ["FENCEPOST_DATABASE_URL"]),
    ],
)
@pytest.mark.parametrize("args", [("config", "check"), ("runs", "list"), ("worker", "{flows}")], ids=" ".join)
def test_a_broken_configuration(bare: Terminal, flows: str, args: tuple[str, ...], text: str, words: list[str]) -> None:
    """Exit code 2, with the file, the setting, the bound."""
    (bare.folder / "mine.toml").write_text(text)
    told = bare("--config", "mine.toml", *(arg.format(flows=flows) for arg in args))
    assert told.exit_code == 2, told.output
    for word in words:
        assert word in told.stderr
    assert "hidden" not in told.stderr
    assert told.stdout == ""


def test_a_configuration_in_another_encoding(bare: Terminal) -> None:
    """A byte order mark is nothing; UTF-16 is said in words."""
    (bare.folder / "marked.toml").write_bytes(b"\xef\xbb\xbf" + b"concurrency = 3\n")
    shown = bare("--config", "marked.toml", "config", "show", "--changed", "--json").stdout
    assert json.loads(shown)["settings"] == {"concurrency": 3}
    (bare.folder / "wide.toml").write_bytes("concurrency = 3\n".encode("utf-16"))
    told = bare("--config", "wide.toml", "config", "show")
    assert (told.exit_code, "no UTF-8 text (at byte 0)" in told.stderr) == (2, True)


def test_an_option_of_the_roots_behind_the_command(bare: Terminal) -> None:
    """It says where it stands."""
    for args in (("runs", "list", "--namespace", "x"), ("config", "check", "--log-level", "info")):
        told = bare(*args)
        assert told.exit_code == 2
        assert f"It stands before the command: fencepost {args[2]} ..." in told.stderr
    assert "stands before" not in bare("runs", "list", "--nonsense").stderr


def test_a_module_that_is_named_as_a_path(terminal: Terminal) -> None:
    """What is offered can be imported; the reason is said once, also by a supervisor."""
    for path, name in (("./flows_x.py", "flows_x"), ("flows_x.py", "flows_x"), ("a/b.py", "a.b"), ("../c", "c")):
        told = terminal.command("worker", path)
        assert told.returncode == 2
        assert told.stderr.count("is a path") == 1
        assert f"such as '{name}'" in told.stderr


def test_what_could_not_be_printed_is_said_without_the_systems_number(terminal: Terminal) -> None:
    """The run began."""
    with open("/dev/full", "w") as full:
        told = subprocess.run(
            [sys.executable, "-m", "fencepost", "start", "x"],
            cwd=terminal.folder, env={**os.environ, **terminal.environ}, stdout=full, stderr=subprocess.PIPE,
            text=True, timeout=60, check=False,
        )  # fmt: skip
    assert told.returncode == 1
    assert told.stderr.startswith("fencepost: standard output cannot be written")


def test_a_configuration_that_is_not_there(bare: Terminal) -> None:
    """The file is named."""
    told = bare("--config", "nowhere.toml", "config", "check")
    assert (told.exit_code, "nowhere.toml" in told.stderr) == (2, True)


MODULES = {
    "nothing": ("x = 1\n", ["registers no workflow and no step"]),
    "broken": ("def f(:\n", ["SyntaxError", "broken.py"]),
    "raises": ("def f():\n    1 / 0\nf()\n", ["ZeroDivisionError", "raises.py:2 in f"]),
    "exits": ("raise SystemExit(3)\n", ["SystemExit: 3"]),
    "needs": ("import not_installed_at_all\n", ["needs 'not_installed_at_all'", "needs.py:1"]),
    "twice": (
        "from fencepost import step\n@step\nasync def a(): ...\n@step(name='a')\nasync def b(): ...\n",
        ["registered as the step 'a'"],
    ),
}


@pytest.mark.parametrize(
    ("name", "options"), [*((name, ("--no-supervisor",)) for name in MODULES), ("nothing", ()), ("raises", ())]
)
def test_modules_that_cannot_be_used(terminal: Terminal, name: str, options: tuple[str, ...]) -> None:
    """Exit code 2, with the module, the line and the reason, also where it was another process that tried; as a real
    process, for the import is one's own.
    """
    text, words = MODULES[name]
    (terminal.folder / f"{name}.py").write_text(text)
    told = terminal.command("worker", *options, name)
    assert told.returncode == 2, told.stderr
    for word in (f"module {name!r}", *words):
        assert word in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize(
    ("name", "words"), [("nowhere", ["there is no module 'nowhere'"]), ("a/b.py", ["such as 'a.b'"])]
)
def test_modules_that_are_not_there(terminal: Terminal, name: str, words: list[str]) -> None:
    """The folder that was searched, the way out."""
    told = terminal.command("worker", name)
    assert told.returncode == 2
    for word in words:
        assert word in told.stderr


@pytest.fixture
def admin(valkey_url: str) -> Iterator[redis.Redis]:
    """The queue's server, as its operator sees it."""
    connection: redis.Redis = redis.Redis.from_url(valkey_url)
    yield connection
    connection.close()


def test_redis_refuses_the_password(terminal: Terminal, admin: redis.Redis, namespace: str) -> None:
    """Exit code 5; the password is not repeated."""
    admin.execute_command("ACL", "SETUSER", namespace, "on", ">right", "~*", "&*", "+@all")
    url = terminal.environ["FENCEPOST_REDIS_URL"]
    right, wrong = (url.replace("unix://", f"unix://{namespace}:{word}@") for word in ("right", "wr0ng"))
    assert terminal("--redis-url", right, "queue", "depth").exit_code == 0
    told = terminal("--redis-url", wrong, "queue", "depth")
    assert told.exit_code == 5, told.output
    assert "password" in told.stderr
    assert "wr0ng" not in told.output


def test_redis_that_drops_keys(terminal: Terminal, admin: redis.Redis) -> None:
    """Exit code 5, the setting and how to set it."""
    admin.config_set("maxmemory-policy", "allkeys-lru")
    try:
        told = terminal("queue", "depth")
    finally:
        admin.config_set("maxmemory-policy", "noeviction")
    assert told.exit_code == 5, told.output
    assert "CONFIG SET maxmemory-policy noeviction" in told.stderr


def test_a_bug_keeps_its_traceback(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no operating error is not dressed up as one."""

    def bug(run: object, details: object) -> object:
        return 1 / 0

    monkeypatch.setattr("fencepost.cli.runs_list.run_json", bug)
    assert terminal("start", "x").exit_code == 0
    told = terminal("runs", "list", "--json")
    assert isinstance(told.exception, ZeroDivisionError)


def test_write_flows_makes_new_names(tmp_path: Path) -> None:
    """No two tests of one process share a module."""
    assert write_flows(tmp_path) != write_flows(tmp_path)
