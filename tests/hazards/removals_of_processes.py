"""Guards of a worker's process: its cache of runs, its threads, signals, logs and children."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

import os

import pytest
from tests.hazards.registry import removal

from fencepost.engine.live import LiveRun, LiveRuns
from fencepost.standard_streams import Lossy


@removal("H147", guard="a granted body keeps its turn's entry of the run", tests=[
    "engine/test_live.py::test_h147_no_run_stays_pinned_and_none_has_two_entries",
])  # fmt: skip
def granted_bodies_enter_anew(patch: pytest.MonkeyPatch) -> None:
    """By then the turn has left, and the entry may be another one; the old one is left once too often."""

    def leave(self: LiveRuns, live: LiveRun) -> None:
        live.users -= 1
        if live.users == 0 and live.instance is None:
            self._runs.pop(live.run_id, None)
        while len(self._runs) > self._max and self._evict_one():
            pass

    patch.setattr(LiveRuns, "keep", lambda self, live: self.enter(live.run_id))
    patch.setattr(LiveRuns, "leave", leave)


@removal("H148", guard="a line that cannot be written is lost", tests=[
    "engine/test_standard_streams.py::test_h148_an_unread_pipe_makes_one_line_wait_and_the_rest_not",
    "engine/test_standard_streams.py::test_h148_what_cannot_be_written_raises_nothing",
])  # fmt: skip
def lines_are_written_as_elsewhere(patch: pytest.MonkeyPatch) -> None:
    """They wait for a reader, and raise."""
    patch.setattr(Lossy, "write", lambda self, data: os.write(self._fd, data))
