"""The standard streams of a process of ours. A line that cannot be written is lost and counted: it stops nothing, and
nobody waits for it.

Whoever reads a worker's output may be gone (EPIPE), slow, or not reading at all, the disk may be full (ENOSPC), the
stream may have been closed before the process began (``2>&-``). None of that may reach the engine, whose lines these
are, or the user's code that prints. So ``secure`` is the first thing that a command, a worker process or a suspect's
process does.
"""

from __future__ import annotations

import errno
import io
import os
import select
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

WAIT_SECONDS = 0.05
"""How long a line waits for a reader that is behind, once until that reader has taken something: enough for one that
merely has other work, and nothing that an event loop would feel."""

LOCK_SECONDS = 2 * WAIT_SECONDS
"""A bound on the wait for another thread's line; then lines may mix. Nothing here may wait for ever."""

CHUNK_BYTES = 512
"""What a terminal or a pipe that said that it is writable takes without blocking (POSIX's least PIPE_BUF)."""


def _plain_notice(lost: int, why: str) -> str:
    return f"fencepost: {lost} lines could not be written here ({why})"


class Lossy(io.RawIOBase):
    """A descriptor that never raises and never blocks for longer than WAIT_SECONDS. ``lost``: lines that were not
    written and of which nothing was said yet; ``lost_ever``: all of them. ``notice(lost, why)``: the line that says
    so, written before the next one that can be.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.RLock()
        self._behind = False  # the reader has let a line wait in vain, and has taken nothing since
        self._partial = False  # the last line was cut off
        self._own: tuple[tuple[int, int], int] | None = None  # the pipe, opened anew without blocking
        self._why = ""
        self.lost: int = 0
        self.lost_ever: int = 0
        self.notice: Callable[[int, str], str] = _plain_notice
        os.register_at_fork(after_in_child=self._forked)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        try:
            return os.isatty(self._fd)
        except OSError:
            return False

    def close(self) -> None:
        """The standard streams stay open for as long as the process lives."""

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Write what can be written. Always answers that all of it was."""
        whole = bytes(data)
        locked = self._lock.acquire(timeout=LOCK_SECONDS)
        try:
            self._put(whole)
        finally:
            if locked:
                self._lock.release()
        return len(whole)

    def _put(self, line: bytes) -> None:
        notice = b""
        if self.lost:
            cut = b"\n" if self._partial else b""
            notice = cut + self.notice(self.lost, self._why).encode("utf-8", "backslashreplace") + b"\n"
        try:
            written = self._send(notice + line)
        except OSError as error:  # what it is is kept, and said with the next line that can be written
            self._why = error.strerror or type(error).__name__
            written = 0
        if written >= len(notice):
            if notice:
                self.lost = 0
            written -= len(notice)
        else:
            self._partial = self._partial or written > 0
            written = 0
        if written < len(line):
            count = max(1, line.count(b"\n"))
            self.lost += count
            self.lost_ever += count
            self._partial = self._partial or written > 0
        else:
            self._partial = False

    def _send(self, data: bytes) -> int:
        """How many bytes went. Raises OSError if none could at all."""
        mode = os.fstat(self._fd)
        if stat.S_ISREG(mode.st_mode):
            return _all(lambda rest: os.write(self._fd, rest), data)
        if stat.S_ISSOCK(mode.st_mode):
            with socket.socket(fileno=os.dup(self._fd)) as link:
                flags = socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0)
                return self._patiently(lambda rest: link.send(rest, flags), data)
        own = self._nonblocking(mode) if stat.S_ISFIFO(mode.st_mode) else None
        if own is not None:
            return self._patiently(lambda rest: os.write(own, rest), data)
        return self._patiently(lambda rest: os.write(self._fd, rest[:CHUNK_BYTES]), data)

    def _patiently(self, send: Callable[[bytes], int], data: bytes) -> int:
        """Send when there is room; wait for room once, as long as the reader is not known to be behind."""
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        until = time.monotonic() + (0.0 if self._behind else WAIT_SECONDS)
        sent = 0
        while sent < len(data):
            left = max(0.0, until - time.monotonic())
            found = poll.poll(left * 1000)
            if not found:
                self._why = "its reader does not read"
                self._behind = True
                return sent
            if found[0][1] & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
                # Not by writing: SIGPIPE may not be ignored any more, if the user's code says so.
                if sent:
                    self._why = os.strerror(errno.EPIPE)
                    return sent
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
            try:
                sent += send(data[sent:])
            except BlockingIOError:  # room, and less of it than one write wants
                if time.monotonic() >= until:
                    self._why = "its reader does not read"
                    self._behind = True
                    return sent
                time.sleep(0.001)
                continue
            except OSError as error:
                if not sent:
                    raise
                self._why = error.strerror or type(error).__name__
                return sent
            self._behind = False
        return sent

    def _nonblocking(self, mode: os.stat_result) -> int | None:
        """The same pipe behind another description, which alone does not block: the flag of ours would be everybody's
        who has inherited it. None where it cannot be opened (it belongs to another user).
        """
        place = (mode.st_dev, mode.st_ino)
        if self._own is not None and self._own[0] == place:
            return self._own[1]
        if self._own is not None:
            os.close(self._own[1])
            self._own = None
        try:
            own = os.open(f"/proc/self/fd/{self._fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        self._own = (place, own)
        return own

    def _forked(self) -> None:
        self._lock = threading.RLock()  # a thread that is not here may have held it


def _all(send: Callable[[bytes], int], data: bytes) -> int:
    sent = 0
    while sent < len(data):
        try:
            sent += send(data[sent:])
        except OSError:
            if sent:
                return sent
            raise
    return sent


class OutputLost(OSError):
    """What a command prints could not be written. The message has what it was."""


class Answer(io.RawIOBase):
    """Standard output of a command whose output is what it is for: that it could not be written is an error of the
    command (``OutputLost``), told once.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._failed = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def close(self) -> None:
        """The standard streams stay open for as long as the process lives."""

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Write all of it. Raises OutputLost; BrokenPipeError, which is how a reader such as ``head`` ends a command.
        After that everything is taken, as the interpreter's own last flush would fail again.
        """
        whole = bytes(data)
        if self._failed:
            return len(whole)
        rest = whole
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BrokenPipeError:
                self._failed = True
                raise
            except OSError as error:
                self._failed = True
                shown = whole.decode("utf-8", "replace").strip()
                shown = shown if len(shown) <= 200 else shown[:200] + "…"
                reason = f"standard output cannot be written: {error.strerror}; what stood there is {shown!r}"
                raise OutputLost(error.errno, reason) from error
        return len(whole)


def _stream(raw: io.RawIOBase, before: TextIO | None) -> TextIO:
    unbuffered: Any = raw  # as the interpreter's own streams are under -u, which their types do not say
    return io.TextIOWrapper(
        unbuffered,
        encoding=(before.encoding if before is not None else "") or "utf-8",
        errors="backslashreplace",
        newline="\n",
        line_buffering=True,
    )


def secure(*, daemon: bool = False) -> None:
    """Make this process's streams safe. ``daemon``: standard output is read by nobody who would miss a line, so that it
    is as lossy as standard error; else it is the command's answer, and not to be able to write it is an error.

    A descriptor that is closed is opened on nothing: the next socket would have its number otherwise, and be written
    to by whoever means the stream.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            nothing = os.open(os.devnull, os.O_RDWR)  # the least number that is free: this one
            if nothing != fd:
                os.dup2(nothing, fd)
                os.close(nothing)
            os.set_inheritable(fd, True)
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] - what the interpreter makes of a closed one
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for the process's life
    sys.stderr = _stream(Lossy(2), sys.stderr)
    sys.stdout = _stream(Lossy(1) if daemon else Answer(1), sys.stdout)


def lose_output() -> None:
    """From now on standard output is a daemon's, if it is ours at all (a test may have put its own there)."""
    if isinstance(getattr(sys.stdout, "buffer", None), Answer):
        sys.stdout.flush()
        sys.stdout = _stream(Lossy(1), sys.stdout)


def say_losses(notice: Callable[[int, str], str]) -> None:
    """How standard error says that lines were lost, in the form of the log that goes there."""
    raw: object = getattr(sys.stderr, "buffer", None)
    if isinstance(raw, Lossy):
        raw.notice = notice
