"""A run in which something is due again and again and no turn moves the log (H49)."""

from __future__ import annotations

from fencepost.engine.advance import Progress
from fencepost.engine.endings import diverged
from fencepost.engine.live import LiveRun
from fencepost.engine.owed import Owed
from fencepost.engine.shell import Shell
from fencepost.replay.interface import ReplayDivergence
from fencepost_store.protocol import Loaded


async def watch_stuck(shell: Shell, live: LiveRun, owed: Owed, loaded: Loaded) -> Progress:
    """H49: something is due again and again and no turn moves the log: park with that reason instead of waking for
    ever.
    """
    instance = live.instance
    assert instance is not None
    first = instance.work.wait_dues.first()
    if owed.landed or first is None or first > loaded.now:
        live.stuck = 0
        return Progress.quiet
    live.stuck += 1
    if live.stuck < shell.settings.stuck_turns_max:
        return Progress.quiet
    reason = ReplayDivergence(
        instance.work.seen,
        f"{next(one for one, at in instance.work.waits.items() if at == first)}, due and never completed",
        f"nothing in {live.stuck} turns",
        "the wait is open in the log, and the code does not take it",
    )
    live.stuck = 0
    return Progress.quiet if await diverged(shell, live, owed, reason) else Progress.conflict
