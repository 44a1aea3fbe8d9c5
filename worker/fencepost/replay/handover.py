"""What a run that continues as new hands over to the run that goes on: its hooks, and the payloads that are not taken.

A hook goes over if it is open when the code has come to its end, or if its closing lands in the same batch, as that of
an ``async with`` does which ``continue_as_new`` leaves. Payloads that land afterwards, before the end does, go over as
well. So the list is a function of the log, as every decision is.

Of a run that ends in another way a hook that holds payloads is disposed of, and its hook_disposed says how many.
"""

# A live run's own parts, in files by concept.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from fencepost.records import HandedOver, RunContinued, pack, unpack
from fencepost.replay.asks import Ask, State
from fencepost.replay.hooks import Channel
from fencepost_store.events import Event, EventType

if TYPE_CHECKING:
    from fencepost.replay.core import Core

OPEN = (State.created, State.withdrawn)
"""A hook whose closing has landed is not in the run's open asks any more."""


def hooks_of(run: Core) -> Iterator[tuple[Ask, Channel]]:
    """The hooks of the log that are open, or whose closing has not landed; in order of creation."""
    for ask in list(run._open.values()):
        if ask.type is EventType.hook_created and ask.state in OPEN and isinstance(ask.owner, Channel):
            yield ask, ask.owner


def at_the_end(run: Core) -> None:
    """The code has come to its end, ``run._ending``."""
    assert run._ending is not None
    if run._ending.type is EventType.run_continued:
        handed = [*_handed_over(run)]
        for _, channel in hooks_of(run):
            channel.hand_over()
        if handed:
            _record(run, tuple(handed))
        return
    for ask, channel in hooks_of(run):
        if channel.untaken:
            channel.close()
            channel.account(ask)


def late(run: Core, ask: Ask, event: Event) -> None:
    """A payload for a hook whose closing, or whose run's end, was decided before it came."""
    channel = ask.owner
    if not isinstance(channel, Channel):
        return
    channel.leave(event)
    if run._ending is None or run._ending.type is not EventType.run_continued:
        if ask.state is State.created:
            channel.close()
        channel.account(ask)
        return
    _add(run, run.work.hooks.get(ask.entity, ""), ask.entity, event.seq)


def late_for_inherited(run: Core, entity: str, token: str, event: Event) -> None:
    """The same, for a token that the run has inherited and has not opened."""
    if run._ending is not None and run._ending.type is EventType.run_continued:
        _add(run, token, entity, event.seq)


def _handed_over(run: Core) -> Iterator[HandedOver]:
    for ask, channel in hooks_of(run):
        yield HandedOver(run.work.hooks.get(ask.entity, ""), ask.entity, tuple(event.seq for event in channel.untaken))
    for entity, inherited in run._inherited.items():
        if inherited.events or inherited.token in run.unborn:
            yield HandedOver(inherited.token, entity, tuple(event.seq for event in inherited.events))


def _add(run: Core, token: str, entity: str, seq: int) -> None:
    assert run._ending is not None
    hooks = {hook.entity: hook for hook in unpack(run._ending.payload, RunContinued).hooks}
    before = hooks.get(entity, HandedOver(token, entity))
    hooks[entity] = msgspec.structs.replace(before, seqs=(*before.seqs, seq))
    _record(run, tuple(hooks.values()))


def _record(run: Core, hooks: tuple[HandedOver, ...]) -> None:
    assert run._ending is not None
    continued = msgspec.structs.replace(unpack(run._ending.payload, RunContinued), hooks=hooks)
    run._ending = msgspec.structs.replace(run._ending, payload=pack(continued))
