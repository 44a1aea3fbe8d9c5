"""Is a server there? Decided by connecting and speaking its protocol, never by a process id or a file."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

PROBE_SECONDS = 2.0
PROTOCOL_3_0 = 196608


def postgres_answers(path: Path, user: str, database: str) -> bool:
    """True if a Postgres behind this unix socket lets the user in and is ready for a query."""
    parameters = f"user\0{user}\0database\0{database}\0application_name\0fencepost probe\0\0".encode()
    startup = struct.pack("!II", 8 + len(parameters), PROTOCOL_3_0) + parameters
    try:
        with _connect(path) as link:
            link.sendall(startup)
            return _ready_for_query(link)
    except (OSError, EOFError):
        return False


def valkey_answers(path: Path) -> bool:
    """True if a Valkey (or Redis) behind this unix socket answers PONG; one that is still loading its log does not."""
    try:
        with _connect(path) as link:
            link.sendall(b"PING\r\n")
            return _exactly(link, 5) == b"+PONG"
    except (OSError, EOFError):
        return False


def _connect(path: Path) -> socket.socket:
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        link.settimeout(PROBE_SECONDS)
        link.connect(str(path))
    except BaseException:
        link.close()
        raise
    return link


def _ready_for_query(link: socket.socket) -> bool:
    while True:
        kind, size = struct.unpack("!cI", _exactly(link, 5))
        _exactly(link, size - 4)
        if kind == b"Z":
            link.sendall(b"X\0\0\0\4")
            return True
        if kind == b"E":  # "the database system is starting up", or no such role: not ours to use either way
            return False


def _exactly(link: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = link.recv(count - len(data))
        if not part:
            raise EOFError
        data += part
    return data
