"""Pruning on Postgres: one statement and one transaction per call."""

from __future__ import annotations

from collections.abc import Sequence

from fencepost_store.connections import Connections
from fencepost_store.protocol import StoreTrouble
from fencepost_store.pruning import Candidate, OldRuns, PruneFilter, PruneOutcome, Swept
from fencepost_store.rows import run_of
from fencepost_store.run_ids import admit_id
from fencepost_store.statements import Statements

_OUTCOMES = (
    PruneOutcome.pruned,
    PruneOutcome.busy,
    PruneOutcome.not_found,
    PruneOutcome.unfit,
    PruneOutcome.parent,
    PruneOutcome.chain,
)


class PostgresPruning:
    """Implements ``Pruning``; a part of PostgresStore."""

    def __init__(self, sql: Statements, connections: Connections) -> None:
        self._prune_sql = sql
        self._prune_connections = connections

    async def old_runs(self, where: PruneFilter, after: str | None, scan: int) -> OldRuns:
        """See Pruning.old_runs."""
        statuses = [int(status) for status in where.statuses] or None
        rows = await self._prune_connections.fetch(
            self._prune_sql["old_runs"], after, where.older_than, statuses, where.workflow, scan
        )
        fitting = tuple(run_of(row) for row in rows if row["fits"])
        return OldRuns(fitting, str(rows[-1]["run_id"]) if rows else None)

    async def prune(
        self, candidates: Sequence[Candidate], older_than: int, *, gone: Sequence[str] = (), dry: bool = False
    ) -> list[PruneOutcome]:
        """See Pruning.prune."""
        if not candidates:
            return []
        for candidate in candidates:
            admit_id(candidate.run_id)
        rows = await self._prune_connections.fetch(
            self._prune_sql["prune"],
            [candidate.run_id for candidate in candidates],
            [candidate.previous for candidate in candidates],
            older_than,
            list(gone),
            dry,
        )
        codes = [int(row["o_outcome"]) for row in rows]
        if len(codes) != len(candidates) or not all(0 <= code < len(_OUTCOMES) for code in codes):
            raise StoreTrouble(f"Postgres answered a pruning of {len(candidates)} runs with outcomes {codes}")
        return [_OUTCOMES[code] for code in codes]

    async def sweep(self, rows: int) -> Swept:
        """See Pruning.sweep."""
        (row,) = await self._prune_connections.fetch(self._prune_sql["sweep"], rows)
        return Swept(row["o_rows"], row["o_left"])
