"""``fencepost dev``: servers, worker and reload in one folder, and nothing left afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.terminal import FLOWS, Live, Terminal, alive, eventually, terminal_in
from tests.cli.test_worker import children

from fencepost.dev.servers import erase, find_running


@pytest.fixture
def project() -> Iterator[Terminal]:
    """A project's folder that root's ``nobody`` can reach, unlike pytest's own; no server is named."""
    folder = Path(tempfile.mkdtemp(prefix="fencepost-cli-"))
    folder.chmod(0o711)
    (folder / "shop.py").write_text(FLOWS)
    try:
        with terminal_in(folder, {}) as terminal:
            yield terminal
        eventually(lambda: find_running(folder / ".fencepost") is None)
        erase(folder / ".fencepost")
    finally:
        shutil.rmtree(folder)


def result(terminal: Terminal) -> str:
    """What ``fulfil`` answers, from another terminal of the same folder."""
    told = terminal("start", "fulfil", '{"id": 21}', "--wait", "--timeout", "20", "--json")
    assert told.exit_code == 0, told.output
    return str(json.loads(told.stdout)["result"])


def test_dev_from_start_to_end(project: Terminal) -> None:
    """Ready; found by other commands; reloads; survives broken code; Ctrl-C ends all of it and keeps the data."""
    live = project.start("dev", "shop")
    live.wait_for("Postgres  postgresql://")
    live.wait_for("Valkey    unix://")
    assert "fulfil" in live.wait_for("ready: workflows:")
    assert result(project) == "42"

    (project.folder / "shop.py").write_text(FLOWS.replace("number * 2", "number * 3"))
    live.wait_for("reloaded: workflows:")
    assert result(project) == "63"

    (project.folder / "shop.py").write_text("def broken(:\n")
    assert "SyntaxError" in live.wait_for("child_died")
    (project.folder / "shop.py").write_text(FLOWS)
    live.wait_for("reloaded: workflows:")
    assert result(project) == "42"

    ended_well(live)
    told = project("runs", "list")
    assert (told.exit_code, "no dev servers answer" in told.stderr) == (4, True)

    live = project.start("dev", "shop", "--no-reload")
    live.wait_for("ready: workflows:")
    assert len(json.loads(project("runs", "list", "--json").stdout)["runs"]) == 3
    ended_well(live)


def ended_well(live: Live) -> None:
    """Ctrl-C: exit code 0, no child, no server, no traceback."""
    pids = children(live.process.pid)
    live.send(signal.SIGINT)
    assert live.end() == 0, live.text
    assert [pid for pid in pids if alive(pid)] == []
    assert "Traceback" not in live.text


def test_a_reload_names_the_open_runs_that_do_not_fit(project: Terminal) -> None:
    """With both sides; the code that fits again says nothing, and the run that was parked meanwhile goes on."""
    live = project.start("dev", "shop")
    live.wait_for("ready: workflows:")
    run = json.loads(project("start", "approve", '"ann"', "--json").stdout)["id"]
    eventually(lambda: "approve:ann" in project("runs", "why", run).stdout)

    changed = FLOWS.replace("    async with hook(dict", "    await sleep(100_000)\n    async with hook(dict")
    (project.folder / "shop.py").write_text(changed)
    live.wait_for("reloaded: workflows:")
    live.wait_for("open runs that this code does not fit:")
    assert run in live.wait_for("does not fit, at seq 3:")
    assert "hook_created hook#1" in live.wait_for("the log has")
    assert "wait_created sleep#1" in live.wait_for("the code asks for")
    assert project("hooks", "resume", "approve:ann", '{"ok": true}').exit_code == 0
    live.wait_for("run_parked")

    (project.folder / "shop.py").write_text(FLOWS)
    live.wait_for("reloaded: workflows:")
    assert project("runs", "result", run, "--timeout", "20").exit_code == 0
    ended_well(live)
    # The look that follows the start may come after the change and see it too; what counts is the code that fits again.
    assert "does not fit" not in live.text.rpartition("reloaded: workflows:")[2]


def test_dev_replays_every_turn_twice(project: Terminal) -> None:
    """Code that is not deterministic is parked at once, and goes on when it is mended."""
    wrong = (
        "import itertools\n"
        + FLOWS.replace("    return await double(order.id)\n", "    return await double(next(NUMBERS))\n")
        + "\n\nNUMBERS = itertools.count()\n"
    )
    (project.folder / "shop.py").write_text(wrong)
    live = project.start("dev", "shop")
    live.wait_for("ready: workflows:")
    run = json.loads(project("start", "fulfil", '{"id": 21}', "--json").stdout)["id"]
    assert "not deterministic" in live.wait_for("run_parked")
    (project.folder / "shop.py").write_text(FLOWS)
    live.wait_for("reloaded: workflows:")
    assert project("runs", "result", run, "--timeout", "20").stdout == "42\n"
    ended_well(live)


BLOCKS = """

@step
async def blocks() -> int:
    time.sleep(1.4)
    return os.getpid()


@workflow
async def blocked() -> int:
    return await blocks()
"""


def test_dev_takes_the_workers_options_and_tells_of_a_loop_that_stands_still(project: Terminal) -> None:
    """Two processes, webhooks at an address, so many bodies at once; a second of blocking is told with its line."""
    (project.folder / "shop.py").write_text(FLOWS + BLOCKS)
    live = project.start("dev", "shop", "--processes", "2", "--concurrency", "3", "--http", "127.0.0.1:0")
    address = live.wait_for("http_started").rpartition("address=")[2].strip()
    live.wait_for("ready: workflows:")
    assert len(children(live.process.pid)) == 4, "two workers and two guards"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{address}/hooks/nobody", data=b"{}", timeout=20)
    assert refused.value.code == 404
    refused.value.close()
    told = project("start", "blocked", "--wait", "--timeout", "20", "--json")
    assert told.exit_code == 0, told.output
    assert "time.sleep(1.4)" in live.wait_for("time.sleep")
    assert "loop_blocked" in live.text
    ended_well(live)


def test_dev_refuses_an_address_that_is_none_before_it_starts_anything(project: Terminal) -> None:
    told = project("dev", "shop", "--http", "8080x")
    assert (told.exit_code, "http = '8080x': must be HOST:PORT" in told.stderr) == (2, True)
    assert not (project.folder / ".fencepost").exists()


def test_kill_9_of_dev_leaves_nothing(project: Terminal) -> None:
    """Neither worker nor servers."""
    live = project.start("dev", "shop")
    live.wait_for("ready: workflows:")
    pids = children(live.process.pid)
    assert len(pids) == 3, "a worker and two guards"
    live.send(signal.SIGKILL)
    eventually(lambda: not any(alive(pid) for pid in pids))
    live.end()


@pytest.mark.parametrize("server", ["postgres", "valkey"])
def test_dev_ends_with_a_server_that_dies(project: Terminal, server: str) -> None:
    """It does not warn for ever: it says which server and where its log is, takes the rest with it, and may be started
    again."""
    live = project.start("dev", "shop")
    live.wait_for("ready: workflows:")
    (victim,) = [pid for guard in children(live.process.pid) for pid in children(guard) if name_of(pid) == server]
    os.kill(victim, signal.SIGKILL)
    assert f"embedded {server.capitalize()} has ended with code {128 + signal.SIGKILL}" in live.wait_for("has ended")
    assert live.end() == 1
    assert "start `fencepost dev` again" in live.text
    again = project.start("dev", "shop")
    again.wait_for("ready: workflows:")
    assert result(project) == "42"
    ended_well(again)


def test_dev_ends_with_the_process_whose_servers_it_uses(project: Terminal) -> None:
    """The second one in the folder joined the first one's servers."""
    first = project.start("dev", "shop")
    first.wait_for("ready: workflows:")
    second = project.start("dev", "shop")
    second.wait_for("run by another process")
    second.wait_for("ready: workflows:")
    ended_well(first)
    second.wait_for("the process that ran the servers of")
    assert second.end() == 1


def name_of(pid: int) -> str:
    """Its program: postgres or valkey."""
    return Path(f"/proc/{pid}/comm").read_text().strip().partition("-")[0]


def test_dev_refuses_production(bare: Terminal, flows: str) -> None:
    """Its servers are for one machine."""
    environ = {"FENCEPOST_DATABASE_URL": "postgresql://db/x", "FENCEPOST_REDIS_URL": "redis://db"}
    told = bare("dev", flows, FENCEPOST_ENV="production", **environ)
    assert (told.exit_code, "fencepost worker" in told.stderr) == (2, True)
    assert not (bare.folder / ".fencepost").exists()


def test_dev_with_a_module_that_is_not_there(project: Terminal) -> None:
    """It ends, and takes its servers with it; configured servers are left alone, and that is said."""
    told = project.command("dev", "nowhere", FENCEPOST_DATABASE_URL="postgresql://nobody@db.invalid/x")
    assert told.returncode == 2, told.stderr
    assert "there is no module 'nowhere'" in told.stderr
    assert "database_url is configured, and left alone" in told.stderr
    assert find_running(project.folder / ".fencepost") is None
