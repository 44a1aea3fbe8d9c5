"""The owner's side of a guard: take the server's lock, start the guard, wait until the server answers, let go.

Everything here blocks. Errors: ServersError.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from fencepost.dev import guard as guard_script
from fencepost.dev.guard import Command, Plan

START_SECONDS = 60.0
"""A cold initdb on a slow disk takes seconds; a minute means something is wrong."""
STOP_SECONDS = 20.0
"""More than the sum of what a guard grants its server (14 s at most), so that a lock held longer is not ours."""
LOG_BYTES_MAX = 4 * 1024 * 1024
TAIL_BYTES = 2_000
POLL_SECONDS = 0.02


class ServersError(Exception):
    """The embedded servers could not be started, found or stopped. The message says what, why and the way out."""


def try_lock(path: Path, *, shared: bool = False) -> int | None:
    """A descriptor that holds the lock, or None if another process has it. The lock dies with the last process that
    inherited the descriptor.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return fd


def wait_lock(path: Path, what: str, seconds: float = STOP_SECONDS) -> int:
    """As try_lock, waiting for the last process of an earlier server to end."""
    deadline = time.monotonic() + seconds
    while True:
        fd = try_lock(path)
        if fd is not None:
            return fd
        if time.monotonic() > deadline:
            raise ServersError(
                f"{what} of an earlier owner still holds {path} after {seconds:g} s;"
                " end it, or use another state folder"
            )
        time.sleep(POLL_SECONDS)


class Guarded:
    """One server under a guard of ours. ``close`` asks it to stop; so does the death of this process."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], pipe: int, log: Path) -> None:
        self.name = name
        self._process = process
        self._pipe: int | None = pipe
        self._log = log

    @classmethod
    def spawn(cls, name: str, plan: Plan, log: Path) -> Guarded:
        """Start the guard. ``plan.lock_fd`` is handed over: closed here, held by the guard and its server from now
        on.
        """
        if not sys.executable:
            raise ServersError(
                "sys.executable is empty: embedded servers need a Python interpreter to run their guard with"
            )
        if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
            log.replace(log.with_suffix(".log.1"))
        reader, writer = os.pipe()
        try:
            with log.open("ab") as output:
                process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(guard_script.__file__), json.dumps(asdict(plan))],
                    stdin=reader,
                    stdout=output,
                    stderr=output,
                    pass_fds=[plan.lock_fd],
                    start_new_session=True,  # Ctrl-C in the owner's terminal must not reach guard or server
                )
        except BaseException:
            os.close(writer)
            raise
        finally:
            os.close(reader)
            os.close(plan.lock_fd)
        return cls(name, process, writer, log)

    def wait_ready(self, answers: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        """Return once the server answers. Raises ServersError with the end of its log if it ends first or takes too
        long.
        """
        deadline = time.monotonic() + seconds
        while not answers():
            code = self._process.poll()
            if code is not None:
                raise ServersError(
                    f"embedded {self.name} ended with code {code} while starting;"
                    f" the end of {self._log}:\n{self._tail()}"
                )
            if time.monotonic() > deadline:
                raise ServersError(
                    f"embedded {self.name} did not answer within {seconds:g} s; the end of {self._log}:\n{self._tail()}"
                )
            time.sleep(POLL_SECONDS)

    def gone(self) -> str | None:
        """Why a server that is wanted has ended, with the end of its log; None: it runs. Does not block."""
        code = self._process.poll()
        if code is None or self._pipe is None:
            return None
        return f"embedded {self.name} has ended with code {code}; the end of {self._log}:\n{self._tail()}"

    def let_go(self) -> None:
        """Close our end of the pipe: the guard stops the server. Returns at once. Idempotent. Also what a forked child
        does with its copy.
        """
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            os.close(pipe)

    def close(self) -> None:
        """Let go and wait until guard and server have ended. Idempotent. Raises ServersError if they do not."""
        self.let_go()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise ServersError(
                f"the guard of embedded {self.name} did not end within {STOP_SECONDS:g} s, see {self._log}"
            ) from error

    def _tail(self) -> str:
        data = self._log.read_bytes()[-TAIL_BYTES:]
        return data.decode(errors="replace").strip()


__all__ = ["Command", "Guarded", "Plan", "ServersError", "try_lock", "wait_lock"]
