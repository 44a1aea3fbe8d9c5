"""Encrypted runs with real servers and processes: worker, process steps, client and command line."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
from tests.cli.terminal import Terminal, stop, write_flows

from fencepost.config import load_config
from fencepost.engine.alone import Order, Report
from fencepost_queue.protocol import Delivery, tick_key

FLOWS = """
from fencepost import step, workflow


@step(process=True)
def elsewhere(word: str) -> str:
    return word.upper()


@step(retries=0)
async def breaks(word: str) -> str:
    raise ValueError(f"no luck with {word}")


@workflow
async def shout(word: str) -> str:
    return await elsewhere(word)


@workflow
async def fails(word: str) -> str:
    return await breaks(word)
"""

KEYS = {
    "FENCEPOST_PAYLOAD_CODECS": "zlib,aes-gcm",
    "FENCEPOST_PAYLOAD_KEYS": "k1:" + base64.b64encode(b"1" * 32).decode(),
}
NO_KEYS = {"FENCEPOST_PAYLOAD_CODECS": "", "FENCEPOST_PAYLOAD_KEYS": ""}


def test_with_the_keys_all_is_readable_and_without_them_the_missing_one_is_named(
    terminal: Terminal, tmp_path: Path
) -> None:
    """Worker, a body in another process, start, result, show and why."""
    module = write_flows(tmp_path, FLOWS)
    worker = terminal.start("worker", module, **KEYS)
    worker.wait_for("ready: ")
    told = terminal("start", "shout", '"pass-word"', "--wait", "--timeout", "30", **KEYS)
    assert told.exit_code == 0, told.output
    run, result = told.stdout.splitlines()
    assert "PASS-WORD" in result
    shown = terminal("runs", "show", run, **KEYS).stdout
    assert "pass-word" in shown
    assert "PASS-WORD" in shown
    without = terminal("runs", "show", run, **NO_KEYS)
    assert without.exit_code == 0, without.output
    assert "pass-word" not in without.stdout.lower()
    assert "k1" in without.stdout
    events = [json.loads(line) for line in terminal("runs", "events", run, "--json", **NO_KEYS).stdout.splitlines()]
    assert events[0]["payload"]["input"] == {"encrypted_with_key": "k1"}
    assert events[-1]["payload"] == {"encrypted_with_key": "k1"}
    refused = terminal("runs", "result", run, **NO_KEYS)
    assert refused.exit_code != 0
    assert "encrypted with key 'k1', and it is not configured here" in refused.output

    failed = terminal("start", "fails", '"pass-word"', "--wait", "--timeout", "30", "--json", **KEYS)
    assert json.loads(failed.stdout)["error"]["message"] == "no luck with pass-word", failed.output
    run = json.loads(failed.stdout)["id"]
    assert "no luck with pass-word" in terminal("runs", "show", run, **KEYS).stdout
    without = terminal("runs", "show", run, **NO_KEYS)
    assert "pass-word" not in without.stdout
    assert "<encrypted with key 'k1', which is not here>" in without.stdout
    stop(worker)
    assert "pass-word" not in worker.text


CODECS = """
class Turned:
    name = "turned"

    def encode(self, data):
        return data[::-1]

    decode = encode


turned = Turned()
"""


def test_a_codec_of_yours_is_used_by_worker_client_and_command_and_named_where_it_is_missing(
    terminal: Terminal, tmp_path: Path
) -> None:
    """Found beside the workflows, by its path; around it the encryption that fencepost has."""
    module = write_flows(tmp_path, FLOWS)
    codecs = write_flows(tmp_path, CODECS)
    here = {**KEYS, "FENCEPOST_PAYLOAD_CODECS": f"{codecs}:turned,aes-gcm"}
    worker = terminal.start("worker", module, **here)
    worker.wait_for("ready: ")
    told = terminal("start", "shout", '"pass-word"', "--wait", "--timeout", "30", **here)
    assert told.exit_code == 0, told.output
    run, result = told.stdout.splitlines()
    assert "PASS-WORD" in result
    reading = {**KEYS, "FENCEPOST_PAYLOAD_CODECS": "", "FENCEPOST_PAYLOAD_CODECS_READ": f"{codecs}:turned"}
    assert "PASS-WORD" in terminal("runs", "show", run, **reading).stdout
    without = terminal("runs", "events", run, "--json", **KEYS)
    events = [json.loads(line) for line in without.stdout.splitlines()]
    assert events[0]["payload"]["input"] == {"written_by_codec": "turned"}
    assert events[-1]["payload"] == {"written_by_codec": "turned"}
    failed = json.loads(terminal("start", "fails", '"pass-word"', "--wait", "--timeout", "30", "--json", **here).stdout)
    assert failed["error"]["message"] == "no luck with pass-word"
    shown = terminal("runs", "show", failed["id"], **KEYS).stdout
    assert "pass-word" not in shown
    assert "<written by codec 'turned', which is not here>" in shown
    stop(worker)


def test_keys_that_cannot_be_used_end_a_command_before_it_does_anything(bare: Terminal) -> None:
    """Exit code 2, the setting, the way out."""
    told = bare("config", "check", FENCEPOST_PAYLOAD_CODECS="aes-gcm")
    assert told.exit_code == 2
    assert "there is no key: set payload_key_file" in told.output
    shown = bare("config", "show", **KEYS)
    assert KEYS["FENCEPOST_PAYLOAD_KEYS"] not in shown.output
    assert "***" in shown.output


def test_a_suspects_child_has_the_keys(terminal: Terminal, tmp_path: Path) -> None:
    """The child that deals with a suspect's tick reads the run's input, and what it writes is encrypted."""
    module = write_flows(tmp_path, FLOWS)
    run = json.loads(terminal("start", "shout", '"pass-word"', "--json", **KEYS).stdout)["id"]
    config = load_config(None, {**terminal.environ, **KEYS})
    order = Order(config, (module,), Delivery(queue="default", key=tick_key(run), token="test.1"))
    read, write = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-m", "fencepost.engine.suspect", str(write)],
        stdin=subprocess.PIPE,
        pass_fds=(write,),
        cwd=tmp_path,
    )
    os.close(write)
    assert child.stdin is not None
    child.stdin.write(msgspec.json.encode(order) + b"\n")
    child.stdin.flush()
    with os.fdopen(read, "rb") as pipe:
        report = msgspec.json.decode(pipe.read().splitlines()[-1], type=Report)
    assert child.wait(60) == 0
    child.stdin.close()  # not before: its end tells the child that its parent is gone
    assert report.settled
    readable = terminal("runs", "events", run, "--json", **KEYS).stdout
    assert [json.loads(line)["type"] for line in readable.splitlines()][:3] == [
        "run_created",
        "run_started",
        "step_created",
    ]
    assert readable.count("pass-word") == 2
    assert "pass-word" not in terminal("runs", "events", run, "--json", **NO_KEYS).stdout
