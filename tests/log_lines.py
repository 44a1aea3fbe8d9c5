"""What fencepost logs while a block runs, as tests read it."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from fencepost.telemetry import ROOT


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """The record in its parts."""
        record.getMessage()  # a template that does not fit its fields raises here, and not unseen inside logging
        told = {"event": record.__dict__["event"], "log_level": record.levelname.lower(), "logger": record.name}
        if record.exc_info:
            told["exc_info"] = record.exc_info[1]
        self.lines.append(told | record.__dict__["fields"])


@contextmanager
def captured() -> Generator[list[dict[str, Any]]]:
    """Every line of fencepost's in the block, of all levels: ``event``, ``log_level``, ``logger`` and the fields."""
    logger, handler = logging.getLogger(ROOT), _Lines()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield handler.lines
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
