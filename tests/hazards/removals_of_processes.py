"""Guards of a worker's process: its cache of runs, its threads, signals, logs and children."""

# pyright: reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

import os
from typing import Any

import pytest
from tests.hazards.registry import removal

from fencepost.engine import forks, signals
from fencepost.engine.alone import Seat
from fencepost.engine.live import LiveRun, LiveRuns
from fencepost.engine.turn_watch import TurnWatch
from fencepost.replay import asking, eviction
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


@removal("H149", guard="a run that cannot be stopped is failed from beside it", tests=[
    "engine/test_quarantine.py::test_h149_a_turn_that_cannot_be_stopped_fails_its_run_before_its_process_ends",
])  # fmt: skip
def what_blocks_is_not_failed(patch: pytest.MonkeyPatch) -> None:
    """The process ends, and the next one takes it up."""

    async def fail(*args: object) -> None:
        return None

    real: Any = TurnWatch.__init__
    patch.setattr(TurnWatch, "__init__", lambda self, *args: real(self, *args[:3], fail))


@removal("H149", guard="a seat lapses", tests=[
    "engine/test_quarantine.py::test_h149_suspects_that_do_not_end_hold_no_others_up",
])  # fmt: skip
def seats_are_kept(patch: pytest.MonkeyPatch) -> None:
    """By whoever sits there."""

    patch.setattr(Seat, "_lapse", lambda self: None)


@removal("H150", guard="what asks again and again comes to rest", tests=[
    "replay/test_swallowing.py::test_h150_code_that_swallows_everything_is_abandoned_soon",
    "replay/test_swallowing.py::test_h150_tasks_that_swallow_everything_do_not_hold_up_the_runs_end",
])  # fmt: skip
def refusals_have_no_end(patch: pytest.MonkeyPatch) -> None:
    """Each one raises (for longer than a test waits)."""
    patch.setattr(asking, "REFUSALS_MAX", 600_000)


@removal("H150", guard="what refuses to be closed is kept as it stands", tests=[
    "replay/test_swallowing.py::test_h150_code_that_swallows_everything_is_abandoned_soon",
])  # fmt: skip
def what_refuses_is_let_go_of(patch: pytest.MonkeyPatch) -> None:
    """The interpreter closes it again when it is freed."""
    patch.setattr(eviction, "_abandon", lambda stuck: ["_swallows_everything"])


@removal("H151", guard="a fork gives the worker's signals back", tests=[
    "engine/test_forks.py::test_h151_a_fork_has_no_handlers_and_wakes_no_loop",
])  # fmt: skip
def forks_keep_signals(patch: pytest.MonkeyPatch) -> None:
    """As the interpreter leaves them."""
    patch.setattr(forks, "HANDLED", ())


@removal("H152", guard="the second signal counts after a pause", tests=[
    "cli/test_worker_surroundings.py::test_h152_a_second_signal_counts_after_a_pause",
])  # fmt: skip
def every_second_signal_counts(patch: pytest.MonkeyPatch) -> None:
    """However soon."""
    patch.setattr(signals, "AGAIN_SECONDS", 0.0)
