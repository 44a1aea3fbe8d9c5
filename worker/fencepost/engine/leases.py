"""The lease keeper: renews what this process holds, from a thread that user code cannot block (docs/protocol.md
section 6).

The logic (``LeaseKeeper``) is plain async code without a thread, so that a simulator can host it; ``KeeperThread`` in
``keeper_thread.py`` hosts it in
production. The table of held leases is shared between the two sides and guarded by a lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from fencepost.telemetry import note
from fencepost_queue.protocol import Delivery, Queue, QueueTrouble
from fencepost_store.events import NewEvent


@dataclass(slots=True, eq=False)
class Held:
    """A lease of ours. ``renewed_at``: monotonic seconds, taken before the call that granted it was sent.
    ``on_lost(why)``: called once, in whatever thread finds that the lease is gone or the work is not wanted any more.
    ``until``: no renewal beyond this (the step's own deadline). ``unwanted``: a hint said so before anybody watched.
    ``end``: makes the fact for a body that has gone on beyond ``until``.
    """

    delivery: Delivery
    renewed_at: float
    on_lost: Callable[[str], None] | None = None
    until: float | None = None
    unwanted: bool = False
    end: Callable[[], NewEvent | None] | None = None


class LeaseKeeper:
    """Which messages this process holds and since when. Thread-safe."""

    def __init__(self, monotonic: Callable[[], float], lease_seconds: float) -> None:
        self._monotonic = monotonic
        self._lease = lease_seconds
        self._lock = threading.Lock()
        self._held: dict[str, Held] = {}
        self._tokens: dict[tuple[str, str], str] = {}
        self._failing = False

    @property
    def lease_ms(self) -> int:
        """A lease's length for the queue's scripts."""
        return int(self._lease * 1000)

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, delivery: Delivery, since: float) -> None:
        """Keep this lease from now on. ``since``: monotonic, before the claim or settle that granted it was sent.

        An older one on the same message is lost, as it would not have been given out again otherwise: whoever works
        under it is told at once, and not by the next renewal, or one process would run one body twice (a machine that
        was suspended takes its own messages back).
        """
        place = (delivery.queue, delivery.key)
        with self._lock:
            older = self._forget(self._tokens.get(place, ""))
            self._held[delivery.token] = Held(delivery, since)
            self._tokens[place] = delivery.token
        if older is not None:
            self._tell(older, "lost")

    def watch(
        self,
        token: str,
        on_lost: Callable[[str], None] | None,
        until: float | None = None,
        end: Callable[[], NewEvent | None] | None = None,
    ) -> None:
        """Tell ``on_lost`` when this lease is lost or withdrawn: at once, if a hint has said so already."""
        with self._lock:
            held = self._held.get(token)
            if held is not None:
                held.on_lost = on_lost
                held.until = until
                held.end = end
        if held is not None and held.unwanted:
            self.withdrawn(token)

    def withdrawn(self, token: str) -> None:
        """A hint: the work under this lease is not wanted any more. Without it the next renewal says the same."""
        with self._lock:
            held = self._held.get(token)
            if held is None:
                return
            self._unwant(held)
            callback, held.on_lost = held.on_lost, None
        if callback is not None:
            note("lease_withdrawn", key=held.delivery.key)
            callback("withdrawn")

    def drop(self, token: str) -> None:
        """Forget the lease: settled, released, or walked away from."""
        with self._lock:
            self._forget(token)

    def fresh(self, token: str) -> bool:
        """False if the lease may have run out by our own clock, or is known to be lost: then walk away, without settle
        and without release.
        """
        held = self._held.get(token)
        return held is not None and self._monotonic() - held.renewed_at < self._lease

    def beyond(self, key: str | None = None) -> Held | None:
        """A lease under which work goes on for longer than it was to (``watch``). ``key``: of this message only."""
        now = self._monotonic()
        with self._lock:
            for held in self._held.values():
                if held.until is not None and held.until < now and key in (None, held.delivery.key):
                    return held
        return None

    def all(self) -> list[Delivery]:
        """What is held now."""
        with self._lock:
            return [held.delivery for held in self._held.values()]

    def renewal_failed(self, trouble: QueueTrouble) -> None:
        """Say so, once until a round succeeds."""
        if not self._failing:
            note("lease_renewal_failed", error=str(trouble), held=len(self))
        self._failing = True

    async def renew(self, queue: Queue) -> None:
        """One round of renewals. Trouble with the queue is left for the next round: what nobody took by then is taken
        back (F6).
        """
        started = self._monotonic()
        with self._lock:
            asked = [held for held in self._held.values() if held.until is None or started < held.until]
        if not asked:
            return
        try:
            renewal = await queue.renew([held.delivery for held in asked], self.lease_ms)
        except QueueTrouble as trouble:
            self.renewal_failed(trouble)
            return
        self._failing = False
        gone = dict.fromkeys(renewal.lost, "lost") | dict.fromkeys(renewal.withdrawn, "withdrawn")
        told: list[tuple[Held, str]] = []
        with self._lock:
            for held in asked:
                why = gone.get(held.delivery.token)
                if why is None:
                    held.renewed_at = started
                    continue
                if why == "lost":
                    if self._forget(held.delivery.token) is None:
                        continue  # settled while the renewal was under way: not a loss
                else:
                    held.renewed_at = started
                told.append((held, why))
        for held, why in told:
            self._tell(held, why)

    def _forget(self, token: str) -> Held | None:
        """The caller has the lock."""
        held = self._held.pop(token, None)
        if held is not None and self._tokens.get(place := (held.delivery.queue, held.delivery.key)) == token:
            del self._tokens[place]
        return held

    def _unwant(self, held: Held) -> None:
        """What is not wanted has a lease to end. The caller has the lock."""
        held.unwanted = True
        leave = self._monotonic() + self._lease
        if held.on_lost is not None:
            held.until = leave if held.until is None else min(held.until, leave)

    def _tell(self, held: Held, why: str) -> None:
        with self._lock:
            if why == "withdrawn":
                self._unwant(held)
            callback, held.on_lost = held.on_lost, None
        if callback is not None:
            callback(why)
        if callback is not None or why == "lost":
            note("lease_" + why, key=held.delivery.key)
