"""In development, input and output of workflow code is told, with the line; what steps do is not."""

from __future__ import annotations

import linecache
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine_virtual import run
from engine_world import World
from tests.log_lines import captured

from fencepost import hook, step, workflow
from fencepost.engine.io_watch import WATCHED, watch_io


def _connects() -> None:
    with socket.socket() as one:
        one.settimeout(0.2)
        one.connect_ex(("127.0.0.1", 1))


def _spawns() -> None:
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)


def _database() -> None:
    sqlite3.connect(":memory:").close()


IO: dict[str, tuple[Callable[[], Any], str]] = {
    "open": (lambda: Path(os.devnull).read_text(), "a file"),
    "a folder": (lambda: os.listdir("/"), "a folder"),
    "subprocess.run": (lambda: subprocess.run([sys.executable, "-c", ""], check=True), "a subprocess"),
    "os.posix_spawn": (_spawns, "a subprocess"),
    "a socket": (_connects, "the network"),
    "getaddrinfo": (lambda: socket.getaddrinfo("127.0.0.1", 80), "the network"),
    "sqlite3": (_database, "a database"),
    "tempfile": (lambda: tempfile.TemporaryDirectory().cleanup(), "a folder"),
}


@pytest.mark.parametrize("kind", IO)
def test_each_line_of_workflow_code_is_told_once(kind: str) -> None:
    watch_io()
    touch, what = IO[kind]

    async def main() -> None:
        world = World()

        @step(registry=world.registry)
        async def in_a_step() -> None:
            touch()

        def in_workflow() -> None:
            touch()  # a line of its own per test would be one in all; the innermost line counts

        @workflow(registry=world.registry)
        async def flow(told: bool) -> None:
            await in_a_step()
            if told:
                in_workflow()
                async with hook(int, token="t") as more:
                    await more
                in_workflow()

        with captured() as logs:
            async with world.worker("A"):
                await (await world.start(flow, False)).result(30)
                assert [line for line in logs if line["event"] == "io_in_workflow"] == [], "steps may"
                started = await world.start(flow, True)
                async with world.worker("B"):
                    await world.settle()
                    await world.client().resume("t", 1)
                    await started.result(30)
        told = [line for line in logs if line["event"] == "io_in_workflow"]
        assert told, logs
        assert len({line["at"] for line in told}) == len(told), "each line once, whatever is replayed"
        assert {line["what"] for line in told} <= set(WATCHED.values())
        assert what in {line["what"] for line in told}
        assert all("test_io_watch.py:" in line["at"] for line in told)
        assert {line["run"] for line in told} == {started.id}

    run(main)


def test_imports_and_tracebacks_are_no_io_of_the_code() -> None:
    watch_io()

    async def main() -> None:
        world = World()

        @workflow(registry=world.registry)
        async def flow() -> str:
            sys.modules.pop("colorsys", None)
            import colorsys

            linecache.clearcache()
            try:
                raise ValueError(colorsys.__name__)
            except ValueError:
                return traceback.format_exc()

        with captured() as logs:
            async with world.worker("A"):
                text = await (await world.start(flow)).result(30)
        assert "raise ValueError(colorsys.__name__)" in text
        assert [line for line in logs if line["event"] == "io_in_workflow"] == []

    run(main)
