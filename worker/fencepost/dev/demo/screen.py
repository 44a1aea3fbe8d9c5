"""What the demo shows while it goes on: lines, and on a terminal one line more that is drawn over."""

from __future__ import annotations

import time
from typing import TextIO

BAR = 30


class Screen:
    """Writes to one stream. Times shown are seconds since it was made."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._drawn = False
        self._began = time.monotonic()
        self.terminal: bool = stream.isatty()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def say(self, text: str = "") -> None:
        """One line for good."""
        self._erase()
        print(text, file=self._stream, flush=True)

    def step(self, text: str) -> None:
        """One line for good, with the time."""
        self.say(f"{self.seconds:6.1f} s  {text}")

    def progress(self, done: int, of: int, text: str) -> None:
        """Draw how far something is, on a terminal only."""
        if self.terminal and of:
            filled = BAR * done // of
            bar = "#" * filled + "." * (BAR - filled)
            self._stream.write(f"\r\x1b[K{self.seconds:6.1f} s  [{bar}] {done}/{of} {text}")
            self._stream.flush()
            self._drawn = True

    def _erase(self) -> None:
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._drawn = False
