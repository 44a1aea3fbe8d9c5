"""Says lines on the terminal and, as they come, in a file."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path


class Report:
    """``say`` writes one line, with the time of day, to both."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")

    def say(self, line: str) -> None:
        """One line."""
        text = f"{datetime.now(UTC):%H:%M:%S} {line}"
        print(text, flush=True)
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(text + "\n")


def interrupted() -> int:
    """The exit code after Ctrl-C, when all that was started has been ended."""
    print("interrupted; everything that was started has been ended", file=sys.stderr)
    return 130
