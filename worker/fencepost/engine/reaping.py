"""Process 1 of a container inherits every orphan in it, and whoever does not wait for them collects zombies until no
process can be started.
"""

from __future__ import annotations

import asyncio
import os
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
