"""Faults on order, for tests that end a worker exactly at a named point of the engine (``Ports.fault``).

Read from TEST_FENCEPOST_FAULT, and only where the configuration says ``env = "test"``: production has no way in.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

VARIABLE = "TEST_FENCEPOST_FAULT"
ACTIONS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


def fault_of(spec: str) -> Callable[[str], None]:
    """``point:n:action``: at the n-th call of that point, kill or stop this process. Raises ValueError."""
    parts = spec.rsplit(":", 2)
    if len(parts) != 3 or not parts[1].isdecimal() or int(parts[1]) < 1 or parts[2] not in ACTIONS:
        raise ValueError(f"{VARIABLE}={spec!r}: expected point:n:action, n from 1, action one of {', '.join(ACTIONS)}")
    point, nth, action = parts[0], int(parts[1]), ACTIONS[parts[2]]
    calls = 0

    def fault(name: str) -> None:
        nonlocal calls
        if name == point:
            calls += 1
            if calls == nth:
                os.kill(os.getpid(), action)

    return fault
