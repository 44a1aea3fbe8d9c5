"""Handlers of events that the code caused, and of the run's end: each must be what the code asks for next."""

# A live run's own parts, in files by concept.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import heapq
from collections.abc import Sequence

from fencepost.replay.asks import Ask, State
from fencepost.replay.children import ChildLink
from fencepost.replay.core import Core, Handler
from fencepost.replay.endings import is_escape
from fencepost.replay.hooks import Channel
from fencepost.replay.timers import WorkflowTimer
from fencepost_store.events import Event, EventType


def created(run: Core, event: Event) -> None:
    ask = run._expect(event)
    if event.payload != ask.payload or event.token != ask.token:  # a due time counts from the turn that asked
        run._compare(event, ask)
    run._outstanding.take()
    ask.state = State.created
    if event.due is not None:
        ask.due = event.due
        run._due_count += 1
        heapq.heappush(run._due, (event.due, run._due_count, ask))
    elif isinstance(ask.owner, Channel):
        if run._inherited:
            ask.owner.inherit(_inherited(run, event))
        run._news.append((run._outstanding.last(), ask.owner, event))
    elif isinstance(ask.owner, ChildLink) and event.payload != ask.payload:
        ask.owner.recorded(event)


def marker(run: Core, event: Event) -> None:
    if not run._patches.retired(event.entity):
        run._expect(event)
        run._outstanding.take()


def withdrawn(run: Core, event: Event) -> None:
    if run._outstanding.withdrawal(event.type, event.entity) is None:
        raise run._diverged(event)
    run._outstanding.take()
    run._open.pop(event.entity).finish()


def child_cancel_requested(run: Core, event: Event) -> None:
    run._expect(event)
    run._outstanding.take()


def conflict(run: Core, event: Event) -> None:
    ask = run._outstanding.first()
    if ask is None or ask.type is not EventType.hook_created or ask.entity != event.entity:
        raise run._diverged(event)
    run._outstanding.take()
    del run._open[ask.entity]
    channel = ask.owner
    ask.finish()
    if isinstance(channel, Channel):
        run._news.append((run._outstanding.last(), channel, event))


def tell(run: Core) -> None:
    """Tell hooks what became of their creations, in log order, as far as what stood beside them has landed."""
    while run._news:
        last, channel, event = run._news[0]
        if last is not None and not (last.landed or last.dropped):
            return
        run._news.popleft()
        if run._ending is None and channel.hear(event):
            run._advance(event.at)
            run._rest()


def _inherited(run: Core, event: Event) -> Sequence[Event]:
    """What the run before has left for the hook that has landed: it is this hook's now."""
    entity = next((entity for entity, one in run._inherited.items() if one.token == event.token), None)
    return () if entity is None else run._inherited.pop(entity).events


def wait_completed(run: Core, event: Event) -> None:
    if run._landed(event):
        return
    ask = run._open.get(event.entity)
    if ask is None or ask.type is not EventType.wait_created or ask.state is not State.created or run._ending:
        raise run._diverged(event)
    end_wait(run, ask, event.at)


def end_wait(run: Core, ask: Ask, at: int) -> None:
    del run._open[ask.entity]
    timer = ask.owner
    due = ask.due or 0
    ask.finish()
    if isinstance(timer, WorkflowTimer):
        # Never before the deadline the code has in its hands: anyio compares again and would arm another timer.
        run._advance(max(at, due), timer.when())
        run.loop.fire(timer)
        run._rest()


def run_ended(run: Core, event: Event) -> None:
    if event.type is EventType.run_terminated or (event.type is EventType.run_failed and is_escape(event)):
        return  # an operator or a limit ended the run, wherever the code was
    if run._ending is None or run._ending.type is not event.type or run._outstanding.first() is not None:
        raise run._diverged(event)


DECISIONS: dict[EventType, Handler] = {
    EventType.step_created: created,
    EventType.wait_created: created,
    EventType.hook_created: created,
    EventType.attributes_set: created,
    EventType.hook_conflict: conflict,
    EventType.child_created: created,
    EventType.child_cancel_requested: child_cancel_requested,
    EventType.child_abandoned: withdrawn,
    EventType.marker: marker,
    EventType.step_cancelled: withdrawn,
    EventType.wait_cancelled: withdrawn,
    EventType.hook_disposed: withdrawn,
    EventType.wait_completed: wait_completed,
    EventType.run_completed: run_ended,
    EventType.run_failed: run_ended,
    EventType.run_cancelled: run_ended,
    EventType.run_terminated: run_ended,
    EventType.run_continued: run_ended,
}
