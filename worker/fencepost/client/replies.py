"""Waiting for what a workflow answers to a payload: pushed by a hint, with a poll behind it.

The answer is a marker in the run's log, named by the delivery id (``fencepost.answers``). So a sender that asks again
under the same id, now or after a restart, gets the same answer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from fencepost import payload, payload_codecs
from fencepost.answers import channel_of, entity_of
from fencepost.records import Answered, unpack
from fencepost_store.events import EventType

if TYPE_CHECKING:
    from fencepost.client.client import Connected

POLL_SECONDS = 1.0
"""The bound behind the hint: one look-up of one row by index, per sender who waits."""


class Reply(msgspec.Struct, frozen=True):
    """What became of a payload that was sent with ``Client.ask``. ``expected``: whether the hook says that its workflow
    answers. ``status``: None if it has not, by the deadline; else what it said with ``value``."""

    run_id: str
    expected: bool
    status: int | None = None
    value: Any = None


async def wait(connected: Connected, run_id: str, delivery: str, seconds: float) -> Reply:
    """The workflow's answer, or none by the deadline or the run's end. Raises StoreTrouble, QueueTrouble."""
    waited = Reply(run_id, True)
    try:
        async with asyncio.timeout(seconds), connected.queue.subscribe(channel_of(run_id)) as hints:
            while True:
                loaded = await connected.store.load_entity(run_id, entity_of(delivery))
                if loaded is None:
                    return waited
                for event in loaded.events:
                    if event.type is EventType.marker:
                        return _reply(connected, run_id, event.payload)
                if loaded.run.status.ended:
                    return waited
                await hints.next(POLL_SECONDS)
    except TimeoutError:
        return waited


def _reply(connected: Connected, run_id: str, data: bytes) -> Reply:
    answered = unpack(data, Answered)
    with payload_codecs.using(connected.codecs):
        return Reply(run_id, True, answered.status, payload.decode(answered.value, path="the answer"))
