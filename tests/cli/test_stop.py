"""Ending runs from the command line and from the blocking client, with real workers. Renewals are minutes apart here:
what reaches a body is the hint.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.terminal import Terminal, alive, eventually, stop, terminal_in, write_flows

from fencepost import errors
from fencepost.sync import Client

FLOWS = """
import asyncio
import os
import time
from pathlib import Path

from fencepost import current, step, workflow


@step
async def in_the_loop(folder: str) -> None:
    (Path(folder) / "loop.began").touch()
    try:
        await asyncio.sleep(3600)
    finally:
        (Path(folder) / "loop.ended").touch()


@step
def in_a_thread(folder: str) -> None:
    (Path(folder) / "thread.began").touch()
    while not current().cancelled:
        time.sleep(0.01)
    (Path(folder) / "thread.ended").touch()


@step(process=True)
def in_a_process(folder: str) -> None:
    (Path(folder) / "process.pid").write_text(str(os.getpid()))
    (Path(folder) / "process.began").touch()
    time.sleep(3600)


@step
async def undo(folder: str) -> None:
    (Path(folder) / "undone").touch()


@workflow
async def mixed(folder: str) -> None:
    try:
        await asyncio.gather(in_the_loop(folder), in_a_thread(folder), in_a_process(folder))
    finally:
        await undo(folder)


@workflow
async def stubborn(folder: str) -> str:
    while True:
        try:
            await in_the_loop(folder)
        except asyncio.CancelledError:
            pass
"""


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory, postgres_url: str, valkey_url: str) -> Iterator[Terminal]:
    """A terminal whose namespace has two worker processes."""
    folder = tmp_path_factory.mktemp("stopped")
    environ = {
        "FENCEPOST_DATABASE_URL": postgres_url,
        "FENCEPOST_REDIS_URL": valkey_url,
        "FENCEPOST_NAMESPACE": f"t_{uuid.uuid4().hex[:16]}",
        "FENCEPOST_ENV": "test",
        "FENCEPOST_LEASE_SECONDS": "900",
        "FENCEPOST_RENEWAL_SECONDS": "300",
    }
    module = write_flows(folder, FLOWS)
    with terminal_in(folder, environ) as terminal:
        assert terminal("db", "migrate").exit_code == 0
        live = terminal.start("worker", module, "--processes", "2")
        live.wait_for("ready: 2 worker processes")
        yield terminal
        stop(live)


def answer(terminal: Terminal, *args: str, code: int = 0) -> Any:
    """What a command says in JSON."""
    told = terminal(*args, "--json")
    assert told.exit_code == code, told.output
    return json.loads(told.stdout)


def under_way(terminal: Terminal, workflow: str, folder: Path, *bodies: str) -> str:
    """A run whose bodies have begun."""
    run = answer(terminal, "start", workflow, json.dumps(str(folder)))["id"]
    eventually(lambda: all((folder / f"{body}.began").exists() for body in bodies))
    return str(run)


def all_stopped(folder: Path) -> bool:
    """The loop's body has had its cancellation, the thread has seen the flag, the process is gone."""
    ended = all((folder / f"{body}.ended").exists() for body in ("loop", "thread"))
    return ended and not alive(int((folder / "process.pid").read_text()))


def test_h101_cancel_reaches_every_kind_of_body_and_the_reason_comes_back(worked: Terminal, tmp_path: Path) -> None:
    """Whichever process turns the run."""
    run = under_way(worked, "mixed", tmp_path, "loop", "thread", "process")
    assert worked("runs", "cancel", run, "--reason", "customer asked").stdout == f"run {run} was asked to cancel\n"
    told = worked("runs", "result", run, "--timeout", "30")
    assert (told.exit_code, told.stdout) == (1, "")
    assert f"run {run} cancelled: customer asked\n" in told.stderr
    eventually(lambda: all_stopped(tmp_path))
    assert (tmp_path / "undone").exists()
    told = answer(worked, "runs", "result", run, code=1)
    assert (told["status"], told["error"]["message"]) == ("cancelled", "customer asked")
    shown = worked("runs", "show", run).stdout
    assert [line.split()[-2:] for line in shown.splitlines() if "run_cancelled" in line] == [["customer", "asked"]]
    again = worked("runs", "cancel", run)
    assert (again.exit_code, f"run {run} has ended" in again.stderr) == (5, True)


def test_h101_terminate_reaches_every_kind_of_body_without_asking_the_code(worked: Terminal, tmp_path: Path) -> None:
    """The run has ended when the command returns."""
    run = under_way(worked, "mixed", tmp_path, "loop", "thread", "process")
    told = answer(worked, "runs", "terminate", run, "--reason", "stuck")
    assert told == {"id": run, "status": "terminated"}
    told = answer(worked, "runs", "result", run, "--timeout", "30", code=1)
    assert (told["status"], told["error"]["message"]) == ("terminated", "stuck")
    eventually(lambda: all_stopped(tmp_path))
    assert not (tmp_path / "undone").exists()
    assert "stuck" in worked("runs", "why", run).stdout
    assert worked("runs", "terminate", run).exit_code == 5


def test_the_grace_is_shown_and_ends_the_run(worked: Terminal, tmp_path: Path) -> None:
    """``why`` says until when; a second request shortens it; the same id counts once."""
    run = under_way(worked, "stubborn", tmp_path, "loop")
    assert answer(worked, "runs", "cancel", run, "--grace", "3600", "--id", "1") == {
        "id": run,
        "cancel_requested": True,
    }
    assert worked("runs", "cancel", run, "--grace", "1", "--id", "1").exit_code == 0
    (grace,) = [wait for wait in answer(worked, "runs", "why", run)["waits_for"] if wait["kind"] == "grace"]
    assert grace["due"] is not None
    assert "the end of its cancellation's grace: terminated in " in worked("runs", "why", run).stdout
    assert worked("runs", "cancel", run, "--reason", "no more", "--grace", "0.1").exit_code == 0
    told = answer(worked, "runs", "result", run, "--timeout", "30", code=1)
    assert (told["status"], told["error"]["message"]) == ("terminated", "no more")


def test_what_cannot_be_ended(worked: Terminal) -> None:
    """A run that is not there, and a grace that is none: nothing is written."""
    nobody = str(uuid.uuid4())
    assert worked("runs", "cancel", nobody).exit_code == 3
    assert worked("runs", "terminate", nobody).exit_code == 3
    told = worked("runs", "cancel", nobody, "--grace", "0")
    assert (told.exit_code, "must be more than 0" in told.stderr) == (2, True)


def test_the_blocking_client_ends_runs_too(worked: Terminal, tmp_path: Path) -> None:
    """As the other one."""
    environ = worked.environ
    with Client(
        database_url=environ["FENCEPOST_DATABASE_URL"],
        redis_url=environ["FENCEPOST_REDIS_URL"],
        namespace=environ["FENCEPOST_NAMESPACE"],
    ) as client:
        first = client.run(under_way(worked, "mixed", tmp_path, "loop"))
        first.cancel("enough", grace=60, id="1")
        with pytest.raises(errors.RunCancelled, match="was cancelled: enough"):
            first.result(30)
        second = client.start("nobody_has_this", queue="nobody")
        second.terminate("never mind")
        with pytest.raises(errors.RunCancelled, match="was terminated: never mind") as caught:
            second.result(30)
        assert caught.value.terminated
        with pytest.raises(errors.RunEnded):
            second.cancel()
