"""H151: what forks from a worker's process has none of its signals."""

from __future__ import annotations

import asyncio
import os
import signal

from fencepost.engine import forks


def _told_by_fork() -> str:
    """What a fork finds of the worker's."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        plain = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == [signal.SIG_DFL] * 2
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(forks.HANDLED)
        os.write(write, f"{plain} {signal.set_wakeup_fd(-1)} {len(blocked)}".encode())
        os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    told = os.read(read, 100).decode()
    os.close(read)
    return told


async def test_h151_a_fork_has_no_handlers_and_wakes_no_loop() -> None:
    """And the process that forked has all of them still."""
    loop = asyncio.get_running_loop()
    got: asyncio.Queue[int] = asyncio.Queue()
    numbers = (signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, got.put_nowait, number)
    forks.guard_forks(loop)
    try:
        assert _told_by_fork() == "True -1 0"
        os.kill(os.getpid(), signal.SIGTERM)
        assert await asyncio.wait_for(got.get(), 10) == signal.SIGTERM
    finally:
        forks._worker.clear()  # pyright: ignore[reportPrivateUsage]
        for number in numbers:
            loop.remove_signal_handler(number)
