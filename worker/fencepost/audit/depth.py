"""How much work waits in each queue: what Redis holds, and what only Postgres knows while no worker is alive."""

from __future__ import annotations

import msgspec

from fencepost_queue.inspection import Inspection as QueueInspection
from fencepost_queue.keys import shard_of
from fencepost_queue.protocol import Depth, tick_key
from fencepost_store.inspection import Inspection, Late

LATE_MAX = 10_000
"""Runs without a message that are counted, all queues together: no autoscaler starts more workers for more of them."""

PAGE = 500


async def unqueued(store: Inspection, queue: QueueInspection, late_seconds: float) -> list[Late]:
    """Runs whose deadline passed more than ``late_seconds`` ago and whose tick Redis does not hold. With a worker alive
    there are none, for a reconciler gives each of them a tick.
    """
    late = await store.late(int(late_seconds * 1_000_000), LATE_MAX)
    missing: list[Late] = []
    for start in range(0, len(late), PAGE):
        page = late[start : start + PAGE]
        for name in sorted({run.queue for run in page}):
            mine = [run for run in page if run.queue == name]
            held = {message.key for message in await queue.look(name, [tick_key(run.run_id) for run in mine])}
            missing += [run for run in mine if tick_key(run.run_id) not in held]
    return missing


def counted(lanes: list[Depth], missing: list[Late], shards: int) -> list[Depth]:
    """The lanes with the runs of ``unqueued`` among what is ready; lanes that Redis does not know come last."""
    by_lane = {(lane.queue, lane.shard): lane for lane in lanes}
    for run in missing:
        place = (run.queue, shard_of(run.run_id, shards))
        lane = by_lane.get(place, Depth(*place, ready=0, leased=0, delayed=0, oldest_ready_ms=None))
        age = max(lane.oldest_ready_ms or 0, run.age // 1000)
        by_lane[place] = msgspec.structs.replace(lane, ready=lane.ready + 1, oldest_ready_ms=age)
    return list(by_lane.values())
