"""What the tick queue promises, as types. ``valkey.py`` keeps it with Lua scripts on Redis or Valkey, ``memory.py`` is
its executable specification; one conformance suite and one differential test run both.

The queue holds hints about where work is to be done. Losing all of it loses no run (docs/protocol.md section 5). Times
are delays in milliseconds by the server's own clock; no instant crosses this border.

Errors: every call may raise ``QueueTrouble`` (unreachable, timed out, loading, a reply that cannot be understood:
retry later).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

import msgspec


class QueueTrouble(Exception):
    """The queue's server could not be reached or answered what cannot be understood. Nothing is lost by it."""


def tick_key(run_id: str) -> str:
    """The key of a run's one tick."""
    return f"t:{run_id}"


def step_key(run_id: str, entity: str) -> str:
    """The key of a step's one message."""
    return f"s:{run_id}:{entity}"


class Entry(msgspec.Struct, frozen=True):
    """A message to place. ``lease``: in a settle's follow-ups only: to the caller, if its key is absent (F4)."""

    queue: str
    key: str
    body: bytes = b""
    delay_ms: int = 0
    recover: bool = False
    lease: bool = False


class Delivery(msgspec.Struct, frozen=True):
    """One hand-over of a message. ``token`` is never reused (F11): the claimer's random process id and its counter.
    ``crashes``: hand-overs that ended by an expired lease. ``proofs``: crashes in solitude. ``conflicts``: fence
    conflicts in a row (ticks). ``generation``: the lane's at the hand-over, by which a renewal recognises that the
    server has lost its data since.
    """

    queue: str
    key: str
    token: str
    body: bytes = b""
    crashes: int = 0
    proofs: int = 0
    conflicts: int = 0
    recover: bool = False
    generation: str = ""


class Claimed(msgspec.Struct, frozen=True):
    """``next_due_ms``: until the earliest delayed message or lease end of the lane, None if there is none.
    ``generation``: the lane's generation. ``sweep``: the caller is to run the one full reconcile, and says with
    ``Queue.sweep`` that it is at it: this call found no generation and set it anew, or whoever was to do it has been
    silent for a lease. ``waiting``: steps that some code can do are still ready in the lane.
    """

    deliveries: tuple[Delivery, ...]
    next_due_ms: int | None
    generation: str
    sweep: bool
    waiting: bool = False


class EnqueueOutcome(enum.Enum):
    """What an enqueue did."""

    ready = "ready"
    delayed = "delayed"
    absorbed = "absorbed"
    earlier = "earlier"  # was delayed, is now due sooner (or ready)
    dirty = "dirty"  # a leased tick: its owner will go round again


class SettleOutcome(enum.Enum):
    """settled: gone. again: leased to the caller afresh. requeued: it was dirty too often and went to the back of
    ready. lost: somebody else's now.
    """

    settled = "settled"
    again = "again"
    requeued = "requeued"
    lost = "lost"


class Settled(msgspec.Struct, frozen=True):
    """``again``: the fresh delivery. ``granted``: the follow-ups that are now leased to the caller. ``waiting``: steps
    are ready in the lane, behind all that this settle has placed.
    """

    outcome: SettleOutcome
    again: Delivery | None = None
    granted: tuple[Delivery, ...] = ()
    waiting: bool = False


class Renewal(msgspec.Struct, frozen=True):
    """Tokens of the asked-for leases that are no longer the caller's, and of those whose work was withdrawn."""

    lost: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()


class Depth(msgspec.Struct, frozen=True):
    """One lane's figures. A delay that is over and a lease that has ended count as ready from that moment on.
    ``oldest_ready_ms``: for how long the oldest ready message has been ready, None if there is none.
    """

    queue: str
    shard: int
    ready: int
    leased: int
    delayed: int
    oldest_ready_ms: int | None


class Peeked(msgspec.Struct, frozen=True):
    """One message as it stands, for operators. ``refused``: how many codes cannot do it; ``why``: what the last of them
    lacked.
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
    due_ms: int | None  # until the delay or the lease ends
    refused: int = 0
    why: str = ""


class Queue(Protocol):
    """The tick queue of one namespace, seen by one process (``owner``: its random id)."""

    @property
    def owner(self) -> str:
        """The random id of this process; every delivery token begins with it."""
        ...

    async def enqueue(self, entries: Sequence[Entry]) -> list[EnqueueOutcome]:
        """absent -> ready or delayed; delayed -> the earlier; ready -> absorbed; leased -> dirty (tick) or absorbed
        (step). recover is OR-ed in everywhere. An absorbed enqueue re-adds the set entry that the state calls for
        (H43).
        """
        ...

    async def claim(
        self,
        queue: str,
        limit: int,
        lease_ms: int,
        *,
        steps: int | None = None,
        ticks: int | None = None,
        code: str = "",
    ) -> Claimed:
        """Promote what is due, reclaim expired leases (crashes + 1 where they were begun, recover), pop up to
        ``limit``, of which at most ``steps`` are step messages and at most ``ticks`` are ticks (None: no such bound;
        they are ready in two sets, so that a worker whose body slots are full still turns runs). Steps come round
        robin over their runs. What was lost before begins with ``renew(begin=True)``, all else with this call. Bounded
        work per call. ``code``: the fingerprint of the caller's code; what that has refused is left to others, and what
        others have refused comes first.
        """
        ...

    async def wait(self, queues: Sequence[str], timeout_ms: int, *, steps: bool = True) -> bool:
        """Block on the bells of these queues, at most ``timeout_ms``; True if one rang. Cancellation-safe. ``steps``
        False: leave the rings for step messages to workers that have room for one (pass it whenever the next claim
        would say ``steps=0``).
        """
        ...

    async def renew(self, deliveries: Sequence[Delivery], lease_ms: int, *, begin: bool = False) -> Renewal:
        """Owner and token must match. Takes back what is absent or merely ready, so that a flush cancels nothing.
        ``begin``: it begins now, and from then on the end of its lease is a crash, which it is from the claim on if the
        message has none yet.
        """
        ...

    async def settle(
        self,
        delivery: Delivery,
        follow_ups: Sequence[Entry] = (),
        *,
        lease_ms: int,
        recovered: bool = False,
        conflicts: int = 0,
    ) -> Settled:
        """Section 5, settle. Follow-ups of other lanes, and surplus ones, are enqueued first. Never repeated by the
        caller, whatever happens.
        """
        ...

    async def release(self, delivery: Delivery, delay_ms: int = 0, *, proof: bool = False) -> bool:
        """Hand back, not a crash; sets recover. ``proof``: a crash in solitude was seen (proofs + 1). False if it was
        not ours any more.
        """
        ...

    async def refuse(self, delivery: Delivery, code: str, why: str) -> bool:
        """Hand back what the caller's code cannot do: ready at once for other codes, never again for this one, until
        somebody asks for the message with recover or its turn has come round. Not a crash; recover stays as it was.
        False if it was not ours any more. ``why`` is for people.
        """
        ...

    async def expire(self, owner: str) -> int:
        """A supervisor saw ``owner`` die: end its leases now (as expired ones: crashes + 1 at reclaim). Returns how
        many.
        """
        ...

    async def sweep(self, queue: str, generation: str, lease_ms: int) -> bool:
        """The caller is at the full reconcile that a claim of this ``generation`` asked of it, and goes on for up to
        ``lease_ms``; 0: it is done. False: there is no such sweep any more, for another has done it or the data is lost
        again.
        """
        ...

    async def withdraw(self, queue: str, keys: Sequence[str]) -> list[str]:
        """The work is not wanted any more: delayed or ready messages go, leased ones are marked, so that the next
        renewal tells. Answers the tokens of those, for who would tell their owners sooner.
        """
        ...

    async def depth(self) -> list[Depth]:
        """All lanes that the namespace has ever used."""
        ...

    async def peek(self, queue: str, limit: int) -> list[Peeked]:
        """Up to ``limit`` messages of a queue: leased, then ready in order, then delayed by due time."""
        ...

    async def publish(self, channel: str, message: bytes) -> None:
        """A hint for whoever waits (run ended, step withdrawn); may be lost."""
        ...

    async def writable(self) -> None:
        """Raises QueueTrouble unless the server answers and takes writes."""
        ...

    def subscribe(self, channel: str) -> Subscription:
        """Listen for hints; see Subscription."""
        ...

    async def close(self) -> None:
        """Close the connections. Idempotent. Leaves leases as they are."""
        ...


class Subscription(Protocol):
    """``async with queue.subscribe("ended:<run>") as hints: await hints.next(timeout)``. Entering returns once the
    server has confirmed.
    """

    async def __aenter__(self) -> Subscription: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def next(self, timeout_seconds: float) -> bytes | None:
        """The next hint, or None after the timeout (also if the connection was lost meanwhile: look for yourself)."""
        ...
