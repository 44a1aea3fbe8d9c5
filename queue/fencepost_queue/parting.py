"""Which follow-ups of a settle go with it, and which before it: a script stops the whole server while it runs."""

from __future__ import annotations

from collections.abc import Sequence

from fencepost_queue.limits import ITEMS_PER_CALL
from fencepost_queue.protocol import Entry


def parted(key: str, entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """(before, with) the settle of the message ``key``, of follow-ups in its lane.

    A settle is for the message's own next round (F5) and for leases (F8), which only an owner is given. What else is
    more than one script may take is enqueued before, in pages, as what goes to other lanes is: a crash in between
    repeats it, and it is absorbed.
    """
    if len(entries) <= ITEMS_PER_CALL:
        return [], list(entries)
    bound = [entry for entry in entries if entry.lease or entry.key == key]
    return [entry for entry in entries if not entry.lease and entry.key != key], bound
