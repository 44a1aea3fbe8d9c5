"""What the machine did not give when a body was to begin: a thread, a process, a file descriptor, memory. No failure of
the step's: its message is handed back.
"""

from __future__ import annotations

import errno

from anyio import BrokenWorkerProcess

SHORTAGES = frozenset({errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
NO_THREAD = "can't start new thread"
"""How CPython words it, in every version; the class says nothing."""


class NotBegun(Exception):
    """The body's first instruction was not reached, for a reason that is not the step's. The message says what was
    missing.
    """


def is_shortage(error: BaseException) -> bool:
    """Whether this says that the process or its machine is short of something."""
    if isinstance(error, OSError):
        return error.errno in SHORTAGES
    if isinstance(error, RuntimeError):
        return NO_THREAD in str(error)
    if isinstance(error, BrokenWorkerProcess):
        return bool(error.args)  # anyio names what went wrong only before it has sent the process any work
    return isinstance(error, MemoryError)


def told(error: BaseException) -> str:
    """The shortage in words."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
