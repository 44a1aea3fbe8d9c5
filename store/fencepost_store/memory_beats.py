"""Heartbeats as the reference model keeps them."""

from __future__ import annotations

from collections.abc import Mapping

from fencepost_store.events import TERMINAL_ORDINAL, EventType
from fencepost_store.ledger import Ledger


class Beats:
    """The part of MemoryStore that keeps the newest details of each open step that has left any."""

    def __init__(self, ledgers: Mapping[str, Ledger]) -> None:
        self._beating = ledgers
        self._details: dict[tuple[str, str], bytes] = {}

    async def beat(self, run_id: str, entity: str, attempt: int, details: bytes, stamp: int | None = None) -> bool:
        """See Store.beat."""
        ledger = self._beating.get(run_id)
        if ledger is None or ledger.run.status.ended:
            return False
        start = ledger.places.get((entity, attempt))
        if start is None or start.type is not EventType.step_started or stamp not in (None, start.stamp):
            return False
        if (entity, attempt + 1) in ledger.places or (entity, TERMINAL_ORDINAL) in ledger.places:
            return False
        self._details[run_id, entity] = details
        return True

    async def last_beat(self, run_id: str, entity: str) -> bytes | None:
        """See Store.last_beat."""
        return self._details.get((run_id, entity))

    async def forget_beat(self, run_id: str, entity: str) -> None:
        """See Store.forget_beat."""
        ledger = self._beating.get(run_id)
        if ledger is None or ledger.run.status.ended or (entity, TERMINAL_ORDINAL) in ledger.places:
            self._details.pop((run_id, entity), None)

    def forget_beats(self, run_id: str) -> None:
        """The run was pruned."""
        for key in [key for key in self._details if key[0] == run_id]:
            del self._details[key]
