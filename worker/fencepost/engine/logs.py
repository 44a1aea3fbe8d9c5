"""Where a command's log lines go and how they look: standard error, as readable ``key=value`` or as JSON, for our
events and for what user code says through ``logging`` or structlog alike. All of them go through one handler of the
root logger. The library itself configures nothing (``telemetry.py``); commands and their processes call this.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any, Literal, TextIO

import structlog
from msgspec import Struct
from structlog.typing import EventDict, Processor, WrappedLogger

from fencepost.standard_streams import say_losses
from fencepost.telemetry import BLOCKS, CATALOGUE, LOGGER_OF, ROOT, shown_value

Format = Literal["text", "json"]
USERS = "structlog"
"""The logger of what user code says through structlog, unless it configures structlog itself."""
LOGGERS = frozenset(LOGGER_OF.values())
COLOURS = {"warning": "33", "error": "31", "critical": "31"}


class Logs(Struct, frozen=True):
    """How a process logs; what it hands on to the processes that it starts."""

    form: Format = "text"
    level: str = "info"


_configured: list[Logs] = []


def configured_logs() -> Logs | None:
    """How this process logs; None if ``configure_logs`` was not called, as in an application that uses the library."""
    return _configured[-1] if _configured else None


def configure_logs(form: Format = "text", level: str = "info", stream: TextIO | None = None) -> None:
    """Send all logs of this process to ``stream`` (standard error). Replaces what was configured before, but leaves
    handlers that user code has put on the root logger.
    """
    target = stream or sys.stderr
    number: int = getattr(logging, level.upper())
    _configured[:] = [Logs(form, level)]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=_users_logger,
        cache_logger_on_first_use=False,
    )
    for name in (ROOT, USERS):
        logging.getLogger(name).setLevel(number)
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, Handler)]:
        root.removeHandler(old)
    render: Processor = structlog.processors.JSONRenderer() if form == "json" else TextRenderer(target.isatty())
    say_losses(lambda lost, why: _loss(lost, why, render))
    if not root.handlers:
        handler = Handler(target)
        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=[*shared, _parts],
                processors=[
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.format_exc_info,
                    render,
                ],
            )
        )
        root.addHandler(handler)
        root.setLevel(max(number, logging.INFO))


def enable_loggers() -> None:
    """Hear ours again after the user's modules were loaded: a ``dictConfig`` among them disables, unless told
    otherwise, every logger that exists and that it does not name (Django's does). Levels and handlers stay the user's.
    """
    for name in {ROOT, *LOGGER_OF.values()}:
        logging.getLogger(name).disabled = False


class Handler(logging.StreamHandler[TextIO]):
    """Ours, so that configuring twice does not print twice."""


def _loss(lost: int, why: str, render: Processor) -> str:
    """The line that says that others were lost: made where it is written, for ``note`` is what could not write."""
    fields: EventDict = {
        "event": "log_lines_lost",
        "level": CATALOGUE["log_lines_lost"][0],
        "count": lost,
        "error": why,
    }
    stamped = structlog.processors.TimeStamper(fmt="iso", utc=True)(None, "warning", fields)
    return str(render(None, "warning", stamped))


class TextRenderer:
    """``time level event key=value ...``, with a traceback on lines of its own."""

    def __init__(self, colours: bool) -> None:
        self._colours = colours

    def __call__(self, logger: WrappedLogger, method: str, fields: EventDict) -> str:
        """One line, or several with a traceback."""
        time, level, event = fields.pop("timestamp", ""), fields.pop("level", method), fields.pop("event", "")
        blocks = [str(fields.pop(name)) for name in ("exception", *BLOCKS) if fields.get(name)]
        colour = COLOURS.get(str(level)) if self._colours else None
        shown = f"\x1b[{colour}m{level:<7}\x1b[0m" if colour else f"{level:<7}"
        line = " ".join([str(time), shown, str(event), *_pairs(fields)])
        return "\n".join([line, *blocks])


def _pairs(fields: Mapping[str, Any]) -> list[str]:
    return [f"{key}={shown_value(value)}" for key, value in fields.items()]


def _parts(logger: WrappedLogger, method: str, fields: EventDict) -> EventDict:
    """A record of ours in its parts; any other with the name of its logger."""
    record: object = fields.get("_record")
    if isinstance(record, logging.LogRecord):
        if record.name in LOGGERS and "fields" in record.__dict__:
            fields.update(record.__dict__["fields"], event=record.__dict__["event"])
            if record.__dict__["block"]:  # the traceback, as it is to be read
                fields.pop("exc_info", None)
        else:
            fields["logger"] = record.name
    return fields


def _users_logger(*args: object) -> logging.Logger:
    return logging.getLogger(USERS)
