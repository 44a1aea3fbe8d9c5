"""What a worker logs and what the commands show of a failure: the user's frames, whole on request, and the leaves of
groups. A real worker on the default install's path.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cli.terminal import Live, Terminal, eventually, stop, terminal_in, write_flows

FLOWS = """
import asyncio
import re

from fencepost import sleep, step, workflow


def look(item):
    return item["nmae"]


@step(retries=0)
async def read(item: dict[str, str]) -> str:
    secret_local = "hunter" + "2"
    return look(item)


@step(retries=0)
def compiled() -> None:
    re.compile("(")


@step(retries=2, first_delay=0.01, cap=0.01)
async def again() -> None:
    look({})


@step(retries=3, first_delay=3600.0, cap=3600.0)
async def later() -> None:
    look({})


@workflow
async def reads() -> str:
    return await read({"name": "x"})


@workflow
async def compiles() -> None:
    await compiled()


@workflow
async def grouped() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(fails("left"))
        group.create_task(fails("right"))


async def fails(which: str) -> None:
    raise ValueError(f"the {which} one")


@workflow
async def repeats() -> None:
    await again()


@workflow
async def waits() -> None:
    await later()
"""


class Worked:
    """A terminal, its worker, and the module that the worker runs."""

    def __init__(self, terminal: Terminal, live: Live, module: str) -> None:
        self.terminal = terminal
        self.live = live
        self.file = terminal.folder / f"{module}.py"

    def failed(self, flow: str) -> str:
        """The id of a run of it, which has failed."""
        told = json.loads(self.terminal("start", flow, "--wait", "--timeout", "20", "--json").stdout)
        assert told["status"] == "failed"
        return str(told["id"])

    def line(self, text: str, after: str = "") -> int:
        """The number of the first line with ``text`` behind the one with ``after``."""
        lines = self.file.read_text().splitlines()
        first = next(number for number, line in enumerate(lines) if after in line)
        return next(number for number, line in enumerate(lines, 1) if number > first and text in line)

    def place(self, text: str, after: str = "") -> str:
        """``file:line``, relative to the folder that commands run in."""
        return f"{self.file.name}:{self.line(text, after)}"

    def frame(self, text: str, name: str, after: str = "") -> str:
        """As Python prints it."""
        return f'File "{self.file}", line {self.line(text, after)}, in {name}'


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory, postgres_url: str, valkey_url: str) -> Iterator[Worked]:
    """One worker for all tests of this file."""
    folder = tmp_path_factory.mktemp("failures")
    environ = {
        "FENCEPOST_DATABASE_URL": postgres_url,
        "FENCEPOST_REDIS_URL": valkey_url,
        "FENCEPOST_NAMESPACE": f"t_{uuid.uuid4().hex[:16]}",
        "FENCEPOST_ENV": "test",
    }
    module = write_flows(folder, FLOWS)
    with terminal_in(folder, environ) as terminal:
        assert terminal("db", "migrate").exit_code == 0
        live = terminal.start("worker", module)
        live.wait_for("ready: 1 worker process")
        yield Worked(terminal, live, module)
        stop(live)


def test_each_failed_attempt_is_logged_with_its_line_and_its_traceback_once(worked: Worked) -> None:
    """Three attempts, three warnings; one traceback, without the engine's frames; then the run's."""
    run = worked.failed("repeats")
    worked.live.wait_for(f"run_failed run={run}")
    worked.live.wait_for("KeyError: 'nmae'")
    eventually(lambda: worked.live.process.poll() is None)
    lines = worked.live.seen
    attempts = [line for line in lines if f"attempt_failed run={run}" in line]
    assert [line.split()[1] for line in attempts] == ["warning"] * 3
    assert ["again in 0.0 s" in line for line in attempts] == [True, True, False]
    assert 'then="the step fails"' in attempts[-1]
    place = worked.place('return item["nmae"]')
    assert all(f"at={place}" in line for line in attempts)
    assert all("error=\"builtins.KeyError: 'nmae'\"" in line for line in attempts)
    first = lines.index(attempts[0])
    between = lines[first + 1 : lines.index(attempts[1])]
    assert any(worked.frame('return item["nmae"]', "look") in line for line in between)
    assert any(worked.frame("look({})", "again", "async def again") in line for line in between)
    assert any("frames of" in line and "fencepost" in line for line in between)
    assert not any("/engine/" in line for line in between)
    second, third = lines.index(attempts[1]), lines.index(attempts[2])
    assert not any("Traceback" in line for line in lines[second:third])


@pytest.mark.parametrize("command", ["show", "why", "result"])
def test_a_command_shows_the_users_frames_and_folds_the_others(worked: Worked, command: str) -> None:
    """Of the step, and of the workflow that awaited it."""
    run = worked.failed("reads")
    told = worked.terminal("runs", command, run).output
    assert worked.frame('return item["nmae"]', "look") in told
    assert worked.frame("return look(item)", "read") in told
    assert worked.frame("return await read(", "reads") in told
    assert 'return item["nmae"]' in told
    assert "KeyError: 'nmae'" in told
    assert "/fencepost/engine/" not in told
    assert "/fencepost/authoring/" not in told
    assert "uvloop" not in told
    assert "hunter2" not in told, "locals are never recorded"
    assert "frames of fencepost" in told or "frame of fencepost" in told
    full = worked.terminal("runs", command, run, "--full").output
    assert worked.frame('return item["nmae"]', "look") in full
    assert "fencepost/authoring/" in full


def test_the_timeline_has_the_line_of_a_failure(worked: Worked) -> None:
    """Beside class and message."""
    run = worked.failed("reads")
    shown = worked.terminal("runs", "show", run).stdout
    place = worked.place('return item["nmae"]')
    [row] = [line for line in shown.splitlines() if "step_failed" in line and "read#1" in line and "seq" not in line]
    assert row.rstrip().endswith(f"builtins.KeyError: 'nmae' at {place}")


def test_frames_of_libraries_are_folded(worked: Worked) -> None:
    """The error is raised in Python's own ``re``, below a line of the user's, in a thread."""
    run = worked.failed("compiles")
    told = worked.terminal("runs", "show", run).stdout
    assert worked.frame('re.compile("(")', "compiled") in told
    assert "frames of python" in told
    assert "_parser.py" not in told
    assert "_parser.py" in worked.terminal("runs", "show", run, "--full").stdout


def test_the_leaves_of_a_group_are_printed(worked: Worked) -> None:
    """Each with its own message and line, wherever a failure is shown."""
    run = worked.failed("grouped")
    for command in ("show", "why", "result"):
        told = worked.terminal("runs", command, run).output
        assert "ValueError: the left one" in told
        assert "ValueError: the right one" in told
        assert told.count(worked.frame("raise ValueError", "fails")) == 2
        assert "taskgroups.py" not in told
    worked.live.wait_for(f"run_failed run={run}")
    worked.live.wait_for("ValueError: the right one")


def test_a_step_that_is_tried_again_shows_where_it_failed(worked: Worked) -> None:
    """``why``, while the run lives, and for machines."""
    run = json.loads(worked.terminal("start", "waits", "--json").stdout)["id"]

    def last() -> Any:
        waits = json.loads(worked.terminal("runs", "why", run, "--json").stdout)["waits_for"]
        return waits[0].get("failure")

    eventually(last)
    error = last()
    assert (error["type"], error["message"]) == ("builtins.KeyError", "'nmae'")
    assert error["frames"] == [
        {"file": str(worked.file), "line": worked.line("look({})", "async def later"), "function": "later"},
        {"file": str(worked.file), "line": worked.line('return item["nmae"]'), "function": "look"},
    ]
    told = worked.terminal("runs", "why", run).stdout
    assert f"last error: builtins.KeyError: 'nmae' at {worked.place('return item')}" in told
    assert worked.frame('return item["nmae"]', "look") in told


def test_the_result_of_a_group_for_machines_has_its_members(worked: Worked) -> None:
    """Frames, and the members with theirs."""
    told = json.loads(worked.terminal("start", "grouped", "--wait", "--timeout", "20", "--json").stdout)
    error = told["error"]
    assert [one["message"] for one in error["exceptions"]] == ["the left one", "the right one"]
    assert [frame["function"] for frame in error["exceptions"][0]["frames"]] == ["fails"]
    assert [frame["function"] for frame in error["frames"]] == ["grouped"]
    assert "Traceback" in error["traceback"]
    assert set(error) == {"type", "code", "message", "frames", "traceback", "exceptions"}
