"""H151, H152: a worker, the processes that its bodies fork, and the signals that it is sent by what runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tests.cli.terminal import PATIENCE_SECONDS, Live, Terminal, alive, eventually, stop

from fencepost.engine.signals import AGAIN_SECONDS, Signals
from fencepost.sync import Client

READY = "ready:"

FLOWS = """
import asyncio, multiprocessing, os, sys, time
from pathlib import Path
from fencepost import step, workflow

forking = multiprocessing.get_context("fork")

def _helped() -> int:
    helper = forking.Process(target=time.sleep, args=(600,))
    helper.start()
    helper.terminate()
    helper.join(10)
    return int(helper.exitcode)

@step
async def helped_in_loop() -> int:
    return _helped()

@step
def helped_in_thread() -> int:
    return _helped()

def _exits() -> int:
    pid = os.fork()
    if pid == 0:
        sys.exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

@step
async def exits_in_loop() -> int:
    return _exits()

@step
def exits_in_thread() -> int:
    return _exits()

@step
async def awaits_in_fork() -> int:
    pid = os.fork()
    if pid == 0:
        await asyncio.sleep(0.01)
        return 1
    return os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, pid, 0))[1]) >= 0

@workflow
async def forks() -> list[int]:
    return [
        await helped_in_loop(), await helped_in_thread(), await exits_in_loop(), await exits_in_thread(),
        int(await awaits_in_fork()),
    ]

@step
def sleeps(folder: str) -> int:
    (Path(folder) / "began").write_text(str(os.getpid()))
    time.sleep(600)
    return 1

@workflow
async def long(folder: str) -> int:
    return await sleeps(folder)

@step
async def held(folder: str) -> int:
    (Path(folder) / "began").write_text(str(os.getpid()))
    while not (Path(folder) / "go").exists():
        await asyncio.sleep(0.02)
    return 7

@workflow
async def holds(folder: str) -> int:
    return await held(folder)
"""


@pytest.fixture
def surroundings(terminal: Terminal) -> str:
    """The module's name."""
    (terminal.folder / "surrounding_flows.py").write_text(FLOWS)
    return "surrounding_flows"


def _begun(terminal: Terminal, workflow: str) -> tuple[str, int]:
    """A run whose body runs, and the process that it is in."""
    run = str(json.loads(terminal("start", workflow, json.dumps(str(terminal.folder)), "--json").stdout)["id"])
    began = terminal.folder / "began"
    eventually(lambda: began.exists() and began.read_text())
    return run, int(began.read_text())


def _result(terminal: Terminal, run: str) -> str:
    return terminal("runs", "result", run, "--timeout", str(PATIENCE_SECONDS)).stdout.strip()


def test_h151_what_a_body_forks_takes_nothing_of_the_worker_with_it(terminal: Terminal, surroundings: str) -> None:
    """Helpers that are terminated drain nobody; a fork that leaves the body ends there, with its own exit code, and
    never goes on in the worker's loop.
    """
    live = terminal.start("worker", surroundings, "--no-supervisor")
    live.wait_for(READY)
    run = str(json.loads(terminal("start", "forks", "--json").stdout)["id"])
    assert json.loads(_result(terminal, run)) == [-signal.SIGTERM, -signal.SIGTERM, 3, 3, 1]
    assert "worker_draining" not in live.text
    again = str(json.loads(terminal("start", "forks", "--json").stdout)["id"])
    assert json.loads(_result(terminal, again))[0] == -signal.SIGTERM
    stop(live)
    assert live.text.count("worker_stopped") == 1


def test_h151_a_worker_process_that_drains_unasked_is_replaced(terminal: Terminal, surroundings: str) -> None:
    """Somebody signals it and not the supervisor, and a ``def`` body would keep it for ten minutes: it has handed
    everything back, so it ends, another one consumes, and the supervisor's own end is a clean one.
    """
    live = terminal.start("worker", surroundings, "--drain-seconds", "0.2")
    live.wait_for(READY)
    _, pid = _begun(terminal, "long")
    os.kill(pid, signal.SIGTERM)
    live.wait_for("child_draining")
    live.wait_for("worker_started")
    eventually(lambda: not alive(pid))
    stop(live)


@pytest.mark.parametrize("options", [(), ("--no-supervisor",)])
def test_h152_a_def_body_beyond_the_drain_is_no_failure_of_the_stop(
    terminal: Terminal, surroundings: str, options: tuple[str, ...]
) -> None:
    """It is handed back; its thread does not keep the process, and the exit code is 0."""
    live = terminal.start("worker", surroundings, "--drain-seconds", "0.2", *options)
    live.wait_for(READY)
    _begun(terminal, "long")
    stop(live)


def test_h152_two_signals_at_once_are_one(terminal: Terminal, surroundings: str) -> None:
    """GNU timeout sends two: the body may end, its result counts, and the exit code is 0."""
    live = terminal.start("worker", surroundings, "--no-supervisor")
    live.wait_for(READY)
    run, _ = _begun(terminal, "holds")
    live.send(signal.SIGTERM)
    live.send(signal.SIGTERM)
    live.send(signal.SIGHUP)
    live.wait_for("worker_draining")
    (terminal.folder / "go").touch()
    assert live.end() == 0, live.text
    assert _result(terminal, run) == "7"


def test_h152_sighup_drains_unless_it_was_to_be_ignored(terminal: Terminal, surroundings: str) -> None:
    """Also without a supervisor; and what nohup has said stays said."""
    live = terminal.start("worker", surroundings, "--no-supervisor")
    live.wait_for(READY)
    live.send(signal.SIGHUP)
    assert live.end() == 0
    assert "worker_stopped" in live.text
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FENCEPOST_")}
    process = subprocess.Popen(
        ["nohup", sys.executable, "-u", "-m", "fencepost", "worker", surroundings],
        cwd=terminal.folder,
        env={**kept, **terminal.environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deaf = Live(process)
    terminal.live.append(deaf)
    deaf.wait_for(READY)
    deaf.send(signal.SIGHUP)
    (terminal.folder / "go").touch()
    run, _ = _begun(terminal, "holds")
    assert _result(terminal, run) == "7"
    stop(deaf)


def test_h152_a_second_signal_counts_after_a_pause() -> None:
    """And then every further one."""
    clock, said = [5.0], list[str]()
    signals = Signals(lambda n: said.append(f"first {n}"), lambda n: said.append(f"now {n}"), lambda: clock[0])
    for moment in (5.0, 5.0, 5.0 + AGAIN_SECONDS / 2, 5.0 + AGAIN_SECONDS, 9.0):
        clock[0] = moment
        signals(15)
    assert said == ["first 15", "now 15", "now 15"]


REAPING = """
import os, subprocess, sys, time
sys.path[:0] = {path!r}
from fencepost.engine.reaping import reap_once
import ctypes
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # as process 1 does, it inherits orphans
own = subprocess.Popen(["sleep", "600"])
middle = subprocess.Popen(["sh", "-c", "sleep 0.1 & echo $!"], stdout=subprocess.PIPE, text=True)
orphan = int(middle.stdout.readline())
middle.wait()
ours, gone = {{own.pid}}, []
while orphan not in gone:
    gone += reap_once(ours)
    time.sleep(0.01)
own.kill()
time.sleep(0.1)
assert reap_once(ours) == [], "ours is left to who waits for it"
assert own.wait() == -9
print("reaped")
"""


def test_h152_process_1_reaps_orphans_and_leaves_its_own_children_alone() -> None:
    """Whoever waits for those gets their exit code."""
    program = REAPING.format(path=sys.path)
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert told.stdout == "reaped\n", told.stderr


def test_a_blocking_client_says_that_it_was_forked(terminal: Terminal) -> None:
    """Its thread is not there: a call would wait for ever."""
    with Client(
        database_url=terminal.environ["FENCEPOST_DATABASE_URL"],
        redis_url=terminal.environ["FENCEPOST_REDIS_URL"],
        namespace=terminal.environ["FENCEPOST_NAMESPACE"],
    ) as client:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                client.list()
                os.write(write, b"no error")
            except RuntimeError as error:
                os.write(write, str(error).encode())
            finally:
                client.__exit__(None, None, None)
                os._exit(0)
        os.close(write)
        until = time.monotonic() + PATIENCE_SECONDS
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        said = os.read(read, 10_000).decode()
        os.close(read)
        assert "open a client in each process, after the fork" in said
        assert client.list() == []
