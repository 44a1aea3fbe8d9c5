"""``runs export`` and ``replay``: real runs, and code that fits them or not."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.terminal import FLOWS, Terminal, eventually, stop, terminal_in, write_flows

CHANGED = FLOWS.replace("    return await double(order.id)\n", "    return await boom()\n")


@pytest.fixture
def worked(tmp_path: Path, postgres_url: str, valkey_url: str) -> Iterator[Terminal]:
    """A terminal with a run that has ended and one that waits; their worker has stopped."""
    environ = {
        "FENCEPOST_DATABASE_URL": postgres_url,
        "FENCEPOST_REDIS_URL": valkey_url,
        "FENCEPOST_NAMESPACE": f"t_{uuid.uuid4().hex[:16]}",
        "FENCEPOST_ENV": "test",
        "MODULE": write_flows(tmp_path),
    }
    with terminal_in(tmp_path, environ) as terminal:
        assert terminal("db", "migrate").exit_code == 0
        live = terminal.start("worker", environ["MODULE"])
        live.wait_for("ready: ")
        done = terminal("start", "fulfil", '{"id": 21}', "--wait", "--timeout", "20", "--json")
        waits = terminal("start", "naps", "--json")
        environ["ENDED"], environ["OPEN"] = (json.loads(told.stdout)["id"] for told in (done, waits))
        eventually(lambda: "sleep" in terminal("runs", "why", environ["OPEN"]).stdout)
        stop(live)
        yield terminal


def exported(worked: Terminal, *names: str) -> str:
    """A file with the runs."""
    told = worked("runs", "export", *(worked.environ[name] for name in names))
    assert (told.exit_code, told.stderr) == (0, "")
    (worked.folder / "runs.jsonl").write_text(told.stdout)
    return "runs.jsonl"


def test_what_was_exported_fits_the_code_that_ran_it(worked: Terminal) -> None:
    """Ended and open runs; the database and the queue are not needed for files."""
    file = exported(worked, "ENDED", "OPEN")
    told = worked("replay", file, "--module", worked.environ["MODULE"], FENCEPOST_DATABASE_URL="")
    assert (told.exit_code, told.stdout) == (0, "2 runs replayed, 0 of them differ\n"), told.output
    told = worked("replay", "--open", "--module", worked.environ["MODULE"], "--json")
    assert [run["id"] for run in json.loads(told.stdout)["runs"]] == [worked.environ["OPEN"]]
    shown = json.loads(worked("replay", file, "--module", worked.environ["MODULE"], "--json").stdout)["runs"]
    assert [(run["workflow"], run["status"], run["difference"]) for run in shown] == [
        ("fulfil", "completed", None),
        ("naps", "running", None),
    ]


def test_changed_code_is_told_with_both_sides_and_the_line(worked: Terminal) -> None:
    """Exit code 1; the run that fits is not shown."""
    file = exported(worked, "ENDED", "OPEN")
    module = write_flows(worked.folder, CHANGED)
    told = worked("replay", file, "--module", module)
    line = CHANGED.splitlines().index("    return await boom()") + 1
    assert told.exit_code == 1, told.output
    lines = told.stdout.splitlines()
    assert lines[0] == f"fulfil {worked.environ['ENDED']} (completed) does not fit, at seq 3:"
    assert lines[1].endswith("the log has       step_created double#1 (double)")
    assert lines[2].endswith("the code asks for step_created boom#1 (boom)")
    assert f"{module}.py:" in lines[3]
    assert lines[4] == "2 runs replayed, 1 of them differ"
    assert int(lines[3].rpartition(":")[2]) >= line
    told = worked("replay", file, "--module", module, "--json")
    assert told.exit_code == 1
    assert json.loads(told.stdout)["runs"][0]["difference"]["seq"] == 3


def test_a_workflow_that_is_gone(worked: Terminal) -> None:
    """Open runs of it would wait for ever; that is a difference."""
    module = write_flows(worked.folder, FLOWS.replace("async def naps", "async def sleeps"))
    told = worked("replay", "--open", "--module", module)
    assert (told.exit_code, "no such workflow in approve, fails, " in told.stdout) == (1, True)


def test_what_cannot_be_exported_or_replayed(worked: Terminal) -> None:
    """A run that is not there writes nothing; a file that is no history, and nothing to look at, are misuse."""
    told = worked("runs", "export", worked.environ["ENDED"], str(uuid.uuid4()))
    assert (told.exit_code, told.stdout) == (3, "")
    module = worked.environ["MODULE"]
    (worked.folder / "bad.jsonl").write_text("hello\n")
    told = worked("replay", "bad.jsonl", "--module", module)
    assert (told.exit_code, "bad.jsonl:1: not a line of a recorded history" in told.stderr) == (2, True)
    told = worked("replay", "--module", module)
    assert (told.exit_code, "--open" in told.stderr) == (2, True)
    assert worked("replay", "missing.jsonl", "--module", module).exit_code == 2
