"""Startup and shutdown code in real worker processes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from tests.cli.terminal import Live, Terminal, eventually, stop

CODE = """
import os
from collections.abc import AsyncIterator
from pathlib import Path

from fencepost import on_startup, step, worker_lifespan, workflow

pool = None


def say(what):
    with open("life", "a") as file:
        file.write(f"{os.getpid()} {what}\\n")


@worker_lifespan
async def open_pool() -> AsyncIterator[None]:
    global pool
    pool = "pool"
    say("open")
    yield
    say("close")


@on_startup
def check() -> None:
    if Path("broken").exists():
        raise ConnectionError("the other side is away")


@step
async def use() -> str:
    say("use")
    return f"{pool} of {os.getpid()}"


@step
async def dies() -> str:
    say("dies")
    if Path("stop").exists():
        return f"{pool} of {os.getpid()}"
    os._exit(3)


@workflow
async def flow() -> str:
    return await use()


@workflow
async def poison() -> str:
    return await dies()
"""


def said(folder: Path, what: str) -> list[int]:
    """The processes that have said it."""
    file = folder / "life"
    lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    return [int(pid) for pid, word in lines if word == what]


def test_each_process_opens_once_before_it_consumes_and_closes_when_it_has_drained(terminal: Terminal) -> None:
    (terminal.folder / "flows_life.py").write_text(CODE)
    live = terminal.start("worker", "flows_life", "--processes", "2")
    live.wait_for("ready:")
    assert len(set(said(terminal.folder, "open"))) == 2
    told = terminal("start", "flow", "--wait", "--timeout", "20", "--json")
    result = json.loads(told.stdout)["result"]
    assert result in {f"pool of {pid}" for pid in said(terminal.folder, "open")}
    victim = said(terminal.folder, "use")[0]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: len(said(terminal.folder, "open")) == 3)  # whoever takes its place opens its own
    stop(live)
    assert sorted(said(terminal.folder, "close")) == sorted(set(said(terminal.folder, "open")) - {victim})


def test_a_step_that_is_run_alone_finds_what_startup_opens(terminal: Terminal) -> None:
    """A process for one suspect runs the same code around it."""
    (terminal.folder / "flows_life.py").write_text(CODE)
    live = terminal.start("worker", "flows_life")
    live.wait_for("ready:")
    told = terminal("start", "poison", "--json")
    run = json.loads(told.stdout)["id"]
    eventually(lambda: len(said(terminal.folder, "dies")) == 2)
    (terminal.folder / "stop").touch()
    result = terminal("runs", "result", run, "--timeout", "30").stdout
    last = said(terminal.folder, "dies")[-1]
    assert json.loads(result) == f"pool of {last}"
    assert last in said(terminal.folder, "open")
    stop(live)


def test_a_worker_whose_startup_fails_says_why_and_does_not_start(terminal: Terminal) -> None:
    (terminal.folder / "flows_life.py").write_text(CODE)
    (terminal.folder / "broken").touch()
    for options in ((), ("--no-supervisor",)):
        live = terminal.start("worker", "flows_life", *options)
        assert live.end() == 1, live.text
        assert "startup code" in live.text
        assert "flows_life.check) raised ConnectionError: the other side is away" in live.text
        assert "Traceback" not in live.text
    assert len(said(terminal.folder, "close")) == 2, "what was opened before is closed"


HANGS = """
import asyncio
import time

from fencepost import on_startup, workflow


@workflow
async def flow() -> None:
    pass


@on_startup
async def hangs() -> None:
    print("starting", flush=True)
    BODY
"""
BLOCKS = "time.sleep(3600)"
SWALLOWS = """
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass
"""
ABOVE = [(), ("--no-supervisor",)]


def hanging(terminal: Terminal, body: str, *options: str) -> Live:
    """A worker whose startup code has begun, and will not end."""
    (terminal.folder / "flows_hanging.py").write_text(HANGS.replace("BODY", body))
    live = terminal.start("worker", "flows_hanging", "--drain-seconds", "0", *options)
    live.wait_for("starting")
    return live


@pytest.mark.parametrize("options", ABOVE)
def test_startup_code_that_waits_is_cancelled_by_one_signal(terminal: Terminal, options: tuple[str, ...]) -> None:
    """Nothing was begun, so it is a clean end."""
    live = hanging(terminal, "await asyncio.sleep(3600)", *options)
    live.send(signal.SIGTERM)
    assert live.end() == 0, live.text
    assert "Traceback" not in live.text
    assert "child_killed" not in live.text


@pytest.mark.parametrize("options", ABOVE)
@pytest.mark.parametrize("body", [BLOCKS, SWALLOWS])
def test_startup_code_that_hears_nothing_is_ended_within_a_drains_time(
    terminal: Terminal, body: str, options: tuple[str, ...]
) -> None:
    """By one SIGTERM, with a word, with a supervisor and without."""
    live = hanging(terminal, body, *options)
    live.send(signal.SIGTERM)
    assert live.end() == 1, live.text
    assert "child_killed" in live.text


@pytest.mark.parametrize("options", ABOVE)
def test_a_body_that_blocks_the_loop_holds_up_no_stop(terminal: Terminal, options: tuple[str, ...]) -> None:
    """The same bound, while the worker consumes."""
    (terminal.folder / "flows_blocking.py").write_text(BLOCKING)
    live = terminal.start("worker", "flows_blocking", "--drain-seconds", "0", *options)
    live.wait_for("ready:")
    assert terminal("start", "flow").exit_code == 0
    live.wait_for("blocking")
    live.send(signal.SIGTERM)
    assert live.end() == 1, live.text
    assert "child_killed" in live.text


BLOCKING = """
import time

from fencepost import step, workflow


@step
async def blocks() -> None:
    print("blocking", flush=True)
    time.sleep(3600)


@workflow
async def flow() -> None:
    await blocks()
"""
