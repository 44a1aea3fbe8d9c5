"""From a run to the one that goes on for it, after ``continue_as_new``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fencepost.lineage import started_in, successor_in, successor_run
from fencepost_store.protocol import Run as Row
from fencepost_store.protocol import RunStatus

if TYPE_CHECKING:
    from fencepost.client.client import Connected


async def successor(connected: Connected, row: Row) -> str | None:
    """The id of the run that goes on for the given one; None if none does. It is created if the worker that ended the
    given run has not come to that yet, so that whoever looks for it finds it. Raises StoreTrouble.
    """
    if row.status is not RunStatus.continued:
        return None
    loaded = await connected.store.load(row.run_id, 0)
    if loaded is None or successor_in(loaded.events) is None:
        return None
    grace = int(connected.config.grace_seconds * 1_000_000)
    begun = started_in(loaded.events)
    run = successor_run(loaded.run, loaded.events[0], begun, loaded.events[-1].payload, grace)
    await connected.store.start(run)
    return run.run_id
