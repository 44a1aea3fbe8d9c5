"""Recorded histories against the code at hand, for users' CI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fencepost.authoring.workflow import Workflow
from fencepost.errors import FencepostError
from fencepost.history import read
from fencepost.replay.recorded import fit


class HistoryDiffers(FencepostError, AssertionError):
    """A recorded run does not fit the code. ``run``: its id; ``seq``, ``recorded``, ``asked``, ``source``: where they
    disagree first, both sides, and ``file:line`` of the code."""

    def __init__(self, run: str, seq: int, recorded: str, asked: str, source: str) -> None:
        at = f" ({source})" if source else ""
        super().__init__(f"run {run} at seq {seq}: the log has {recorded}, the code asks for {asked}{at}")
        self.run = run
        self.seq = seq
        self.recorded = recorded
        self.asked = asked
        self.source = source


def replay_history(workflow: Workflow[..., Any], file: str | Path) -> int:
    """Replay the workflow's runs in a file of ``fencepost runs export``; runs of other workflows are left out.

    Returns how many fit. No step runs. Raises HistoryDiffers for the first that does not fit, HistoryError (a
    ValueError) for a file that is no history, ValueError for one without a run of this workflow.
    """
    histories = read(Path(file))
    mine = [history for history in histories if history.run.workflow == workflow.name]
    if not mine:
        others = ", ".join(sorted({history.run.workflow for history in histories}))
        raise ValueError(f"{file} has no run of {workflow.name}, only of {others}: nothing would be checked")
    for history in mine:
        found = fit(history.run.id, workflow, history.events, queue=history.run.queue).difference
        if found is not None:
            raise HistoryDiffers(history.run.id, found.seq, found.recorded, found.asked, found.source)
    return len(mine)
