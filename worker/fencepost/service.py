"""What a worker tells the supervisor above it (systemd, Kubernetes), without a library and at no cost where nobody
listens.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence
from pathlib import Path

SEND_SECONDS = 1.0
"""The socket's reader is systemd itself; if it does not read for a second, its message is not worth a blocked
thread.
"""


def notify(state: str) -> bool:
    """Send a state (``READY=1``, ``STOPPING=1``, ``STATUS=...``; newlines separate several) to systemd. False if nobody
    listens or the send failed.

    Never raises: a supervisor that cannot be reached must not end a worker that works.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            link.settimeout(SEND_SECONDS)
            link.connect(address)
            link.sendall(state.encode())
    except OSError:
        return False
    return True


def report_alive(health_file: str = "", remarks: Sequence[str] = ()) -> str:
    """Say that the process still works: the keeper thread calls this once per renewal, only while the loop it watches
    moves.

    Touches the health file, which a liveness probe compares with the clock, and feeds systemd's watchdog. "" means no
    file. ``remarks``: what somebody who looks should know, a line each; they stand in the file, and their number in
    systemd's status. Answers why the file could not be touched, empty if it could (the caller logs it; the probe will
    notice).
    """
    status = f"\nSTATUS={len(remarks)} bodies go on beyond their time: {remarks[0]}" if remarks else ""
    notify("WATCHDOG=1" + status)
    if not health_file:
        return ""
    try:
        _write(Path(health_file), "".join(f"{remark}\n" for remark in remarks))
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""


def _write(file: Path, text: str) -> None:
    """The file's time is what counts; what stands in it is changed where that is possible."""
    file.touch()
    if text or file.stat().st_size:
        with contextlib.suppress(OSError):  # a full disk
            file.write_text(text)
            file.touch()
