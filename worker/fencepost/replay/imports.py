"""Modules that workflow code imports while it runs: the first run of a process executes them, others find them.

So what a module does while it is imported is no part of the run: it sees the real time, draws no chance from the run,
and what it makes is the process's.
"""

from __future__ import annotations

import sys
from types import FrameType

from fencepost.replay.loop import WorkflowLoop

_MACHINERY = "<frozen importlib._bootstrap>"
_DRIVER = WorkflowLoop.drain.__code__


def importing() -> bool:
    """True while the workflow code of this thread imports a module, and the module's code runs."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None and frame.f_code is not _DRIVER:
        if frame.f_code.co_filename == _MACHINERY:
            return True
        frame = frame.f_back
    return False
