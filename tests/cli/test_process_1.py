"""H152: a worker without a supervisor as process 1, which inherits all orphans of a container."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.terminal import PATIENCE_SECONDS, Terminal, write_flows

UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def _may_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*UNSHARE, "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0


AS_PROCESS_1 = """
import ctypes, os, signal, subprocess, sys, time
from pathlib import Path
sys.path[:0] = {path!r}
from fencepost.engine import reaping
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # as process 1 does, it inherits orphans
own = os.getpid
reaping.os.getpid = lambda: 1
reaping.leave_process_1()
middle = subprocess.run(["sh", "-c", "sleep 0.1 & echo $!"], stdout=subprocess.PIPE, text=True, check=True)
while Path(f"/proc/{{middle.stdout.strip()}}").exists():
    time.sleep(0.01)
assert subprocess.run(["sh", "-c", "exit 3"]).returncode == 3, "what the worker starts it waits for itself"
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(7))
print("reaped", flush=True)
if {killed!r}:
    os.kill(own(), signal.SIGKILL)
signal.pause()
"""


@pytest.mark.parametrize(("killed", "code"), [(False, 7), (True, 137)])
def test_h152_a_worker_without_supervisor_goes_on_below_an_init(killed: bool, code: int) -> None:
    """Orphans are reaped, signals handed on, and the end is the worker's."""
    program = AS_PROCESS_1.format(path=sys.path, killed=killed)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "reaped\n"
        if not killed:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == code
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


PROCESS_1 = """
import os, subprocess, time
from fencepost import step, workflow

@step
def leaves_an_orphan() -> list[int]:
    pid = int(subprocess.run(["sh", "-c", "sleep 0.1 & echo $!"], stdout=subprocess.PIPE, text=True).stdout)
    while os.path.exists(f"/proc/{pid}"):
        time.sleep(0.01)
    return [os.getppid()]

@workflow
async def flow() -> list[int]:
    return await leaves_an_orphan()
"""


@pytest.mark.skipif(not _may_unshare(), reason="no PID namespaces here: run as root, with unshare")
def test_h152_as_process_1_of_a_container(terminal: Terminal) -> None:
    """The command, in a PID namespace of its own: it works, reaps, and drains on SIGTERM."""
    module = write_flows(terminal.folder, PROCESS_1)
    live = terminal.start_below(UNSHARE, "worker", module, "--no-supervisor")
    live.wait_for("ready:")
    run = terminal("start", "flow").stdout.strip()
    assert json.loads(_result(terminal, run)) == [1]
    (process_1,) = Path(f"/proc/{live.process.pid}/task/{live.process.pid}/children").read_text().split()
    os.kill(int(process_1), signal.SIGTERM)
    assert live.end() == 0, live.text
    assert "worker_stopped" in live.text


def _result(terminal: Terminal, run: str) -> str:
    return terminal("runs", "result", run, "--timeout", str(PATIENCE_SECONDS)).stdout.strip()


AT_EXIT = """
import atexit, signal
from fencepost import step, workflow

@workflow
async def flow() -> None: ...

atexit.register(lambda: print("timer", signal.getitimer(signal.ITIMER_VIRTUAL), flush=True))
"""


@pytest.mark.parametrize("options", [(), ("--no-supervisor",)])
def test_no_timer_of_the_workers_runs_while_python_ends(terminal: Terminal, options: tuple[str, ...]) -> None:
    """Python puts signals' defaults back then, and the default of this one ends the process: a clean stop was none."""
    module = write_flows(terminal.folder, AT_EXIT)
    live = terminal.start("worker", module, *options)
    live.wait_for("ready:")
    live.send(signal.SIGTERM)
    assert live.end() == 0, live.text
    assert "timer (0.0, 0.0)" in live.text
