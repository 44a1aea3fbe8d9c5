"""Run in a fresh process: what every shape decides after every prefix of its recorded log, as digests.

Usage: ``python replay_digests.py LOGS``, where LOGS is a msgpack file {shape: [event, ...]}. ``heap`` noise moves addresses, so
that whatever depends on one shows. With FENCEPOST_PLANT=stock-hash the tasks hash by address again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import msgspec
from replay_shapes import SHAPES
from replay_world import replayed

from fencepost.replay import asyncio_patches, tasks
from fencepost.replay.interface import ReplayDivergence
from fencepost_store.events import Event


def digests(logs: dict[str, list[Event]], *, one_by_one: bool) -> dict[str, str]:
    """By shape."""
    found: dict[str, str] = {}
    for name, events in logs.items():
        try:
            answer = replayed(SHAPES[name], events, one_by_one=one_by_one)
            found[name] = hashlib.blake2b(b"|".join(answer), digest_size=12).hexdigest()
        except ReplayDivergence as divergence:
            found[name] = f"diverged: {divergence}"
    return found


def main() -> None:
    """Print them."""
    noise = [bytearray(int.from_bytes(os.urandom(1), "big") * 7 + 1) for _ in range(20_000)]
    keep = noise[:: 1 + os.urandom(1)[0] % 5]
    del noise
    plant = os.environ.get("FENCEPOST_PLANT", "")
    if plant == "stock-hash":
        tasks.WorkflowTask.__hash__ = object.__hash__  # type: ignore[method-assign]
        tasks.WorkflowFuture.__hash__ = object.__hash__  # type: ignore[method-assign]
    elif plant == "stock-set":
        asyncio_patches.PATCHES.remove(asyncio_patches.order_awaitables)
    elif plant == "stock-gather":
        asyncio_patches.PATCHES.remove(asyncio_patches.hash_gathers)
    elif plant == "stock-scopes":
        asyncio_patches.PATCHES.remove(asyncio_patches.order_cancel_scopes)
    logs = msgspec.msgpack.decode(Path(sys.argv[1]).read_bytes(), type=dict[str, list[Event]])
    one_by_one = os.environ.get("FENCEPOST_FEED", "") == "single"
    print(json.dumps(digests(logs, one_by_one=one_by_one)))
    del keep


if __name__ == "__main__":
    main()
