"""Which signals tell a process of ours to end, and when a second one means "now"."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

AGAIN_SECONDS = 1.0
"""Signals that come sooner after the first are the same wish: GNU ``timeout`` sends two, and so does a terminal that is
closed (SIGHUP from it, and SIGTERM from what ran in it)."""

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def handled() -> tuple[signal.Signals, ...]:
    """Those that whoever started this process has not made it ignore, as ``nohup`` does with SIGHUP and a shell with
    SIGINT for what it starts in the background.
    """
    return tuple(number for number in NUMBERS if signal.getsignal(number) is not signal.SIG_IGN)


class Signals:
    """Call it with each signal's number. ``first(number)``: begin to end. ``now(number)``: end at once."""

    def __init__(
        self,
        first: Callable[[int], None],
        now: Callable[[int], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._first = first
        self._now = now
        self._monotonic = monotonic
        self._since: float | None = None

    def __call__(self, number: int) -> None:
        moment = self._monotonic()
        if self._since is None:
            self._since = moment
            self._first(number)
        elif moment - self._since >= AGAIN_SECONDS:
            self._now(number)
