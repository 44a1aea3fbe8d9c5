"""Between the values of protocol.py and what crosses the wire: arguments of the scripts, rows of their answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias, TypeVar

from fencepost_queue.connection import Argument, Reply
from fencepost_queue.keys import LaneKeys
from fencepost_queue.limits import ITEMS_PER_CALL
from fencepost_queue.protocol import Delivery, Depth, Entry, Peeked, Settled, SettleOutcome

Item = TypeVar("Item")
Groups: TypeAlias = list[tuple[LaneKeys, list[Item]]]


def placed(entry: Entry) -> tuple[Argument, ...]:
    """An entry as enqueue and settle take it."""
    return entry.key, entry.body, entry.delay_ms, int(entry.recover)


def renewed(held: Delivery) -> tuple[Argument, ...]:
    """A delivery as renew takes it: with all that a server which lost its data must be told."""
    counts = (held.crashes, held.proofs, held.conflicts, int(held.recover))
    return held.key, held.token, held.generation, *counts, held.body


def claimed(queue: str, generation: str, row: Reply) -> Delivery:
    """A delivery out of claim's answer."""
    key, token, body, crashes, proofs, conflicts, recover = row
    return Delivery(queue, key.decode(), token.decode(), body, crashes, proofs, conflicts, recover == 1, generation)


def settled(reply: Reply, delivery: Delivery, follow_ups: Sequence[Entry], conflicts: int) -> Settled:
    """Settle's answer. What the server was told it does not repeat: bodies of follow-ups, the count of conflicts."""
    outcome, generation, fresh, granted, waiting = reply
    at = generation.decode()
    again = None
    if fresh:
        token, body, recover = fresh
        again = Delivery(delivery.queue, delivery.key, token.decode(), body, 0, 0, conflicts, recover == 1, at)
    grants: list[Delivery] = []
    for position, token, recover in granted:
        entry = follow_ups[int(position)]
        carried = conflicts if entry.key == delivery.key else 0
        grants.append(Delivery(entry.queue, entry.key, token.decode(), entry.body, 0, 0, carried, recover == 1, at))
    return Settled(SettleOutcome(outcome.decode()), again, tuple(grants), waiting == 1)


def depth_of(lane: LaneKeys, reply: Reply) -> Depth:
    """Depth's answer."""
    ready, leased, delayed, oldest = reply
    return Depth(lane.queue, lane.shard, ready, leased, delayed, None if oldest < 0 else oldest)


def peeked(queue: str, row: Reply) -> Peeked:
    """A message out of peek's answer."""
    key, state, owner, crashes, proofs, conflicts, recover, dirty, due, refused, why = row
    marks = (recover == 1, dirty == 1, None if due < 0 else due, refused, why.decode(errors="replace"))
    return Peeked(queue, key.decode(), state.decode(), owner.decode() or None, crashes, proofs, conflicts, *marks)


def flat(rows: Iterable[tuple[Argument, ...]]) -> list[Argument]:
    """Rows as one list of arguments."""
    return [argument for row in rows for argument in row]


def grouped(items: Sequence[Item], lane_of: Callable[[Item], LaneKeys]) -> Groups[Item]:
    """Items by lane, in groups that one script may take, in the order of their first item."""
    groups: dict[LaneKeys, list[Item]] = {}
    for item in items:
        groups.setdefault(lane_of(item), []).append(item)
    starts = ((lane, mine, i) for lane, mine in groups.items() for i in range(0, len(mine), ITEMS_PER_CALL))
    return [(lane, mine[i : i + ITEMS_PER_CALL]) for lane, mine, i in starts]
