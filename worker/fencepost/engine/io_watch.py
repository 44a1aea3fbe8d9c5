"""Development: tell of input and output in workflow code that the workflow's loop cannot refuse, because it does not go
through the loop: files, blocking sockets, databases, subprocesses. Each line of the user's is told once.

Python raises an audit event before each of them (PEP 578). A hook cannot be taken away again, so it does nothing but in
a thread whose running loop is a workflow's.
"""

from __future__ import annotations

import sys
from types import FrameType

from fencepost.replay import interface
from fencepost.telemetry import note
from fencepost.tracebacks import is_own

WATCHED = {
    "open": "a file",
    "os.listdir": "a folder",
    "os.scandir": "a folder",
    "os.mkdir": "a folder",
    "os.remove": "a file",
    "os.rename": "a file",
    "os.system": "a subprocess",
    "os.exec": "a subprocess",
    "os.posix_spawn": "a subprocess",
    "os.fork": "a subprocess",
    "os.forkpty": "a subprocess",
    "subprocess.Popen": "a subprocess",
    "shutil.copyfile": "a file",
    "shutil.move": "a file",
    "shutil.rmtree": "a folder",
    "tempfile.mkstemp": "a file",
    "tempfile.mkdtemp": "a folder",
    "glob.glob": "a folder",
    "socket.connect": "the network",
    "socket.getaddrinfo": "the network",
    "socket.gethostbyname": "the network",
    "socket.sendto": "the network",
    "urllib.Request": "the network",
    "sqlite3.connect": "a database",
    "sqlite3.connect/handle": "a database",
    "input": "the terminal",
}
"""Audit events, and what each touches. https://docs.python.org/3/library/audit_events.html"""

_READERS = ("importlib", "_frozen_importlib", "linecache", "tokenize", "traceback", "inspect", "zipimport")
"""Modules that read source files on behalf of code which does no input of its own: imports and tracebacks."""

_told: set[str] = set()
_installed: list[bool] = []


def watch_io() -> None:
    """Begin to tell. Idempotent, for the whole process and for ever."""
    if not _installed:
        _installed.append(True)
        sys.addaudithook(_audit)


def _audit(event: str, args: tuple[object, ...]) -> None:
    if event not in WATCHED:
        return
    asking = interface.current()
    if asking is None or asking.evicting:
        return
    line = _users_line(sys._getframe(1))  # pyright: ignore[reportPrivateUsage]  # inspect's way costs ten times as much
    if line is None or line in _told:
        return
    _told.add(line)
    note("io_in_workflow", run=asking.run_id, workflow=asking.workflow, what=WATCHED[event], audit=event, at=line)


def _users_line(frame: FrameType | None) -> str | None:
    """``file:line`` of the innermost frame of the user's; None for what only reads the code itself."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith(_READERS):
            return None
        if is_own(frame.f_code.co_filename, module):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return None
