"""Run in a fresh process: what every shape decides after every prefix of its recorded log, as digests.

Usage: ``python replay_digests.py LOGS batched|single|plants``, where LOGS is a msgpack file {shape: [event, ...]}.
Noise in the heap moves addresses, so that whatever depends on one shows. ``plants``: with one guard after the other
taken out.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from replay_shapes import SHAPES
from replay_world import replayed

from fencepost.replay import asyncio_patches, hashing, tasks
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


@contextmanager
def planted(plant: str) -> Generator[None]:
    """The loop without one of its guards."""
    with patching() as put:
        if plant == "stock-hash":
            put(tasks.WorkflowTask, "__hash__", object.__hash__)
            put(tasks.WorkflowFuture, "__hash__", object.__hash__)
        elif plant == "stock-set":
            put(asyncio.tasks, "set", set)
        elif plant in STOCK:
            hashed_by_address(put, STOCK[plant])
        else:
            raise ValueError(plant)
        yield


def hashed_by_address(put: Callable[[Any, str, Any], None], function: Callable[[Any], int]) -> None:
    """The classes that have this hash get the stock one, until ``put`` is undone."""

    def stock(self: Any) -> int:
        return object.__hash__(self)

    put(function, "__code__", stock.__code__)


@contextmanager
def patching() -> Generator[Callable[[Any, str, Any], None]]:
    """setattr, undone at the end."""
    with ExitStack() as undo:

        def put(owner: Any, name: str, value: Any) -> None:
            undo.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)

        yield put


STOCK = {
    "stock-futures": hashing.hash_of_future,
    "stock-tasks": hashing.hash_of_task,
    "stock-objects": hashing.hash_of_object,
}
PLANTS = {
    "stock-hash": ["repeated_wait"],
    "stock-set": ["as_completed_coroutines"],
    "stock-futures": ["wait_on_gathers", "futures_by_class"],
    "stock-tasks": ["tasks_by_class"],
    "stock-objects": ["sets_of_coroutines", "sets_of_primitives", "anyio_child_scopes"],
}
"""Guard taken out, and the shapes that need it."""


def main() -> None:
    """Print the digests: of every shape, or (``plants``) of the shapes that each plant should break."""
    if os.environ.get("HAZARDS_WITHOUT"):
        from tests.hazards.elsewhere import take_out

        take_out()
    noise = [bytearray(int.from_bytes(os.urandom(1), "big") * 7 + 1) for _ in range(20_000)]
    keep = noise[:: 1 + os.urandom(1)[0] % 5]
    del noise
    logs = msgspec.msgpack.decode(Path(sys.argv[1]).read_bytes(), type=dict[str, list[Event]])
    if sys.argv[2] != "plants":
        print(json.dumps(digests(logs, one_by_one=sys.argv[2] == "single")))
        return
    asyncio_patches.install()
    found: dict[str, str] = {}
    for plant, shapes in PLANTS.items():
        with planted(plant):
            found |= {f"{plant} {shape}": digests({shape: logs[shape]}, one_by_one=True)[shape] for shape in shapes}
    print(json.dumps(found))
    del keep


if __name__ == "__main__":
    main()
