"""Both sides of a disagreement in words, and the line of user code behind a request or a wait.

The line is captured as (code object, instruction offset), which costs a few frame look-ups per request, and is
resolved only when somebody reads it. Frames of asyncio, anyio and of this package's own face are skipped, so that the
line is the user's.
"""

from __future__ import annotations

import asyncio
import sys
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import msgspec

from fencepost import errors, payload, payload_codecs
from fencepost.failure_seals import cut
from fencepost.records import Failure, RunFailed, unpack
from fencepost.replay.asks import CALLS, Ask, name_in
from fencepost.replay.interface import ReplayDivergence
from fencepost.tracebacks import is_own
from fencepost_store.events import Event, EventType, NewEvent

MESSAGE_CHARS_MAX = 500
VALUES_CHARS_MAX = 200
"""Of a message, and of the values of one side: both stand in the run's row."""

NOT_THE_SAME = (
    "a workflow must call with the same values each time. What differs between two processes is the order of a set, a"
    " clock, chance, a global that changes: sort the set; use fencepost.now() and fencepost.random(); do the rest in a"
    " step"
)
_PACKAGE = Path(__file__).parents[1]
_ANYIO = find_spec("anyio")  # found and not imported: who only writes workflows does not load it
_INNER_FOLDERS = (
    *(str(_PACKAGE / room) for room in ("replay", "authoring", "engine", "client", "testing", "cli", "daemon")),
    str(Path(asyncio.__file__).parent),
    str(Path(_ANYIO.origin).parent) if _ANYIO and _ANYIO.origin else "<frozen",
    "<frozen",
)
_LOOP, _DRAIN = str(_PACKAGE / "replay" / "loop.py"), "drain"
_ranks: dict[str, int] = {}


def diverged(event: Event, ask: Ask | None, waiting: object, ending: NewEvent | None = None) -> ReplayDivergence:
    """The disagreement at ``event``: against ``ask``, or against code that only waits (``waiting``: its root
    coroutine) or has ended (None), as ``ending`` says."""
    recorded = describe(event.type, event.entity, event.payload)
    error = _error_in(ending)
    behind = "" if error is None else f", with {error.type}: {_said(error)}"
    if ask is not None:
        line = line_of(ask.code, ask.lasti) or waiting_line(waiting)
        return ReplayDivergence(event.seq, recorded, describe(ask.type, ask.entity, ask.payload) + behind, line)
    if waiting is None:
        at = "" if error is None or not error.frames else f"{error.frames[-1].file}:{error.frames[-1].line}"
        return ReplayDivergence(event.seq, recorded, f"nothing, it has ended{behind}", at)
    return ReplayDivergence(event.seq, recorded, "nothing, it waits", waiting_line(waiting))


def _error_in(ending: NewEvent | None) -> Failure | None:
    """What the code has failed with, if it has."""
    if ending is None or ending.type is not EventType.run_failed:
        return None
    try:
        return unpack(ending.payload, RunFailed).error
    except msgspec.MsgspecError:
        return None


def _said(error: Failure) -> str:
    """The message; where values are encrypted, none: why a run is parked stands readable in its row."""
    return "<encrypted>" if error.sealed is not None else cut(error.message, MESSAGE_CHARS_MAX)


def values_of(event: NewEvent | None) -> str:
    """What an event carries of the user's, in short; empty where values are encrypted, or cannot be read."""
    if event is None or payload_codecs.current().hides:
        return ""
    try:
        kind = CALLS.get(event.type)
        if kind is not None:
            record: Any = unpack(event.payload, kind)
            positional, named = payload.decode(record.args)
            parts = [*(repr(one) for one in positional), *(f"{name}={one!r}" for name, one in named.items())]
            return cut(f"({', '.join(parts)})", VALUES_CHARS_MAX)
        return cut(repr(payload.decode(event.payload)), VALUES_CHARS_MAX) if event.payload else ""
    except (msgspec.MsgspecError, errors.PayloadError, TypeError, ValueError):
        return ""


def changed_call(event: Event, ask: Ask) -> ReplayDivergence:
    """The same call with other arguments than the log has: both as values, the line, and what such a change comes
    from.
    """
    words = describe(event.type, event.entity, event.payload)
    before = values_of(NewEvent(event.type, event.entity, payload=event.payload))
    now = values_of(ask.event())
    return ReplayDivergence(
        event.seq,
        f"{words} with {before or 'other values'}",
        f"{words} with {now or 'other values'}: {NOT_THE_SAME}",
        line_of(ask.code, ask.lasti),
    )


def describe(kind: EventType, entity: str, payload: bytes) -> str:
    """Such as ``step_created charge#1 (charge)``."""
    name = name_in(kind, payload)
    words = kind.name if not entity else f"{kind.name} {entity}"
    return words if name is None else f"{words} ({name})"


def asking(depth: int) -> tuple[CodeType | None, int]:
    """The innermost frame of the user's own code at or above ``depth`` callers; without one, that of a library that
    asks for it."""
    frame: FrameType | None = sys._getframe(depth)  # pyright: ignore[reportPrivateUsage]  # inspect's way costs ten times as much
    nearest: tuple[CodeType | None, int] = None, 0
    while frame is not None:
        code = frame.f_code
        rank = _rank(code.co_filename, frame.f_globals)
        if rank == OWN:
            return code, frame.f_lasti
        if rank == LIBRARY:
            if nearest[0] is None:
                nearest = code, frame.f_lasti
        elif code.co_name == _DRAIN and code.co_filename == _LOOP:
            break  # what is above is who runs the loop
        frame = frame.f_back
    return nearest


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
    found, best = "", LIBRARY
    inner: Any = coroutine
    while inner is not None:
        frame = getattr(inner, "cr_frame", None) or getattr(inner, "gi_frame", None) or getattr(inner, "ag_frame", None)
        if frame is not None:
            rank = _rank(frame.f_code.co_filename, frame.f_globals)
            if rank >= best:
                best, found = rank, f"{frame.f_code.co_filename}:{frame.f_lineno}"
        inner = (
            getattr(inner, "cr_await", None) or getattr(inner, "gi_yieldfrom", None) or getattr(inner, "ag_await", None)
        )
    return found


INNER, LIBRARY, OWN = 0, 1, 2
"""Whose a file is: of the machinery between the user's call and this, of an installed package, the user's."""


def _rank(filename: str, names: dict[str, Any]) -> int:
    rank = _ranks.get(filename)
    if rank is None:
        if filename.startswith(_INNER_FOLDERS):
            rank = INNER
        else:
            rank = OWN if is_own(filename, str(names.get("__name__", ""))) else LIBRARY
        _ranks[filename] = rank
    return rank
