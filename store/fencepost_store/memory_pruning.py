"""Pruning in the reference model: every rule in plain Python, in the order in which the SQL has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fencepost_store.events import TERMINAL_ORDINAL, EventType
from fencepost_store.lineage import parent_of
from fencepost_store.protocol import Run
from fencepost_store.pruning import Candidate, OldRuns, PruneFilter, PruneOutcome, Swept
from fencepost_store.tables import Tables

SWEPT_TOGETHER = 100
"""Runs whose rests one sweep looks at."""

TOLD = frozenset({EventType.child_completed, EventType.child_failed})
"""Ends of a child by which its parent never makes it again; a child that was given up is made if absent."""


class MemoryPruning:
    """Implements ``Pruning`` over the tables of a MemoryStore. ``held``: whether somebody holds a run's row.
    ``forget``: drops what lies outside the tables, and tells how many chunks and writers its streams had.
    """

    def __init__(
        self,
        clock: Callable[[], int],
        tables: Tables,
        held: Callable[[str], bool],
        forget: Callable[[str], int],
    ) -> None:
        self._prune_clock = clock
        self._prune_tables = tables
        self._prune_held = held
        self._prune_forget = forget
        self._rests: dict[str, int] = {}

    async def old_runs(self, where: PruneFilter, after: str | None, scan: int) -> OldRuns:
        """See Pruning.old_runs."""
        ledgers = self._prune_tables.ledgers
        page = sorted(run_id for run_id in ledgers if after is None or run_id > after)[:scan]
        runs = [ledgers[run_id].run for run_id in page]
        fitting = [
            run
            for run in runs
            if (not where.statuses or run.status in where.statuses)
            and where.workflow in (None, run.workflow)
            and self._fits(run, where.older_than)
        ]
        return OldRuns(tuple(fitting), page[-1] if page else None)

    async def prune(
        self, candidates: Sequence[Candidate], older_than: int, *, gone: Sequence[str] = (), dry: bool = False
    ) -> list[PruneOutcome]:
        """See Pruning.prune."""
        away = set(gone) if dry else set[str]()
        outcomes: list[PruneOutcome] = []
        for candidate in candidates:
            outcome = self._prune_judge(candidate, older_than, away)
            outcomes.append(outcome)
            if outcome is PruneOutcome.pruned:
                away.add(candidate.run_id)
                if not dry:
                    self._take_away(candidate.run_id)
        return outcomes

    async def sweep(self, rows: int) -> Swept:
        """See Pruning.sweep. Nothing that is swept can be seen; only its number is kept."""
        together = sorted(self._rests)[:SWEPT_TOGETHER]
        deleted = 0
        for run_id in together:
            part = min(rows - deleted, self._rests[run_id])
            self._rests[run_id] -= part
            deleted += part
        if deleted < rows:
            for run_id in together:
                del self._rests[run_id]
        return Swept(deleted, bool(self._rests))

    def _fits(self, run: Run, older_than: int) -> bool:
        old = run.updated_at <= self._prune_clock() - older_than
        return run.status.ended and old and run.wake_at is None

    def _prune_judge(self, candidate: Candidate, older_than: int, away: set[str]) -> PruneOutcome:
        ledgers = self._prune_tables.ledgers
        ledger = ledgers.get(candidate.run_id)
        if ledger is None:
            return PruneOutcome.not_found
        if self._prune_held(candidate.run_id):
            return PruneOutcome.busy
        if not self._fits(ledger.run, older_than):
            return PruneOutcome.unfit
        if ledger.run.parent is not None:
            parent, entity = parent_of(ledger.run.parent)
            above = None if parent in away else ledgers.get(parent)
            end = None if above is None else above.places.get((entity, TERMINAL_ORDINAL))
            if above is not None and (end is None or end.type not in TOLD):
                return PruneOutcome.parent
        if candidate.previous in _there(ledgers, away):
            return PruneOutcome.chain
        return PruneOutcome.pruned

    def _take_away(self, run_id: str) -> None:
        ledger = self._prune_tables.ledgers.pop(run_id)
        for token in [token for token, owner in self._prune_tables.tokens.items() if owner[0] == run_id]:
            del self._prune_tables.tokens[token]
        self._rests[run_id] = len(ledger.events) + self._prune_forget(run_id)


def _there(ledgers: Mapping[str, object], away: set[str]) -> set[str]:
    return set(ledgers) - away
