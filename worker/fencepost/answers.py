"""Where a workflow's answer to a payload stands in the run's log: a marker named by the sender's delivery id.

So whoever has the id finds the answer by one look-up, also the sender that sends again because it never heard it.
"""

from __future__ import annotations

from hashlib import blake2b

PREFIX = "answer:"
"""What the marker's entity begins with. Entities of the code's own begin with a name, and end in ``#`` and a number."""

DELIVERY_CHARS_MAX = 200
"""Of an id that stands in the entity as it is; a longer one is hashed, for entities are bounded."""


def entity_of(delivery: str) -> str:
    """The marker of the answer to this delivery."""
    if len(delivery) > DELIVERY_CHARS_MAX:
        delivery = "~" + blake2b(delivery.encode("utf-8", "surrogatepass"), digest_size=24).hexdigest()
    return PREFIX + delivery


def channel_of(run_id: str) -> str:
    """On which the hint goes out that a run has answered something."""
    return f"answered:{run_id}"
