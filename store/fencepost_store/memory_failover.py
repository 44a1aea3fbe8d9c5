"""The reference model loses its last commits, as Postgres does when a standby takes over that had not received them.

What is committed is a prefix of all commits: a later one is never kept where an earlier one is lost. Transactions that
are open are lost with the server that they were open on.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Protocol

from fencepost_store.ledger import Ledger
from fencepost_store.tables import Tables


@dataclass(frozen=True, slots=True)
class Committed:
    """All rows as they stood behind one commit."""

    ledgers: dict[str, Ledger]
    tokens: dict[str, tuple[str, str]]
    details: dict[tuple[str, str], bytes]
    streams: dict[tuple[str, str], Any]

    @property
    def size(self) -> tuple[int, ...]:
        """Grows with every commit that appends."""
        events = sum(len(ledger.events) for ledger in self.ledgers.values())
        return len(self.ledgers), events, len(self.details), sum(len(one.chunks) for one in self.streams.values())


class Open(Protocol):
    """A transaction that is under way."""

    lost: bool


class Failover:
    """The part of MemoryStore that goes back. It changes the tables in place, for others hold them."""

    _tables: Tables
    _details: dict[tuple[str, str], bytes]
    _streams: dict[tuple[str, str], Any]
    _transactions: list[Open]
    epoch: int = 0

    def committed(self) -> Committed:
        """What stands now."""
        return Committed(
            {run_id: ledger.copy() for run_id, ledger in self._tables.ledgers.items()},
            dict(self._tables.tokens),
            dict(self._details),
            copy.deepcopy(self._streams),
        )

    def fail_over(self, to: Committed) -> None:
        """Only what had been committed by then was ever there. Transactions that are under way are lost. Whether
        anybody notices, by ``epoch``, is the caller's business.
        """
        for one in self._transactions:
            one.lost = True
        _become(self._tables.ledgers, {run_id: ledger.copy() for run_id, ledger in to.ledgers.items()})
        _become(self._tables.tokens, to.tokens)
        _become(self._details, to.details)
        _become(self._streams, copy.deepcopy(to.streams))


def _become(mine: dict[Any, Any], wanted: dict[Any, Any]) -> None:
    mine.clear()
    mine.update(wanted)
