"""What a turn that ends in run_continued hands over to the run that goes on, and what it says of payloads that nobody
has taken."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fencepost.engine.live import LiveRun
from fencepost.lineage import bound, started_in, successor_run
from fencepost.records import HookDisposed, RunContinued, pack, unpack
from fencepost.replay.fold import OpenWork
from fencepost.telemetry import note
from fencepost_store.events import Event, EventType, Handover
from fencepost_store.protocol import Batch


def with_successor(batch: Batch, live: LiveRun, work: OpenWork) -> Batch:
    """The batch with the run that goes on, if the run's end hands hooks over: both land in one transaction, so that the
    tokens are never free in between, and what was accepted is in one of the two logs. Else the successor is started by
    the duties of the end.
    """
    if batch.events[-1].type is not EventType.run_continued:
        return batch
    *before, ending = batch.events
    record = unpack(ending.payload, RunContinued)
    payload = pack(msgspec.structs.replace(record, run=bound(record.run, work.stamp)))
    ending = msgspec.structs.replace(ending, payload=payload)
    batch = msgspec.structs.replace(batch, events=(*before, ending))
    hooks = record.hooks
    if not hooks:
        return batch
    assert live.run is not None
    assert work.created is not None
    begun = started_in(batch.events) if work.begun is None else work.begun.payload
    return msgspec.structs.replace(
        batch,
        successor=successor_run(live.run, work.created, begun, payload, batch.grace),
        hooks=tuple(Handover(hook.token, hook.entity, hook.seqs) for hook in hooks),
    )


def tell_untaken(live: LiveRun, work: OpenWork, landed: Sequence[Event]) -> None:
    """Log the hooks that were closed while they held payloads. ``work``: before the events are folded in."""
    for event in landed if work.hooks else ():
        if event.type is EventType.hook_disposed and event.payload:
            token = work.hooks.get(event.entity, "")
            count = len(unpack(event.payload, HookDisposed).untaken)
            note("signals_untaken", run=live.run_id, hook=event.entity, token=token, count=count)
