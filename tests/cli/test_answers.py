"""Help answers at once, because nothing is imported that it does not need; and every command has help."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.cli.terminal import Terminal

HEAVY = (
    "asyncpg",
    "redis",
    "rich",
    "uvloop",
    "asyncio",
    "msgspec",
    "structlog",
    "fencepost.config",
    "fencepost.engine",
)
COUNT = "import sys, fencepost.cli.main; print(len(sys.modules)); print(*sys.modules)"
MODULES_MAX = 150
"""Python 3.11 with click comes to 112, asyncio alone would add 50."""
COMMANDS = (
    ("demo",),
    ("dev",),
    ("worker",),
    ("start",),
    ("runs",),
    ("runs", "list"),
    ("runs", "show"),
    ("runs", "events"),
    ("runs", "why"),
    ("runs", "result"),
    ("hooks",),
    ("hooks", "resume"),
    ("queue",),
    ("queue", "depth"),
    ("queue", "peek"),
    ("db",),
    ("db", "migrate"),
    ("db", "check"),
    ("config",),
    ("config", "show"),
    ("config", "check"),
)


def test_the_root_imports_little() -> None:
    """Neither drivers nor the engine nor an event loop: their import alone would cost half a second."""
    told = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True).stdout
    count, names = told.splitlines()
    assert [name for name in HEAVY if name in names.split()] == []
    assert int(count) < MODULES_MAX


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(bare: Terminal, command: tuple[str, ...]) -> None:
    """With a summary and without a server."""
    told = bare(*command, "--help")
    assert told.exit_code == 0, told.output
    assert told.stdout.startswith(f"Usage: cli {' '.join(command)}")


def test_the_help_of_the_root_names_all_commands(bare: Terminal) -> None:
    """By the table, and as a real process."""
    told = bare.command("--help")
    assert told.returncode == 0
    for command in COMMANDS:
        if len(command) == 1:
            assert f"  {command[0]} " in told.stdout
    assert "Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 cannot connect, 5 refused" in " ".join(
        told.stdout.split()
    )


def test_version(bare: Terminal) -> None:
    """The package's own."""
    import fencepost

    assert bare("--version").stdout == f"fencepost {fencepost.__version__}\n"


def test_the_demo_gets_its_options(bare: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its exit code is the command's. The demo itself has tests of its own."""
    asked: list[tuple[bool, bool]] = []

    def main(*, json: bool, keep: bool) -> int:
        asked.append((json, keep))
        return len(asked)

    monkeypatch.setattr("fencepost.dev.demo.main", main)
    assert [bare("demo", "--json").exit_code, bare("demo", "--keep").exit_code] == [1, 2]
    assert asked == [(True, False), (False, True)]


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (("wroker", "x"), "Did you mean 'worker'?"),
        (("runs", "lst"), "Did you mean 'list'?"),
        (("zzz",), "There are: demo, dev, worker"),
        (("runs", "list", "--jsn"), "--json"),
        (("worker",), "MODULE"),
        (("runs", "show"), "ID"),
        (("runs", "show", "42"), "'42' is not a run id: `fencepost runs list` shows them"),
        (("runs", "list", "--status", "sleeping"), "'pending', 'running'"),
        (("worker", "x", "--processes", "0"), "1<=x<=1024"),
        (("worker", "x", "--queues", ","), "names no queue"),
        (("start", "x", "--timeout", "3"), "--wait"),
        (("--log-format", "xml", "runs", "list"), "'text', 'json'"),
    ],
)
def test_wrong_usage_is_told_with_a_way_out(bare: Terminal, args: tuple[str, ...], hint: str) -> None:
    """Exit code 2, nothing on standard output."""
    told = bare(*args)
    assert told.exit_code == 2
    assert hint in told.stderr
    assert told.stdout == ""
