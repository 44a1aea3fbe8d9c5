"""Handlers of events that the code did not cause: what they do to a live run."""

# A live run's own parts, in files by concept.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextvars

from fencepost.records import FINGERPRINT, StepStarted, unpack
from fencepost.replay.asks import Ask, State
from fencepost.replay.cancelling import request_of, stopped
from fencepost.replay.children import ChildLink
from fencepost.replay.core import Core, Handler, Inherited
from fencepost.replay.handover import late, late_for_inherited
from fencepost.replay.hooks import Channel
from fencepost.replay.identity import PATH, secret_in
from fencepost.replay.starting import attributes_in, beginning, cancelled_before, input_of
from fencepost.replay.tasks import StepFuture
from fencepost_store.events import Event, EventType, NewEvent


def started(run: Core, event: Event) -> None:
    if run._root is not None:
        raise run._diverged(event)
    run._advance(beginning(event))
    early = cancelled_before(event, run._patches.events)
    if early is not None:
        run.begun, run._ending = False, NewEvent(EventType.run_cancelled, payload=stopped(early))
        return
    run._secret, run._attributes = secret_in(event.payload), attributes_in(event.payload)
    context = contextvars.Context()
    context.run(PATH.set, run._path)
    called_with, run.settles = input_of(run._program, event, run._patches.events, run.builds)
    run._root = root = run.loop.start_root(run._program.run(called_with), context)
    root.add_done_callback(run._returned, context=context)
    run._rest()


def unseen(run: Core, event: Event) -> None:
    """run_started, step_retrying: the code cannot notice them."""


def step_started(run: Core, event: Event) -> None:
    """The code cannot notice it either; but who could not read the result must know whose it is."""
    if FINGERPRINT in event.payload:
        run._writers[event.entity, event.attempt] = unpack(event.payload, StepStarted).fingerprint


def step_ended(run: Core, event: Event) -> None:
    if run._landed(event):
        return
    ask = run._open.get(event.entity)
    if ask is None or ask.type is not EventType.step_created or ask.state is State.asked:
        raise run._diverged(event)
    end_step(run, ask, event)


def end_step(run: Core, ask: Ask, event: Event) -> None:
    del run._open[ask.entity]
    future = ask.owner
    withdrawal = ask.withdrawal
    ask.finish()
    if withdrawal is not None:
        withdrawal.dropped = True  # the result came first: there is nothing left to cancel
    elif run._ending is None and isinstance(future, StepFuture):
        run._advance(event.at)
        future.set_result(event)
        run._rest()


def child_ended(run: Core, event: Event) -> None:
    """child_completed, child_failed."""
    ask = run._open.get(event.entity)
    if ask is None or ask.type is not EventType.child_created or ask.state is State.asked:
        raise run._diverged(event)
    del run._open[ask.entity]
    link, withdrawal = ask.owner, ask.withdrawal
    ask.finish()
    if withdrawal is not None:
        withdrawal.dropped = True  # the end came first: there is nothing left to give up
    if isinstance(link, ChildLink):
        if link.cancelling is not None and not link.cancelling.landed:
            link.cancelling.dropped = True  # nor to cancel
        if run._ending is None and withdrawal is None and link.ended(event):
            run._advance(event.at)
            run._rest()


def hook_inherited(run: Core, event: Event) -> None:
    run._inherited[event.entity] = Inherited(event.token or "")


def hook_received(run: Core, event: Event) -> None:
    inherited = run._inherited.get(event.entity)
    if inherited is not None:
        inherited.events.append(event)
        run.held += 1
        late_for_inherited(run, event.entity, inherited.token, event)
        return
    ask = run._open.get(event.entity)
    if ask is None or ask.type is not EventType.hook_created or ask.state is State.asked:
        raise run._diverged(event)
    if ask.state is State.created and run._ending is None and isinstance(ask.owner, Channel):
        run._advance(event.at)
        ask.owner.receive(event)
        run._rest()
    else:
        late(run, ask, event)


def cancel_requested(run: Core, event: Event) -> None:
    if run._ending is None:
        if run._root is None:
            raise run._diverged(event)
        run._advance(event.at)
        reason = request_of(event).reason
        if run._cancelled_for is None:
            run._cancelled_for = reason
        run._root.cancel(reason or None)
        run._rest()


FACTS: dict[EventType, Handler] = {
    EventType.run_created: started,
    EventType.run_started: unseen,
    EventType.step_started: step_started,
    EventType.step_retrying: unseen,
    EventType.step_completed: step_ended,
    EventType.step_failed: step_ended,
    EventType.hook_inherited: hook_inherited,
    EventType.hook_received: hook_received,
    EventType.child_completed: child_ended,
    EventType.child_failed: child_ended,
    EventType.cancel_requested: cancel_requested,
}
