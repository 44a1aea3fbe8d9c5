"""Signals on their way into a run's log, and what a sender may know of a hook.

A token is traced before anything is sent: who listens on it, or did; and whether the delivery was taken in before. So
a sender who asks again after the hook has gone hears the same as the first time (H103).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from fencepost import errors, payload, payload_codecs
from fencepost.client.run import instant
from fencepost.log import EVENTS_RESERVE, NotWritten
from fencepost.records import HookCreated, unpack
from fencepost.signal_errors import DeliveryConflict
from fencepost_store.events import EventType, NewEvent
from fencepost_store.protocol import Batch, FactOutcome, StoreTrouble, TokenTrace
from fencepost_store.taken import Taken

if TYPE_CHECKING:
    from fencepost.client.client import Connected

TRIES = 3
"""A signal whose reply was lost is sent again under the same delivery id; the log recognises it."""

LOOK_SECONDS_MIN, LOOK_SECONDS_MAX = 0.05, 1.0
"""Between two looks for a hook that is to open: one look-up by index each, and the first ones soon."""

HOOKS_MAX = 100
"""A hook that closes between the look and the append may have been followed by another one of the same token, which is
looked for again: the run that listens may go on as another one again and again (H173)."""


class HookInfo(msgspec.Struct, frozen=True):
    """A hook that is open, for whoever sends to it. ``hook``: its id in the run's log. ``payload``: the name of the
    type that its workflow expects. ``metadata``: as the workflow gave it. ``http``: whether webhooks reach it."""

    token: str
    run_id: str
    workflow: str
    hook: str
    payload: str
    metadata: Mapping[str, Any]
    http: bool
    created_at: datetime


async def look(connected: Connected, token: str) -> HookInfo:
    """The open hook of a token. Raises HookNotFound, HookDisposed, HookRunEnded, StoreTrouble."""
    trace = await connected.store.trace_token(token)
    if trace is None or not trace.live:
        raise _gone(token, trace)
    record = _record(trace)
    with payload_codecs.using(connected.codecs):
        path = f"metadata of hook {token}"
        metadata: Any = {} if record.metadata is None else payload.decode(record.metadata, path=path)
    return HookInfo(
        token=token,
        run_id=trace.run_id,
        workflow=trace.workflow,
        hook=trace.entity,
        payload=record.name,
        metadata=metadata,
        http=record.http,
        created_at=instant(trace.at),
    )


class Delivered(msgspec.Struct, frozen=True):
    """The run that has taken a delivery in, now or before. ``queue``: where its turns are done, to be told (None:
    nobody waits for the delivery any more). ``respond``: seconds in which the workflow answers (None: it does not).
    ``taken``: where it stands."""

    run_id: str
    queue: str | None
    respond: float | None
    taken: Taken


async def deliver(connected: Connected, token: str, data: bytes, delivery: str, *, http: bool) -> Delivered:
    """Land the payload. ``http``: only through hooks that were declared so; others are not found.

    Raises HookNotFound, HookDisposed, HookRunEnded, HookFull, StoreTrouble, LimitExceeded.
    """
    grace = int(connected.config.grace_seconds * 1_000_000)
    trace: TokenTrace | None = None
    for _ in range(HOOKS_MAX):
        trace = await connected.store.trace_token(token, delivery)
        if trace is None or (http and not _record(trace).http):
            raise errors.HookNotFound(token)
        respond = _record(trace).respond
        if trace.taken_by is not None and trace.taken is not None:
            _same_payload(connected, trace.taken_by, trace.taken, delivery, data)
            queue = trace.queue if trace.live and trace.taken.run_id == trace.run_id else None
            return Delivered(trace.taken_by, queue, respond, trace.taken)
        if not trace.live:
            break
        limits = connected.log.limits
        if trace.last_seq >= limits.events_max - EVENTS_RESERVE:
            raise errors.HookFull(token, trace.run_id, limits.events_max)
        if trace.received + len(data) > limits.log_bytes_max:
            raise errors.HookFull(token, trace.run_id, limits.log_bytes_max, "bytes", "log_bytes_max")
        event = NewEvent(EventType.hook_received, trace.entity, dedupe=delivery, payload=data, of=trace.stamp)
        seq = await _append(connected, Batch(trace.run_id, None, (event,), grace=grace))
        if seq is not None:
            taken = Taken(trace.run_id, trace.entity, seq, data)
            return Delivered(trace.run_id, trace.queue, respond, taken)
    raise _gone(token, trace)


async def deliver_patiently(
    connected: Connected, token: str, data: bytes, delivery: str, *, http: bool, patience: float
) -> Delivered:
    """As ``deliver``; while nobody listens it looks again, for ``patience`` seconds, each time a little later."""
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    pause = LOOK_SECONDS_MIN
    while True:
        try:
            return await deliver(connected, token, data, delivery, http=http)
        except errors.HookNotFound:
            left = until - loop.time()
            if left <= 0:
                raise
            await asyncio.sleep(min(pause, left))
            pause = min(LOOK_SECONDS_MAX, pause * 1.5)


async def _append(connected: Connected, batch: Batch) -> int | None:
    """Where it landed. None: the hook has closed since, or the delivery is in the log already; the next look tells."""
    for left in reversed(range(TRIES)):
        try:
            written = await connected.log.append(batch)
        except StoreTrouble:
            if left == 0:
                raise
            continue
        fact = None if isinstance(written, NotWritten) else written.facts[0]
        return fact.seq if fact is not None and fact.outcome is FactOutcome.landed else None
    raise AssertionError("the last try returns or raises")


def _same_payload(connected: Connected, run_id: str, taken: Taken, delivery: str, data: bytes) -> None:
    """Raise DeliveryConflict if the delivery was taken in with another payload. Encrypted values are compared opened;
    what cannot be opened here is taken for the same."""
    with payload_codecs.using(connected.codecs):
        try:
            first, second = (payload_codecs.current().opened(one) for one in (taken.payload, data))
        except errors.PayloadUnreadable:
            return
    if first != second:
        raise DeliveryConflict(delivery, run_id)


def _gone(token: str, trace: TokenTrace | None) -> errors.HookNotFound:
    if trace is None:
        return errors.HookNotFound(token)
    return (errors.HookRunEnded if trace.status.ended else errors.HookDisposed)(token, trace.run_id)


def _record(trace: TokenTrace) -> HookCreated:
    try:
        return unpack(trace.payload, HookCreated)
    except msgspec.MsgspecError:  # written by something else: nothing was declared that we know of
        return HookCreated("")
