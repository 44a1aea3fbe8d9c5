"""Which execution of which module registers a function: how a reload is told from a second function of the same name.

A reload executes a module's code again, which is compiled or read anew. A factory, a decorator that forgets
``functools.wraps`` and a lambda in a loop make several functions of one ``def`` in one execution.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class Execution:
    """``module`` and ``file``: of the code at module level that is being executed. Without such code (in a thread) both
    are empty.
    """

    module: str = ""
    file: str = ""
    code: CodeType | None = None
    scope: dict[str, Any] | None = None

    def repeats(self, before: Execution) -> bool:
        """Whether this is the same module, or the same file as the main program, executed again."""
        if self.code is None or before.code is None:
            return False
        if self.code is before.code and self.scope is before.scope:
            return False
        return self.module == before.module or self.file == before.file


def current_execution() -> Execution:
    """That of the nearest code at module level which has led to this call."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage] - there is no public name
    while frame is not None:
        code = frame.f_code
        if not code.co_flags & inspect.CO_OPTIMIZED and frame.f_locals is frame.f_globals:
            return Execution(str(frame.f_globals.get("__name__", "")), code.co_filename, code, frame.f_globals)
        frame = frame.f_back
    return Execution()
