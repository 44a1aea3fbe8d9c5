"""What is said in the log lines of attempts and runs that failed, once their failure stands in the run's log.

A failed attempt is one warning. The traceback comes with the first of a step's attempts, and again only when a later
one fails in another class or at another line: an attempt that is repeated for hours does not repeat its traceback. Each
record has the exception itself (``exc_info``), for error trackers.
"""

from __future__ import annotations

from collections.abc import Iterable

from fencepost import payload_codecs
from fencepost.engine.live import LiveRun
from fencepost.engine.shell import Shell
from fencepost.failure import cut, opened
from fencepost.records import Failure, RunFailed, StepEnded, unpack
from fencepost.telemetry import note
from fencepost.tracebacks import report, where
from fencepost_store.events import Event, EventType, NewEvent

STEPS_MAX = 1_000
"""Steps whose last logged failure this worker remembers; of more it forgets the oldest, whose next is told in full."""
MESSAGE_CHARS_MAX = 500
"""Of a message in a log line: the traceback below it has the whole."""
TRACE_CHARS_MAX = 16_384

_ENDS = (EventType.step_failed, EventType.step_retrying)
_COMPLETED = EventType.step_completed


def note_failures(shell: Shell, live: LiveRun, events: Iterable[Event | NewEvent]) -> None:
    """Log the failures among events that have landed. Those of other workers are logged by them."""
    for event in events:
        kind = event.type
        if kind is _COMPLETED:
            if shell.failures:
                shell.failures.pop(f"{live.run_id}:{event.entity}", None)
        elif kind in _ENDS:
            _note_attempt(shell, live, event)
        elif kind is EventType.run_failed:
            _note_run(live, event)


def _note_attempt(shell: Shell, live: LiveRun, event: Event | NewEvent) -> None:
    error = _readable(unpack(event.payload, StepEnded).error)
    at = where(error)
    due = event.due_in if isinstance(event, NewEvent) else None
    again = event.type is EventType.step_retrying
    key, kind = f"{live.run_id}:{event.entity}", f"{error.code} {error.type} {at}"
    known = shell.failures.pop(key, None)
    if again:
        shell.failures[key] = kind
        while len(shell.failures) > STEPS_MAX:
            del shell.failures[next(iter(shell.failures))]
    note(
        "attempt_failed",
        raised=_shown(shell.raised.get(key)),
        run=live.run_id,
        workflow="" if live.run is None else live.run.workflow,
        step=event.entity,
        attempt=event.attempt,
        error=_line(error),
        at=at,
        then=f"again in {(due or 0) / 1e6:.1f} s" if again else "the step fails",
        trace="" if kind == known else _trace(error),
    )


def _note_run(live: LiveRun, event: Event | NewEvent) -> None:
    error = _readable(unpack(event.payload, RunFailed).error)
    instance = live.instance
    note(
        "run_failed",
        raised=None if instance is None else _shown(instance.raised),
        run=live.run_id,
        workflow="" if live.run is None else live.run.workflow,
        code=error.code,
        error=_line(error),
        at=where(error),
        trace=_trace(error),
    )


def _shown(error: BaseException | None) -> BaseException | None:
    """Nothing of it where values are encrypted: a handler may send its message, its arguments and its frames away."""
    return None if payload_codecs.current().hides else error


def _readable(error: Failure) -> Failure:
    """As it is recorded; where values are encrypted, messages and tracebacks are not for a log line either."""
    return error if payload_codecs.current().hides else opened(error)


def _line(error: Failure) -> str:
    if error.sealed is not None:
        return f"{error.type}: <encrypted: fencepost runs show>"
    return cut(f"{error.type}: {error.message}" if error.message else error.type, MESSAGE_CHARS_MAX)


def _trace(error: Failure) -> str:
    return cut(report(error), TRACE_CHARS_MAX) if error.traceback and error.sealed is None else ""
