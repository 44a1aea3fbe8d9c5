"""What an audit reads of the queue: every message as its hash has it, placed or mislaid. Nothing is touched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from fencepost_queue.connection import Reply

STATES = {"d": "delayed", "r": "ready", "l": "leased"}


class Held(msgspec.Struct, frozen=True):
    """One message. ``due_ms``: until its delay or lease ends, negative once that has passed; None if it is ready.
    ``ready_ms``: for how long it has been ready; None if it is not. ``placed``: the queue's order knows it; without
    that no claim finds it (H43).
    """

    queue: str
    key: str
    state: str  # delayed, ready, leased
    owner: str | None
    crashes: int
    proofs: int
    conflicts: int
    recover: bool
    dirty: bool
    due_ms: int | None
    ready_ms: int | None
    placed: bool


class Inspection(Protocol):
    """The reading side of a queue, for audits. Raises QueueTrouble as the queue does."""

    async def lanes(self) -> list[tuple[str, int]]:
        """(queue, shard) of all lanes that the namespace has used since the server has its data."""
        ...

    async def scan(self, queue: str, shard: int, cursor: int, count: int) -> tuple[list[Held], int]:
        """About ``count`` messages of a lane, and the cursor of the next call (0: that was the last). Begin with
        cursor 0. A message that comes or goes meanwhile may be missed; one may be answered twice.
        """
        ...

    async def look(self, queue: str, keys: Sequence[str]) -> list[Held]:
        """Those of the messages that are there."""
        ...

    async def clock_ms(self) -> int:
        """The server's clock, milliseconds since the epoch."""
        ...


def held_of(queue: str, row: Reply) -> Held:
    """A message out of the script's answer."""
    key, state, owner, crashes, proofs, conflicts, recover, dirty, due, ready, placed = row
    name = STATES[state.decode()]
    return Held(
        queue=queue,
        key=key.decode(),
        state=name,
        owner=owner.decode() or None,
        crashes=crashes,
        proofs=proofs,
        conflicts=conflicts,
        recover=recover == 1,
        dirty=dirty == 1,
        due_ms=None if name == "ready" else int(due),
        ready_ms=None if ready < 0 else int(ready),
        placed=placed == 1,
    )
