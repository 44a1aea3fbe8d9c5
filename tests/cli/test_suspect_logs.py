"""The process that deals with a suspect logs as the worker that started it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
from tests.cli.terminal import Terminal, write_flows

from fencepost.config import load_config
from fencepost.engine.alone import Order, Report
from fencepost.engine.logs import Logs
from fencepost_queue.protocol import Delivery, tick_key

FLOWS = """
import logging
from fencepost import workflow

@workflow
async def talks() -> int:
    logging.getLogger("shop").info("in the workflow")
    raise ValueError("no luck")
"""


def test_a_suspects_process_logs_in_the_form_and_from_the_level_of_its_worker(
    terminal: Terminal, tmp_path: Path
) -> None:
    """To standard error; standard output stays empty. What the user logs is there too."""
    module = write_flows(tmp_path, FLOWS)
    run = json.loads(terminal("start", "talks", "--json").stdout)["id"]
    config = load_config(None, terminal.environ)
    delivery = Delivery(queue="default", key=tick_key(run), token="test.1")
    read, write = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-m", "fencepost.engine.suspect", str(write)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(write,),
        cwd=tmp_path,
    )
    os.close(write)
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdin.write(msgspec.json.encode(Order(config, (module,), delivery, Logs("json", "debug"))) + b"\n")
    child.stdin.flush()
    with os.fdopen(read, "rb") as pipe:
        assert msgspec.json.decode(pipe.read().splitlines()[-1], type=Report).settled
    assert child.wait(60) == 0
    child.stdin.close()  # not before: its end tells the child that its parent is gone
    assert child.stdout.read() == b""
    lines = [json.loads(line) for line in child.stderr.read().splitlines()]
    assert {"in the workflow", "tick_handled"} <= {line["event"] for line in lines}
