"""Recorded histories: a run and its log as JSON lines, to be kept, sent, and replayed against other code.

A line with the run, then one line per event, in order; a file may hold many runs. Payloads are base64 of the bytes in
the log: they hold the users' values as they are stored. ``of`` of a run's line says how many events must follow, so
that a file that was cut is noticed. Unknown fields are ignored, for later versions may add some.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from fencepost.errors import FencepostError
from fencepost_store.events import Event, EventType
from fencepost_store.protocol import Run

FORMAT = 1


class HistoryError(FencepostError, ValueError):
    """A file that is no recorded history. The message names the file, the line and what is wrong."""


class RunLine(msgspec.Struct, frozen=True, tag="run", tag_field="line"):
    """The head of a run's history. ``format`` is raised when older readers would misread it."""

    format: int
    id: str
    workflow: str
    queue: str
    status: str
    of: int


class EventLine(msgspec.Struct, frozen=True, tag="event", tag_field="line"):
    """An event. Instants are microseconds since the epoch, as in the log."""

    seq: int
    type: str
    at: int
    entity: str = ""
    attempt: int = 0
    due: int | None = None
    token: str | None = None
    dedupe: str | None = None
    payload: bytes = b""


class History(msgspec.Struct, frozen=True):
    """One run and its whole log."""

    run: RunLine
    events: tuple[Event, ...]


_decoder = msgspec.json.Decoder(RunLine | EventLine)


def recorded(run: Run, events: Sequence[Event]) -> History:
    """The history of a run that was loaded from its first event on."""
    return History(RunLine(FORMAT, run.run_id, run.workflow, run.queue, run.status.name, len(events)), tuple(events))


def lines(history: History) -> Iterator[bytes]:
    """The history's lines, without their ends."""
    yield msgspec.json.encode(history.run)
    for e in history.events:
        told = EventLine(e.seq, e.type.name, e.at, e.entity, e.attempt, e.due, e.token, e.dedupe, e.payload)
        yield msgspec.json.encode(told)


def read(file: Path) -> list[History]:
    """The histories in a file. Raises HistoryError, also for a file without any, and OSError."""
    found: list[tuple[RunLine, list[Event]]] = []
    number = 0
    with file.open("rb") as stream:
        for number, text in enumerate(stream, 1):
            line = _parsed(text, f"{file}:{number}")
            if isinstance(line, RunLine):
                _check_whole(found, f"{file}:{number}")
                found.append((line, []))
            elif not found or line.seq != len(found[-1][1]) + 1:
                raise HistoryError(f"{file}:{number}: event {line.seq} does not follow on the line before")
            else:
                found[-1][1].append(_event(line, f"{file}:{number}"))
    _check_whole(found, f"{file}:{number}")
    if not found:
        raise HistoryError(f"{file}: holds no run: write one with `fencepost runs export ID > {file.name}`")
    return [History(head, tuple(events)) for head, events in found]


def _parsed(text: bytes, place: str) -> RunLine | EventLine:
    try:
        line: RunLine | EventLine = _decoder.decode(text)
    except msgspec.MsgspecError as error:
        raise HistoryError(f"{place}: not a line of a recorded history: {error}") from error
    if isinstance(line, RunLine) and line.format != FORMAT:
        raise HistoryError(f"{place}: format {line.format}, and this version reads {FORMAT}")
    return line


def _event(line: EventLine, place: str) -> Event:
    try:
        kind = EventType[line.type]
    except KeyError:
        raise HistoryError(f"{place}: this version knows no event {line.type!r}") from None
    return Event(line.seq, kind, line.entity, line.attempt, line.at, line.due, line.token, line.dedupe, line.payload)


def _check_whole(found: Iterable[tuple[RunLine, list[Event]]], place: str) -> None:
    for head, events in list(found)[-1:]:
        if len(events) != head.of:
            raise HistoryError(f"{place}: run {head.id} has {len(events)} events here, and {head.of} were recorded")
