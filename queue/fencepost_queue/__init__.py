"""The tick queue: hints about where work is to be done.

What the room promises: at most one message per key; a message that was placed is delivered until it is settled or
withdrawn, to one holder at a time, again if its holder falls silent; what follows from a settled message is placed in
the same step as it goes. What it does not promise: to survive. Losing all of it loses no run, for Postgres holds every
deadline and whoever finds the generation gone reconciles.

Where to look: protocol.py (what the engine codes against), states.py (what each operation does, as a table), lane.py
and memory.py (the executable specification), lua/ and valkey.py (the same on Redis or Valkey), limits.py (every
number)."""

from __future__ import annotations

from fencepost_queue.protocol import (
    Claimed,
    Delivery,
    Depth,
    EnqueueOutcome,
    Entry,
    Peeked,
    Queue,
    QueueTrouble,
    Renewal,
    Settled,
    SettleOutcome,
    Subscription,
    step_key,
    tick_key,
)

__all__ = [
    "Claimed",
    "Delivery",
    "Depth",
    "EnqueueOutcome",
    "Entry",
    "Peeked",
    "Queue",
    "QueueTrouble",
    "Renewal",
    "SettleOutcome",
    "Settled",
    "Subscription",
    "step_key",
    "tick_key",
]
