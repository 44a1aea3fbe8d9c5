"""H148: a worker whose log cannot be written works and ends as any other; a command says what it could not print."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from tests.cli.terminal import PATIENCE_SECONDS, Terminal


def _fill(write: int) -> None:
    os.set_blocking(write, False)
    try:
        while True:
            os.write(write, b"x" * 65536)
    except BlockingIOError:
        pass
    try:
        while True:
            os.write(write, b"x")
    except BlockingIOError:
        pass
    os.set_blocking(write, True)


@contextmanager
def _bad(kind: str) -> Generator[tuple[int | None, int | None]]:
    """A descriptor that lines cannot be written to (None: closed), and the end that would be read."""
    if kind == "closed":
        yield None, None
        return
    if kind == "full disk":
        fd = os.open("/dev/full", os.O_WRONLY)
        try:
            yield fd, None
        finally:
            os.close(fd)
        return
    read, write = os.pipe()
    if kind == "reader gone":
        os.close(read)
    else:
        _fill(write)
    try:
        yield write, None if kind == "reader gone" else read
    finally:
        os.close(write)
        if kind != "reader gone":
            os.close(read)


def _spawn(terminal: Terminal, fd: int | None, *args: str) -> subprocess.Popen[bytes]:
    """``fencepost ARGS``, with both streams on ``fd``; None: closed, as by ``>&- 2>&-``."""
    command = [sys.executable, "-m", "fencepost", *args]
    if fd is None:
        command = ["/bin/sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command]
    return subprocess.Popen(
        command,
        cwd=terminal.folder,
        env={**{k: v for k, v in os.environ.items() if not k.startswith("FENCEPOST_")}, **terminal.environ},
        stdin=subprocess.DEVNULL,
        stdout=fd,
        stderr=fd,
    )


NOISY = """
import logging, sys
from fencepost import step, workflow

@step
async def noisy(n: int) -> int:
    for i in range(300):
        print("on standard output", "x" * 300)
        print("on standard error", "x" * 300, file=sys.stderr)
        logging.getLogger("mine").warning("in the log %s", "x" * 300)
    return n + 1

@workflow
async def loud(n: int) -> int:
    return await noisy(await noisy(n))
"""


@pytest.mark.parametrize(
    ("kind", "supervised"),
    [
        ("closed", "supervised"),
        ("full disk", "supervised"),
        ("reader gone", "supervised"),
        ("unread", "supervised"),
        ("unread", "alone"),
    ],
)
def test_h148_a_worker_that_cannot_write_works_and_drains(terminal: Terminal, kind: str, supervised: str) -> None:
    """Its own lines, the user's prints and logs are lost; runs end, nothing is counted as a crash, SIGTERM drains."""
    (terminal.folder / "noisy_flows.py").write_text(NOISY)
    run = json.loads(terminal("start", "loud", "1", "--json").stdout)["id"]
    options = ["--no-supervisor"] if supervised == "alone" else []
    with _bad(kind) as (fd, _):
        process = _spawn(terminal, fd, "worker", "noisy_flows", *options)
        try:
            result = terminal("runs", "result", run, "--timeout", str(PATIENCE_SECONDS))
            assert (result.exit_code, result.stdout) == (0, "3\n"), result.output
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            process.kill()
            process.wait()
    events = json.loads(terminal("runs", "show", run, "--json").stdout)["events"]
    assert [e["type"] for e in events].count("step_started") == 2


def test_h148_lost_lines_are_counted_and_said_once_there_is_room(terminal: Terminal) -> None:
    """The reader comes back: the first line that it gets says how many it has missed, in the log's form."""
    (terminal.folder / "noisy_flows.py").write_text(NOISY)
    run = json.loads(terminal("start", "loud", "1", "--json").stdout)["id"]
    with _bad("unread") as (fd, read):
        assert fd is not None
        assert read is not None
        process = _spawn(terminal, fd, "--log-format", "json", "worker", "noisy_flows", "--no-supervisor")
        try:
            assert terminal("runs", "result", run, "--timeout", str(PATIENCE_SECONDS)).stdout == "3\n"
            os.set_blocking(read, False)
            while True:
                try:
                    os.read(read, 1 << 16)
                except BlockingIOError:
                    break
            os.set_blocking(read, True)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_SECONDS) == 0
            lines = os.read(read, 1 << 16).decode().splitlines()
        finally:
            process.kill()
            process.wait()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    said = [e["event"] for e in events]
    assert said[0] == "log_lines_lost", lines
    assert {"worker_draining", "worker_stopped"} <= set(said), lines
    assert said.count("log_lines_lost") == 1, "said once"
    assert events[0]["count"] >= 1_200
    assert events[0]["error"] == "its reader does not read"


def test_h148_a_command_says_what_it_could_not_print(terminal: Terminal) -> None:
    """The run was started: its id stands in the error, without a traceback, and the exit code is 1."""
    with _bad("full disk") as (fd, _):
        assert fd is not None
        environ = {**os.environ, **terminal.environ}
        told = subprocess.run(
            [sys.executable, "-m", "fencepost", "start", "fulfil", '{"id": 1}'],
            cwd=terminal.folder, env=environ, stdout=fd, stderr=subprocess.PIPE, text=True, check=False,
            timeout=PATIENCE_SECONDS,
        )  # fmt: skip
    (run,) = json.loads(terminal("runs", "list", "--workflow", "fulfil", "--json").stdout)["runs"]
    assert told.returncode == 1
    assert run["id"] in told.stderr
    assert "No space left on device" in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize("kind", ["closed", "full disk", "reader gone", "unread"])
def test_h148_a_command_whose_errors_cannot_be_written_keeps_its_exit_code(terminal: Terminal, kind: str) -> None:
    """3 is 3: scripts read it."""
    with _bad(kind) as (fd, _):
        process = _spawn(terminal, fd, "runs", "show", "00000000-0000-7000-8000-000000000000")
        assert process.wait(PATIENCE_SECONDS) == 3
