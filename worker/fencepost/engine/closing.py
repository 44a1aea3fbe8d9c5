"""What landed events oblige a turn to do beyond its own run: for its children while it lives; at its end for its
parent, its children and its successor (F9, G5, G6).

All of it may be done twice: a parent refuses a second end of its child, a run that is there is not created again, and
a request to cancel counts once. So a run that has ended keeps its deadline until all of it is done, and every later
tick does it again.
"""

from __future__ import annotations

import msgspec

from fencepost import errors
from fencepost.engine.children import close_children, dispatch_children, tell
from fencepost.engine.live import LiveRun
from fencepost.engine.owed import Owed, own_tick
from fencepost.engine.shell import Shell
from fencepost.failure import failure_of
from fencepost.lineage import origin_of, successor_in, successor_run
from fencepost.log import LimitExceeded
from fencepost.records import ChildEnded, RunFailed, RunStopped, pack, unpack
from fencepost.replay.fold import OpenWork
from fencepost_queue.protocol import Entry
from fencepost_store.events import Event, EventType, NewEvent
from fencepost_store.lineage import parent_of
from fencepost_store.protocol import StoreTrouble


async def duties(shell: Shell, live: LiveRun, owed: Owed, *, recover: bool) -> list[Entry]:
    """Do what is owed to other runs, and return the ticks that the settle must place. Comes after the append and before
    the settle, under no lock of a row. Raises StoreTrouble: then nothing was settled and all of it is done again.
    """
    if live.run is None:
        return []
    if owed.epoch != shell.store.epoch:
        raise StoreTrouble(
            f"run {live.run_id}: what this turn owes rests on what was committed on another server than the one that is"
            " there now: it is done by a turn that has read the log there"
        )
    if owed.over is not None:
        return await _close(shell, live, owed, owed.over)
    work = live.instance.work if live.instance is not None else owed.work
    if work is None or not (owed.children or (recover and (work.children or work.abandoned))):
        return []
    return await dispatch_children(shell, live, owed, work, recover=recover)


async def _close(shell: Shell, live: LiveRun, owed: Owed, work: OpenWork) -> list[Entry]:
    assert live.run is not None
    assert work.ended is not None
    owed.end_steps(live, work)
    entries: list[Entry] = []
    if live.run.parent is not None and work.ended.type is not EventType.run_continued:
        entries += await _tell_parent(shell, live, work, live.run.parent)
    if work.children or work.abandoned:
        entries += await close_children(shell, live, work)
    if work.ended.type is EventType.run_continued:
        assert work.created is not None
        begun = None if work.begun is None else work.begun.payload
        successor = successor_run(live.run, work.created, begun, work.ended.payload, shell.rules.grace)
        await shell.store.start(successor)
        shell.ports.fault("successor.started")
        entries.append(own_tick(successor.run_id, successor.queue))
    if live.wake_at is not None:
        shell.ports.fault("end.done")
        verdict = await shell.store.touch(live.run_id, work.fence, work.seen, None, work.stamp)
        shell.clock.read(verdict.now)
        live.wake_at = None
    return entries


async def _tell_parent(shell: Shell, live: LiveRun, work: OpenWork, parent: str) -> list[Entry]:
    run_id, entity = parent_of(parent)
    assert work.ended is not None
    assert work.created is not None
    shell.ports.fault("parent.before")
    origin = origin_of(work.created)
    if origin.previous and not await goes_on(shell, origin.previous, live.run_id):
        return []
    first = origin.first or live.run_id
    event = msgspec.structs.replace(end_of_child(entity, live.run_id, work.ended), token=first)
    try:
        listening = await tell(shell, run_id, event)
    except LimitExceeded as limit:  # only a result can be: what tells of an error is made to fit
        size = errors.PayloadTooLarge(f"the child's result: {limit}", size=limit.value, limit=limit.bound)
        ended = pack(ChildEnded("failed", failure_of(size, code=errors.PAYLOAD_ERROR)))
        failed = NewEvent(EventType.child_failed, entity, dedupe=live.run_id, token=first, payload=ended)
        listening = await tell(shell, run_id, failed)
    shell.ports.fault("parent.told")
    return [own_tick(run_id, origin.queue)] if listening and origin.queue else []


async def goes_on(shell: Shell, previous: str, run_id: str) -> bool:
    """Whether the run before has ended in this one. After a fail-over it may have gone another way: then this one is
    nobody's, and what it came to is told to nobody (H194).
    """
    row = await shell.store.get(previous)
    if row is None:  # pruned, long after it had ended
        return True
    loaded = await shell.store.load(previous, row.last_seq - 1)
    return loaded is not None and successor_in(loaded.events) == run_id


def end_of_child(entity: str, run_id: str, ended: Event) -> NewEvent:
    """What a child's terminal event is in its parent's log."""
    if ended.type is EventType.run_completed:
        return NewEvent(EventType.child_completed, entity, dedupe=run_id, payload=ended.payload)
    if ended.type is EventType.run_failed:
        told = ChildEnded("failed", unpack(ended.payload, RunFailed).error)
    else:
        status = "cancelled" if ended.type is EventType.run_cancelled else "terminated"
        told = ChildEnded(status, reason=unpack(ended.payload, RunStopped).reason if ended.payload else "")
    return NewEvent(EventType.child_failed, entity, dedupe=run_id, payload=pack(told))
