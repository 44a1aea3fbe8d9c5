"""What a turn owes the children of its run: each is created if absent, then asked to cancel if it is to be, then
ticked, in this order, on first dispatch and on recovery (docs/protocol.md section 6, G6).

A child that has continued as new is reached in the newest run of its chain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

from fencepost import errors
from fencepost.engine.live import LiveRun
from fencepost.engine.owed import Owed, cancelling, own_tick
from fencepost.engine.shell import Shell
from fencepost.failure import failure_of
from fencepost.lineage import child_run, started_in, successor_in, successor_run
from fencepost.log import only_fact
from fencepost.records import (
    ABANDON,
    TERMINATE,
    ChildCancelRequested,
    ChildCreated,
    ChildEnded,
    RunStopped,
    pack,
    unpack,
)
from fencepost.replay.fold import OpenWork
from fencepost_queue.protocol import Entry
from fencepost_store.admission import Unstorable
from fencepost_store.events import Event, EventType, NewEvent
from fencepost_store.lineage import parent_text
from fencepost_store.protocol import Batch, FactOutcome, Reason, RunStatus

AT_ONCE = 16
"""Children that are seen to at the same time: the store has a handful of connections, and others need them too."""


async def dispatch_children(shell: Shell, live: LiveRun, owed: Owed, work: OpenWork, *, recover: bool) -> list[Entry]:
    """See to what this turn asked of children, and with ``recover`` to every open one and to those that were given up.
    Returns the ticks that the settle must place. Raises StoreTrouble.
    """
    wanted = {entity: _Wish(record, stop=owed.child_cancels.get(entity)) for entity, record in owed.children.items()}
    if recover:
        for entity, state in work.children.items():
            stop = None if state.cancel is None else cancelling(_reason(state.cancel), entity)
            wanted.setdefault(entity, _Wish(unpack(state.created.payload, ChildCreated), stop, again=True))
        for entity, created in work.abandoned.items():
            wanted.setdefault(entity, _Wish(unpack(created.payload, ChildCreated), again=True))
    return await _see_to(shell, live, work, wanted, recover=recover)


async def close_children(shell: Shell, live: LiveRun, work: OpenWork) -> list[Entry]:
    """The parent has ended: every open child gets what its ``parent_close`` says. Returns their ticks. Raises
    StoreTrouble.
    """
    reason = f"its parent {live.run_id} has ended"
    wanted: dict[str, _Wish] = {}
    for entity, state in work.children.items():
        record = unpack(state.created.payload, ChildCreated)
        stop: NewEvent | None = cancelling(reason if state.cancel is None else _reason(state.cancel), entity)
        if record.parent_close == TERMINATE:
            stop = NewEvent(EventType.run_terminated, payload=pack(RunStopped(reason)))
        elif record.parent_close == ABANDON and state.cancel is None:
            stop = None
        wanted[entity] = _Wish(record, stop, again=True)
    for entity, created in work.abandoned.items():
        wanted[entity] = _Wish(unpack(created.payload, ChildCreated), again=True)
    return await _see_to(shell, live, work, wanted, recover=False)


class _Wish:
    """What is wanted of one child. ``stop``: the fact that asks it to end. ``again``: it may have been dispatched
    before, and then its chain is looked up.
    """

    __slots__ = ("again", "record", "stop")

    def __init__(self, record: ChildCreated, stop: NewEvent | None = None, *, again: bool = False) -> None:
        self.record = record
        self.stop = stop
        self.again = again


async def _see_to(
    shell: Shell, live: LiveRun, work: OpenWork, wanted: dict[str, _Wish], *, recover: bool
) -> list[Entry]:
    entries: list[Entry] = []
    items = list(wanted.items())
    for start in range(0, len(items), AT_ONCE):
        part = [
            _one(shell, live, work, entity, wish, recover=recover) for entity, wish in items[start : start + AT_ONCE]
        ]
        for found in await all_of(part):
            entries += found
    return entries


async def all_of(awaitables: Sequence[Awaitable[list[Entry]]]) -> list[list[Entry]]:
    """All of them, each to its end; then the first error is raised, if any."""
    if len(awaitables) == 1:
        return [await awaitables[0]]
    results = await asyncio.gather(*awaitables, return_exceptions=True)
    found: list[list[Entry]] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        found.append(result)
    return found


async def _one(shell: Shell, live: LiveRun, work: OpenWork, entity: str, wish: _Wish, *, recover: bool) -> list[Entry]:
    row = await shell.store.newest_child(parent_text(live.run_id, entity)) if wish.again or wish.stop else None
    run_id, queue = wish.record.run, ""
    if row is None:
        assert live.run is not None
        assert work.created is not None
        run = child_run(live.run, work.created, entity, wish.record, shell.rules.grace)
        shell.ports.fault("child.before")
        try:
            started = await shell.store.start(run)
        except Unstorable as refused:  # a key or a queue that no store takes
            return await _refuse(shell, live, entity, wish.record, errors.ArgumentError(str(refused)))
        shell.ports.fault("child.started")
        if started.run_id != run.run_id:
            taken = errors.StartConflict(wish.record.name, wish.record.key or "", started.run_id)
            return await _refuse(shell, live, entity, wish.record, taken)
        queue = run.queue
    else:
        run_id, queue = row.run_id, row.queue
        if wish.stop is None and not recover:
            return []  # created before, and nothing new is asked of it
    if wish.stop is not None:
        stopped = await stop_run(shell, run_id, wish.stop)
        shell.ports.fault("child.stopped")
        if stopped is None:
            # It has ended, and tells its parent by itself; with recover its last turn is asked to do so again.
            return [own_tick(run_id, queue, recover=True)] if recover else []
        run_id = stopped
    return [own_tick(run_id, queue, recover=recover)]


async def stop_run(shell: Shell, run_id: str, stop: NewEvent) -> str | None:
    """Land the fact in the run, or in the one that goes on for it. Returns that one's id; None if it has ended."""
    while True:
        batch = Batch(run_id=run_id, fence=None, events=(stop,), grace=shell.rules.grace)
        if only_fact(await shell.log.append(batch)).outcome in (FactOutcome.landed, FactOutcome.already):
            return run_id
        successor = await start_successor(shell, run_id)
        if successor is None:
            return None
        run_id = successor


async def start_successor(shell: Shell, run_id: str) -> str | None:
    """Create the run that goes on for an ended one, if another does, and if it is not there yet. Returns its id."""
    row = await shell.store.get(run_id)
    loaded = None if row is None or row.status is not RunStatus.continued else await shell.store.load(run_id, 0)
    if loaded is None or successor_in(loaded.events) is None:
        return None
    begun = started_in(loaded.events)
    run = successor_run(loaded.run, loaded.events[0], begun, loaded.events[-1].payload, shell.rules.grace)
    await shell.store.start(run)
    return run.run_id


async def _refuse(shell: Shell, live: LiveRun, entity: str, record: ChildCreated, why: Exception) -> list[Entry]:
    """The child cannot be started as it was asked for: it fails, and the parent's next turn sees it."""
    ended = ChildEnded("failed", failure_of(why, code=errors.USER_ERROR))
    await tell(
        shell,
        live.run_id,
        NewEvent(EventType.child_failed, entity, dedupe=record.run, token=record.run, payload=pack(ended)),
    )
    assert live.run is not None
    return [own_tick(live.run_id, live.run.queue)]


async def tell(shell: Shell, run_id: str, event: NewEvent) -> bool:
    """Land a child's end in its parent's log. False: the parent has ended, or is not there."""
    batch = Batch(run_id=run_id, fence=None, events=(event,), grace=shell.rules.grace)
    fact = only_fact(await shell.log.append(batch))
    return fact.reason not in (Reason.run_ended, Reason.run_not_found)


def _reason(request: Event) -> str:
    return unpack(request.payload, ChildCancelRequested).reason
