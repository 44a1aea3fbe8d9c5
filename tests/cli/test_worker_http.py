"""``fencepost worker --http``: real processes, a real port, and their end."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.cli.terminal import Live, Terminal, eventually, write_flows

from fencepost.config import Config, ConfigError
from fencepost.web.server import address_of, check
from fencepost.web.signatures import key_of, sign

FLOWS = """
import asyncio
from pathlib import Path
from fencepost import hook, step, workflow

@step
async def think(n: int) -> int:
    Path("thinking").touch()
    await asyncio.sleep(0.05 if n < 10 else 3)
    return n * n

@workflow
async def squares() -> None:
    async with hook(int, "squares", http=True, respond=20) as numbers:
        async for n in numbers:
            numbers.respond(await think(n))
"""
SECRET = "whsec_" + "A" * 43 + "="


def post(address: str, token: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Status and text."""
    asked = urllib.request.Request(f"http://{address}/hooks/{token}", body, headers or {}, method="POST")
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def serving(terminal: Terminal, *args: str, **more: str) -> tuple[Live, str]:
    """A worker that serves, and its address."""
    live = terminal.start("worker", write_flows(terminal.folder, FLOWS), "--http", "127.0.0.1:0", *args, **more)
    line = live.wait_for("http_started")
    if "ready: " not in live.text:  # the two lines come on two streams
        live.wait_for("ready: ")
    assert terminal("start", "squares").exit_code == 0
    return live, line.rpartition("address=")[2].split()[0].strip("'\"")


@pytest.mark.parametrize("alone", [True, False])
def test_a_worker_takes_webhooks_answers_them_and_ends_when_it_is_told(terminal: Terminal, alone: bool) -> None:
    """Under a supervisor and without one. A request that is under way then gets its answer."""
    live, address = serving(terminal, *(["--no-supervisor"] if alone else []))
    eventually(lambda: post(address, "squares", b"3") == (200, "9"))
    assert post(address, "nobody", b"3")[0] == 404
    late: list[tuple[int, str]] = []
    thread = threading.Thread(target=lambda: late.append(post(address, "squares", b"12", {"webhook-id": "late"})))
    (terminal.folder / "thinking").unlink()
    thread.start()
    eventually((terminal.folder / "thinking").exists)
    live.send(signal.SIGTERM)
    thread.join(30)
    assert late == [(200, "144")]
    assert live.end() == 0
    assert "http_stopped" in live.text
    assert "Traceback" not in live.text
    host, _, port = address.rpartition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5).close()


def test_secrets_come_from_the_configuration(terminal: Terminal) -> None:
    live, address = serving(terminal, FENCEPOST_WEBHOOK_SECRETS=SECRET)
    now = int(time.time())
    signed = {
        "webhook-id": "m",
        "webhook-timestamp": str(now),
        "webhook-signature": sign(key_of(SECRET), "m", now, b"2"),
    }
    eventually(lambda: post(address, "squares", b"2", signed) == (200, "4"))
    assert post(address, "squares", b"2", {"webhook-id": "m"})[0] == 401
    live.send(signal.SIGTERM)
    assert live.end() == 0
    shown = json.loads(terminal("config", "show", "--json", FENCEPOST_WEBHOOK_SECRETS=SECRET).stdout)
    assert shown["settings"]["webhook_secrets"] == "***"


def test_the_processes_of_one_worker_share_a_port(terminal: Terminal) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flows = write_flows(terminal.folder, FLOWS)
    live = terminal.start("worker", flows, "--http", f"127.0.0.1:{port}", "--processes", "2")
    live.wait_for("ready: ")
    assert terminal("start", "squares").exit_code == 0
    eventually(lambda: post(f"127.0.0.1:{port}", "squares", b"3") == (200, "9"))
    live.send(signal.SIGTERM)
    assert live.end() == 0


@pytest.mark.parametrize("args", [("--no-supervisor",), (), ("--processes", "2")])
def test_a_port_that_is_in_use_is_said_and_the_command_ends(terminal: Terminal, args: tuple[str, ...]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        live = terminal.start("worker", write_flows(terminal.folder, FLOWS), "--http", address, *args)
        assert live.end() == 5
    assert f"cannot listen on http = '{address}': Address already in use" in live.text
    assert "choose another port with --http" in live.text
    assert "Traceback" not in live.text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"http": "8080"}, "http = '8080': must be HOST:PORT"),
        ({"http": "localhost:http"}, "must be HOST:PORT"),
        ({"http": "localhost:65536"}, "must be HOST:PORT with a port up to 65535"),
        ({"http": ":1", "webhook_secrets": "short"}, "webhook_secrets: a webhook secret must be"),
    ],
)
def test_what_cannot_serve_is_refused_before_anything_is_opened(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check(Config(**settings))
    check(Config(webhook_secrets="short"))


def test_addresses() -> None:
    assert address_of("[::1]:80") == ("::1", 80)
    assert address_of(":8080") == ("0.0.0.0", 8080)


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    with pytest.raises(ConfigError, match=r"needs uvicorn: pip install 'fencepost\[web\]'"):
        check(Config(http=":1"))
