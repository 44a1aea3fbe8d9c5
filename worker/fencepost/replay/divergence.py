"""Both sides of a disagreement in words, and the line of user code behind a request or a wait.

The line is captured as (code object, instruction offset), which costs a few frame look-ups per request, and is
resolved only when somebody reads it. Frames of asyncio, anyio and of this package's own face are skipped, so that the
line is the user's.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import anyio

from fencepost.replay.asks import Ask, name_in
from fencepost.replay.interface import ReplayDivergence
from fencepost_store.events import Event, EventType

_PACKAGE = Path(__file__).parents[1]
_INNER_FOLDERS = (
    str(_PACKAGE / "replay"),
    str(_PACKAGE / "authoring"),
    str(Path(asyncio.__file__).parent),
    str(Path(anyio.__file__).parent),
    "<frozen",
)
_inner: dict[str, bool] = {}


def diverged(event: Event, ask: Ask | None, waiting: object) -> ReplayDivergence:
    """The disagreement at ``event``: against ``ask``, or against code that only waits (``waiting``: its root
    coroutine) or has ended (None)."""
    recorded = describe(event.type, event.entity, event.payload)
    if ask is not None:
        return ReplayDivergence(
            event.seq, recorded, describe(ask.type, ask.entity, ask.payload), line_of(ask.code, ask.lasti)
        )
    if waiting is None:
        return ReplayDivergence(event.seq, recorded, "nothing, it has ended", "")
    return ReplayDivergence(event.seq, recorded, "nothing, it waits", waiting_line(waiting))


def describe(kind: EventType, entity: str, payload: bytes) -> str:
    """Such as ``step_created charge#1 (charge)``."""
    name = name_in(kind, payload)
    words = kind.name if not entity else f"{kind.name} {entity}"
    return words if name is None else f"{words} ({name})"


def asking(depth: int) -> tuple[CodeType | None, int]:
    """The innermost frame of user code at or above ``depth`` callers."""
    frame: FrameType | None = sys._getframe(depth)  # pyright: ignore[reportPrivateUsage]  # inspect's way costs ten times as much
    while frame is not None:
        code = frame.f_code
        if not _is_inner(code.co_filename):
            return code, frame.f_lasti
        frame = frame.f_back
    return None, 0


def line_of(code: CodeType | None, lasti: int) -> str:
    """``file:line`` of an instruction, empty if unknown."""
    if code is None:
        return ""
    for start, end, line in code.co_lines():
        if start <= lasti < end and line is not None:
            return f"{code.co_filename}:{line}"
    return f"{code.co_filename}:{code.co_firstlineno}"


def waiting_line(coroutine: object) -> str:
    """``file:line`` of the innermost user frame that a suspended coroutine waits in."""
    found = ""
    inner: Any = coroutine
    while inner is not None:
        frame = getattr(inner, "cr_frame", None) or getattr(inner, "gi_frame", None) or getattr(inner, "ag_frame", None)
        if frame is not None and not _is_inner(frame.f_code.co_filename):
            found = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        inner = (
            getattr(inner, "cr_await", None) or getattr(inner, "gi_yieldfrom", None) or getattr(inner, "ag_await", None)
        )
    return found


def _is_inner(filename: str) -> bool:
    inner = _inner.get(filename)
    if inner is None:
        inner = _inner[filename] = filename.startswith(_INNER_FOLDERS)
    return inner
