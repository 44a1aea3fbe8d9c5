"""Development mode: every turn is replayed a second time from the log, and compared before anything is written.

Code that is not deterministic (a clock, chance, a global that counts, the order of a set) asks for something else the
second time. It is found at the turn at which it happens, and not when a worker dies months later.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from itertools import zip_longest

import msgspec

from fencepost import payload_codecs
from fencepost.engine.live import LiveRun
from fencepost.engine.shell import Shell
from fencepost.log import Append
from fencepost.records import RunContinued, unpack
from fencepost.replay.asks import CALLS
from fencepost.replay.divergence import describe, values_of
from fencepost.replay.instance import Instance
from fencepost.replay.interface import ReplayDivergence
from fencepost.telemetry import note
from fencepost_store.events import Event, EventType, NewEvent

_FORESEEN = frozenset({EventType.step_completed, EventType.step_failed, EventType.wait_completed})
"""What a turn has delivered before it landed; it leads what is pending, and the code never asks for it."""

AGAIN = "when the turn is replayed again: the code is not deterministic (check_replay)"


async def rehearse(shell: Shell, live: LiveRun, instance: Instance, via: Append | None) -> None:
    """Compare, and trace, as configured; else nothing. Raises ReplayDivergence with both replays, StoreTrouble.

    A turn under the row's lock (``via``) is left out: its budget is short.
    """
    settings = shell.settings
    if not (settings.check_replay or settings.trace) or via is not None:
        return
    with shell.guard.turn(live.run_id):
        pending = instance.pending()
    loaded = await shell.store.load(live.run_id)
    if not pending or loaded is None:
        return
    log = [event for event in loaded.events if event.seq <= instance.work.seen]
    if settings.trace:
        note(
            "turn_traced",
            run=live.run_id,
            seq=instance.work.seen,
            log=_digest(log),
            decision=_digest(pending),
            events=[f"{event.type.name} {event.entity}".strip() for event in pending],
        )
    program = shell.registry.find_workflow(loaded.run.workflow)
    if not settings.check_replay or program is None:
        return
    again = Instance(live.run_id, program, queue=loaded.run.queue, builds=settings.own_builds)
    again.rehearsing = True
    again.clock = instance.clock  # the due times of what this turn asks for count from it
    with shell.guard.turn(live.run_id):
        try:
            _compare(again, log, pending)
        finally:
            again.evict()


def _compare(again: Instance, log: Sequence[Event], pending: Sequence[NewEvent]) -> None:
    foreseen = [event for event in pending if event.type in _FORESEEN]
    seen = len(log)
    try:
        again.deliver([*log, *(_landed(seen + n, event) for n, event in enumerate(foreseen, 1))])
    except ReplayDivergence as error:
        raise ReplayDivergence(error.seq, error.recorded, f"{error.asked}, {AGAIN}", error.source) from error
    rest = pending[len(foreseen) :]
    for one, other in zip_longest(rest, again.pending()):
        if _compared(one) == _compared(other):
            continue
        first, second = _words(one), _words(other)
        if first == second:
            second = f"{second} with other values"
        values = " and ".join(filter(None, dict.fromkeys((values_of(one), values_of(other)))))
        again_ = f"{AGAIN}; the values were {values}" if values else AGAIN
        asked_at = next((again.asked_at(event.entity) for event in (other, one) if event is not None), "")
        raise ReplayDivergence(seen, f"{first} as this turn asked", f"{second}, {again_}", asked_at)


def _compared(event: NewEvent | None) -> object:
    """What must be the same: values as they are when opened, for equal ones that are encrypted have other bytes. A
    failure's record may quote an address in memory, so that it failed is enough."""
    if event is None:
        return None
    return event.type, event.entity, event.due, event.token, _value(event)


def _value(event: NewEvent) -> object:
    if event.type is EventType.run_failed:
        return None
    if event.type is EventType.run_continued:
        continued = unpack(event.payload, RunContinued)
        return msgspec.structs.replace(continued, args=payload_codecs.current().opened(continued.args))
    if event.type is EventType.run_completed:
        return payload_codecs.current().opened(event.payload)
    kind = CALLS.get(event.type)
    if kind is None or payload_codecs.CODED not in event.payload:
        return event.payload
    try:
        record = unpack(event.payload, kind)
    except msgspec.MsgspecError:
        return event.payload
    return msgspec.structs.replace(record, args=payload_codecs.current().opened(record.args))


def _words(event: NewEvent | None) -> str:
    return "nothing" if event is None else describe(event.type, event.entity, event.payload)


def _landed(seq: int, event: NewEvent) -> Event:
    at = event.at or 0
    return Event(seq, event.type, event.entity, event.attempt, at, None, None, event.dedupe, event.payload)


def _digest(events: Sequence[Event] | Sequence[NewEvent]) -> str:
    return blake2b(msgspec.msgpack.encode(events), digest_size=8).hexdigest()
