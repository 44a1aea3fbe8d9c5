"""Waiting for what a workflow answers to a payload: pushed by a hint, with a poll behind it.

The answer is a marker in the run's log, named by the delivery id (``fencepost.answers``). So a sender that asks again
under the same id, now or after a restart, gets the same answer. The wait ends at once when no answer can come: the run
has ended without one, or has closed its hook before it took the payload. A payload that went over to the run that goes
on (``continue_as_new``) is answered there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from fencepost import payload, payload_codecs
from fencepost.answers import channel_of, entity_of
from fencepost.client.signals import Delivered
from fencepost.records import Answered, HookDisposed, unpack
from fencepost_queue.protocol import Subscription
from fencepost_store.events import EventType
from fencepost_store.protocol import Loaded, RunStatus
from fencepost_store.taken import Taken

if TYPE_CHECKING:
    from fencepost.client.client import Connected

POLL_SECONDS = 1.0
"""The bound behind the hint: two look-ups by index, per sender who waits."""

HOOK_CLOSED = "hook closed"
"""``Reply.ended`` where the run goes on, and has closed its hook before it took the payload."""


class Reply(msgspec.Struct, frozen=True):
    """What became of a payload that was sent with ``Client.ask``. ``expected``: whether the hook says that its workflow
    answers. ``status``: None if it has not; else what it said with ``value``. ``ended``: why no answer can come any
    more: the status of the run, which has ended ("completed", "failed", "cancelled", "terminated"), or "hook closed".
    None: it may still come."""

    run_id: str
    expected: bool
    status: int | None = None
    value: Any = None
    ended: str | None = None


async def wait(connected: Connected, token: str, delivery: str, delivered: Delivered) -> Reply:
    """The workflow's answer; none by the deadline, or as soon as none can come. Raises StoreTrouble, QueueTrouble."""
    taken: Taken | None = delivered.taken
    try:
        async with asyncio.timeout(delivered.respond):
            while taken is not None:
                found = await _in_one_run(connected, delivered.run_id, taken, delivery)
                if found is not None:
                    return found
                before, trace = taken, await connected.store.trace_token(token, delivery)
                taken = None if trace is None or trace.taken == before else trace.taken
        return Reply(delivered.run_id, True, ended=RunStatus.continued.name)
    except TimeoutError:
        return Reply(delivered.run_id, True)


async def _in_one_run(connected: Connected, run_id: str, taken: Taken, delivery: str) -> Reply | None:
    """None: the run goes on as another one, which may have the payload. ``run_id``: whom the sender knows."""
    queue = connected.queue
    async with queue.subscribe(channel_of(taken.run_id)) as hints, queue.subscribe(f"ended:{taken.run_id}") as ends:
        while True:
            loaded = await connected.store.load_entity(taken.run_id, entity_of(delivery))
            if loaded is None:
                return Reply(run_id, True, ended="pruned")
            for event in loaded.events:
                if event.type is EventType.marker:
                    return _reply(connected, run_id, event.payload)
            if loaded.run.status is RunStatus.continued:
                return None
            if loaded.run.status.ended:
                return Reply(run_id, True, ended=loaded.run.status.name)
            if _never_taken(await connected.store.load_entity(taken.run_id, taken.entity), taken.seq):
                return Reply(run_id, True, ended=HOOK_CLOSED)
            await _first(hints, ends)


def _never_taken(hook: Loaded | None, seq: int) -> bool:
    """Whether the hook was closed while it held the payload."""
    disposed = [event for event in hook.events if event.type is EventType.hook_disposed] if hook is not None else []
    return any(seq in unpack(event.payload, HookDisposed).untaken for event in disposed if event.payload)


async def _first(*hints: Subscription) -> None:
    """Return with the first hint, or after a while."""
    waiting = [asyncio.ensure_future(one.next(POLL_SECONDS)) for one in hints]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def _reply(connected: Connected, run_id: str, data: bytes) -> Reply:
    answered = unpack(data, Answered)
    with payload_codecs.using(connected.codecs):
        return Reply(run_id, True, answered.status, payload.decode(answered.value, path="the answer"))
