"""What a worker tells the supervisor above it: a datagram to systemd, a file's time to a probe."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fencepost.service import notify, report_alive


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A socket as systemd has it, named by NOTIFY_SOCKET."""
    with tempfile.TemporaryDirectory(prefix="fp-") as folder:
        path = f"{folder}/notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            link.bind(path)
            link.settimeout(10)
            monkeypatch.setenv("NOTIFY_SOCKET", path)
            yield link


def test_a_state_arrives(listener: socket.socket) -> None:
    """As one datagram."""
    assert notify("READY=1\nSTATUS=serving default")
    assert listener.recv(1024) == b"READY=1\nSTATUS=serving default"


def test_without_a_supervisor_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable, a socket that is gone, an address of another kind (vsock)."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    for address in ("/nonexistent/notify", "vsock:2:1234"):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        assert not notify("READY=1")


@pytest.mark.skipif(not os.path.exists("/proc/self"), reason="abstract sockets are a thing of Linux")
def test_abstract_sockets_are_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address begins with @ in the variable, with a zero byte in the kernel."""
    name = f"fencepost-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        link.bind(f"\0{name}")
        link.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        assert notify("STOPPING=1")
        assert link.recv(1024) == b"STOPPING=1"


def test_a_live_worker_touches_its_file_and_feeds_the_watchdog(listener: socket.socket, tmp_path: Path) -> None:
    """The file's time moves forward although it exists."""
    file = tmp_path / "health"
    file.touch()
    os.utime(file, (0, 0))
    assert report_alive(str(file)) == ""
    assert listener.recv(1024) == b"WATCHDOG=1"
    assert file.stat().st_mtime > 0


def test_a_file_that_cannot_be_touched_is_told(tmp_path: Path) -> None:
    """The reason and no exception: the worker works on, the probe decides."""
    assert report_alive(str(tmp_path / "no" / "health")) == "No such file or directory"
    assert report_alive("") == ""


def test_remarks_stand_in_the_health_file_and_in_the_status(listener: socket.socket, tmp_path: Path) -> None:
    """And go when there are none."""
    file = tmp_path / "health"
    assert report_alive(str(file), ["step a#1 of run r (thread) since noon"]) == ""
    assert file.read_text() == "step a#1 of run r (thread) since noon\n"
    assert listener.recv(1024) == (
        b"WATCHDOG=1\nSTATUS=1 bodies go on beyond their time: step a#1 of run r (thread) since noon"
    )
    assert report_alive(str(file)) == ""
    assert file.read_text() == ""
    assert listener.recv(1024) == b"WATCHDOG=1"
