"""Whether a body that was started anew had a reason: its first worker died, was frozen, drained, or lost the lease."""

from __future__ import annotations

from collections.abc import Sequence

from tests.ordeal.fleet import Fleet
from tests.ordeal.verdict import Repeat


def explained(fleet: Fleet, repeat: Repeat, losses: Sequence[tuple[int, int]] = ()) -> bool:
    """Between the two starts something happened to the worker of the first one, by what we did to it or by its own
    log; or the queue lost its data (``losses``: from when to when).
    """
    if any(since <= repeat.until and repeat.since <= until for since, until in losses):
        return True
    worker = fleet.owner(repeat.worker)
    if worker is None:
        return False
    for stay in worker.stays:
        if stay.since <= repeat.until and (stay.until is None or stay.until >= repeat.since):
            return True
    return f"s:{repeat.run}:{repeat.entity}" in worker.log.lost
