"""Whether somebody else has done a turn of the run since this worker's instance was given what it has."""

from __future__ import annotations

from fencepost.engine.live import LiveRun
from fencepost.engine.shell import Shell
from fencepost.telemetry import note
from fencepost_store.events import KINDS
from fencepost_store.protocol import Loaded


def overtaken(shell: Shell, live: LiveRun, loaded: Loaded | None) -> bool:
    """``loaded``: what has come since. What the instance asks for is derived from less than that turn was, and a patch
    that it has answered may be answered otherwise; so it is dropped, and the caller leaves, as after a conflict (I5).
    The end of the run is nobody's turn: its duties are done whoever ended it.
    """
    if loaded is None or loaded.run.status.ended or not any(KINDS[event.type].decision for event in loaded.events):
        return False
    shell.clock.read(loaded.now)
    note("fence_conflict", run=live.run_id, fence=live.instance.work.fence if live.instance else 0)
    live.drop()
    return True
