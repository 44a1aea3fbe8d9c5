"""Names on the server: what belongs to one lane shares one hash tag, so that a script may touch all of it on a
cluster."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from fencepost_queue.limits import NAMESPACE_CHARS_MAX, QUEUE_CHARS_MAX

NAMESPACE = re.compile(rf"[A-Za-z0-9_.-]{{1,{NAMESPACE_CHARS_MAX}}}")
QUEUE = re.compile(rf"[^{{}}\x00-\x20\x7f]{{1,{QUEUE_CHARS_MAX}}}")


class LaneKeys(msgspec.Struct, frozen=True):
    """One lane's keys. ``declared`` is what every script is given, in the order of lua/prelude.lua."""

    queue: str
    shard: int
    member: str
    tick_bell: str
    step_bell: str
    declared: tuple[str, ...]


def check_namespace(namespace: str) -> str:
    """The namespace, or ValueError. It holds no slash, so that no two lanes of different namespaces share a name
    (H71)."""
    if not NAMESPACE.fullmatch(namespace):
        raise ValueError(
            f"namespace {namespace!r}: 1 to {NAMESPACE_CHARS_MAX} letters, digits, '_', '.' and '-' are allowed"
        )
    return namespace


def check_queue(queue: str) -> str:
    """The queue's name, or ValueError. Braces would end the hash tag early."""
    if not QUEUE.fullmatch(queue):
        raise ValueError(
            f"queue name {queue!r}: 1 to {QUEUE_CHARS_MAX} characters without braces, spaces and control characters"
        )
    return queue


@lru_cache(maxsize=4096)
def lane_keys(namespace: str, queue: str, shard: int) -> LaneKeys:
    """The keys of a lane."""
    member = f"{check_queue(queue)}/{shard}"
    tag = f"fp:{{{namespace}/{member}}}:"
    bells = (tag + "bell.ticks", tag + "bell.steps")
    sets = tuple(tag + name for name in ("messages", "ticks", "steps", "leases", "delays"))
    rest = tuple(tag + name for name in ("counter", "generation", "sweep", "refused", "round", "waiting", "server"))
    return LaneKeys(queue, shard, member, *bells, (*sets, *bells, *rest))


def shard_of(key: str, shards: int) -> int:
    """By the run's id, so that a run's tick and its steps are in one lane. Stable over processes and versions."""
    if shards == 1:
        return 0
    run_id = key.split(":", 2)[1] if key.count(":") else key
    return zlib.crc32(run_id.encode()) % shards


def lanes_key(namespace: str) -> str:
    """The set of all lanes that the namespace has used since the server has its data."""
    return f"fp:{namespace}:lanes"


def shards_key(namespace: str) -> str:
    """The number of shards that the namespace is used with since the server has its data."""
    return f"fp:{namespace}:shards"


def probe_key(namespace: str) -> str:
    """What is written to see whether the server takes writes; it expires at once."""
    return f"fp:{namespace}:probe"


def channel_key(namespace: str, channel: str) -> str:
    """A pub/sub channel; the prefix is what keeps applications on one server apart."""
    return f"fp:{namespace}:hint:{channel}"


def bells(lanes: Sequence[LaneKeys], *, steps: bool) -> tuple[str, ...]:
    """What to block on: all ticks' bells before the steps'."""
    ticks = tuple(lane.tick_bell for lane in lanes)
    return ticks + tuple(lane.step_bell for lane in lanes) if steps else ticks
