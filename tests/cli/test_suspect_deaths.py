"""The process that deals with a suspect says when user code begins: what ends it before that proves nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from tests.cli.terminal import Terminal, write_flows

from fencepost.config import Config, load_config
from fencepost.engine.alone import BEGUN, Order, Report
from fencepost_queue.protocol import Delivery, tick_key

FLOWS = """
import os
from fencepost import workflow

@workflow
async def dies() -> int:
    os._exit(7)

@workflow
async def ends() -> int:
    return 1
"""


def play(config: Config, module: str, run: str, folder: Path) -> tuple[int, list[bytes]]:
    """The process's code, and what it said but for that it is alive."""
    read, write = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-m", "fencepost.engine.suspect", str(write)],
        stdin=subprocess.PIPE,
        pass_fds=(write,),
        cwd=folder,
    )
    os.close(write)
    assert child.stdin is not None
    delivery = Delivery(queue="default", key=tick_key(run), token="test.1")
    child.stdin.write(msgspec.json.encode(Order(config, (module,), delivery)) + b"\n")
    child.stdin.flush()
    with os.fdopen(read, "rb") as pipe:
        words = pipe.read().splitlines(keepends=True)
    code = child.wait(60)
    child.stdin.close()
    return code, [word for word in words if word != b"\n"]


def test_h205_a_death_in_user_code_comes_behind_its_word(terminal: Terminal, tmp_path: Path) -> None:
    """A turn that ends the process; and one that does not, whose report is the last word."""
    module = write_flows(tmp_path, FLOWS)
    config = load_config(None, terminal.environ)
    deadly, harmless = (json.loads(terminal("start", name, "--json").stdout)["id"] for name in ("dies", "ends"))
    assert play(config, module, deadly, tmp_path) == (7, [BEGUN])
    code, words = play(config, module, harmless, tmp_path)
    assert (code, words[0]) == (0, BEGUN)
    assert msgspec.json.decode(words[1], type=Report).settled


@pytest.mark.parametrize("missing", ["module", "postgres"])
def test_h205_without_code_or_postgres_nothing_begins(missing: str, terminal: Terminal, tmp_path: Path) -> None:
    """A module that ends the process while it is imported; a server that nobody can reach."""
    module = write_flows(tmp_path, FLOWS if missing == "postgres" else "import os; os._exit(9)")
    config = load_config(None, terminal.environ)
    if missing == "postgres":
        config = replace(config, database_url="postgresql://127.0.0.1:1/none", connect_timeout_seconds=1.0)
    code, words = play(config, module, "018f0000-0000-7000-8000-000000000001", tmp_path)
    if missing == "module":
        assert (code, words) == (9, [])
    else:
        (report,) = words
        assert (code, msgspec.json.decode(report, type=Report).settled) == (0, False)
