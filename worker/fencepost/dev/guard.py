"""Keeps one server alive exactly as long as its owner: a script of its own, run as ``python -I -S guard.py PLAN``.

The guard starts the real server as its child and blocks on standard input, a pipe whose other end only the owner holds.
End of file means that the owner is gone, by whatever death, and the guard stops the server cleanly and ends. If the
guard itself is killed, the kernel sends the server its stop signal (Linux). Nothing here looks at process ids, and
nothing outside the standard library is imported, so that a guard costs little.

The lock file's descriptor is inherited by the guard, the server and the server's own children: while the lock is held,
somebody of that server is alive.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

OWNER_FD = 0
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Command:
    """``argv``, and how to stop it: signals in rising order of force, each with the seconds it is given. The last
    resort, SIGKILL, is implied.
    """

    argv: list[str]
    stop: list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Plan:
    """``commands`` run one after the other, the last one being the server. ``uid``/``gid``: whom to become (None:
    stay). ``remove``: folders made for this run only, deleted at the end.
    """

    commands: list[Command]
    cwd: str
    env: dict[str, str]
    lock_fd: int
    uid: int | None
    gid: int | None
    remove: list[str]


def parse(text: str) -> Plan:
    """The plan from its JSON form (see guarded.py, which writes it). Raises ValueError, KeyError or TypeError on
    anything else.
    """
    raw: dict[str, Any] = json.loads(text)
    commands = [Command(argv=c["argv"], stop=[(int(n), float(s)) for n, s in c["stop"]]) for c in raw.pop("commands")]
    return Plan(commands=commands, **raw)


def death_signal(number: int) -> Callable[[], None] | None:
    """What the child does before exec so that the guard's own death reaches it. None where the kernel has no such
    thing.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    guard = os.getpid()

    def before_exec() -> None:
        prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != guard:  # the guard died before the line above: nobody would tell us
            os._exit(70)

    return before_exec


def spawn(command: Command, plan: Plan) -> subprocess.Popen[bytes]:
    """Start a command as the plan's account, with the lock and nothing else inherited."""
    return subprocess.Popen(
        command.argv,
        stdin=subprocess.DEVNULL,
        cwd=plan.cwd,
        env=plan.env,
        pass_fds=[plan.lock_fd],
        umask=0o077,
        preexec_fn=death_signal(command.stop[0][0]),  # noqa: PLW1509 - a guard has one thread only
        user=plan.uid,
        group=plan.gid,
        extra_groups=None if plan.uid is None else [],
    )


def stop(child: subprocess.Popen[bytes], command: Command) -> None:
    """End the child, gently first. Returns when it has been reaped."""
    for number, seconds in command.stop:
        child.send_signal(number)
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            print(
                f"guard: {command.argv[0]} still runs {seconds:g} s after signal {number}", file=sys.stderr, flush=True
            )
        else:
            return
    child.kill()
    child.wait()


def supervise(command: Command, plan: Plan, wake_fd: int) -> int | None:
    """Run a command until it ends (its exit code), or the owner is gone or the guard is told to end (None, the command
    stopped).
    """
    child = spawn(command, plan)
    while True:
        readable, _, _ = select.select([OWNER_FD, wake_fd], [], [])
        told = wake_fd in readable and signal.SIGTERM in os.read(wake_fd, 4096)
        gone = OWNER_FD in readable and os.read(OWNER_FD, 4096) == b""
        if gone or told:
            stop(child, command)
            return None
        code = child.poll()
        if code is not None:
            return code


def wake_on_signals() -> int:
    """A descriptor that receives the number of each signal that matters. Ctrl-C is the owner's business and a closed
    terminal no reason to end.
    """
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: None)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return reader


def main() -> int:
    """0 if the owner left or all commands ended well, else the code of the one that did not."""
    plan = parse(sys.argv[1])
    wake_fd = wake_on_signals()
    try:
        for command in plan.commands:
            code = supervise(command, plan, wake_fd)
            if code is None:
                return 0
            if code != 0:
                print(f"guard: {command.argv[0]} ended with code {code}", file=sys.stderr, flush=True)
                return code if code > 0 else 128 - code
        return 0
    finally:
        for folder in plan.remove:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
