"""Process 1 of a container inherits every orphan in it, and whoever does not wait for them collects zombies until no
process can be started.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

REAP_SECONDS = 1.0
"""How often is looked: a zombie costs an entry in a table."""


async def reap(ours: Callable[[], set[int]]) -> None:
    """Wait for what has ended and is not ours. ``ours()``: the processes that somebody else here waits for."""
    while True:
        reap_once(ours())
        await asyncio.sleep(REAP_SECONDS)


def reap_once(ours: set[int]) -> list[int]:
    """Answers which were reaped. One of ours that has ended hides those behind it until it has been waited for."""
    gone: list[int] = []
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return gone
        if found is None or found.si_pid in ours:
            return gone
        os.waitpid(found.si_pid, os.WNOHANG)
        gone.append(found.si_pid)


FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
"""What whoever started the container may want to say to the worker."""


def leave_process_1() -> None:
    """Go on in a child if this is process 1, which stays behind as its init: it hands on signals, reaps what is left to
    it, and ends as the child does. A worker could not reap beside user code: only who has started a process knows that
    it is no orphan. To be called before there is a thread or anything open.
    """
    if os.getpid() != 1:
        return
    waited = {*FORWARDED, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)  # what comes meanwhile stays pending for the init
    worker = os.fork()
    if worker == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    while True:
        number = signal.sigwait(waited)
        if number != signal.SIGCHLD:
            os.kill(worker, number)  # it has not been reaped yet, so it is still it
            continue
        while (ended := _ended_child()) is not None:
            pid, status = ended
            if pid == worker:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)


def _ended_child() -> tuple[int, int] | None:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None
