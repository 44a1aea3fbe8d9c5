"""Where log lines go and how they look: standard error, as readable ``key=value`` or as JSON, for our events and for
what user code says through ``logging`` alike.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

Format = Literal["text", "json"]
COLOURS = {"warning": "33", "error": "31", "critical": "31"}


def configure_logs(form: Format = "text", level: str = "info", stream: TextIO | None = None) -> None:
    """Send all logs of this process to ``stream`` (standard error). Replaces what was configured before, but leaves
    handlers that user code has put on the root logger.
    """
    target = stream or sys.stderr
    number: int = getattr(logging, level.upper())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    render: Processor = structlog.processors.JSONRenderer() if form == "json" else TextRenderer(target.isatty())
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(target),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, Handler)]:
        root.removeHandler(old)
    if not root.handlers:
        handler = Handler(target)
        handler.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=[*shared, _logger_name],
                processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
            )
        )
        root.addHandler(handler)
        root.setLevel(max(number, logging.INFO))


class Handler(logging.StreamHandler[TextIO]):
    """Ours, so that configuring twice does not print twice."""


class TextRenderer:
    """``time level event key=value ...``, with a traceback on lines of its own."""

    def __init__(self, colours: bool) -> None:
        self._colours = colours

    def __call__(self, logger: WrappedLogger, method: str, fields: EventDict) -> str:
        """One line, or several with a traceback."""
        time, level, event = fields.pop("timestamp", ""), fields.pop("level", method), fields.pop("event", "")
        trace = fields.pop("exception", None)
        colour = COLOURS.get(str(level)) if self._colours else None
        shown = f"\x1b[{colour}m{level:<7}\x1b[0m" if colour else f"{level:<7}"
        line = " ".join([str(time), shown, str(event), *_pairs(fields)])
        return f"{line}\n{trace}" if trace else line


def _pairs(fields: Mapping[str, Any]) -> list[str]:
    return [f"{key}={_shown(value)}" for key, value in fields.items()]


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    plain = bool(text) and text.isprintable() and not any(character in text for character in ' "=')
    return text if plain else json.dumps(text, ensure_ascii=False)


def _logger_name(logger: WrappedLogger, method: str, fields: EventDict) -> EventDict:
    record = fields.get("_record")
    if isinstance(record, logging.LogRecord):
        fields["logger"] = record.name
    return fields
