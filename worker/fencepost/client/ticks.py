"""The hint that a client sends behind what it has written. If it is lost, the run waits for its deadline."""

from __future__ import annotations

from fencepost_queue.errors import QueueRefused
from fencepost_queue.protocol import Entry, Queue, QueueTrouble


async def send_tick(queue: Queue, entry: Entry) -> None:
    """Enqueue a run's tick, on a second connection if the first one breaks: a tick that comes twice is one tick, and
    one that is lost costs the run some seconds (H187). Raises QueueTrouble.
    """
    try:
        await queue.enqueue([entry])
    except QueueRefused:
        raise
    except QueueTrouble:
        await queue.enqueue([entry])
