"""What the store promises of pruning, as types: runs that have ended long ago go, with all their rows.

A run goes in two strokes. The first, one short transaction under the run's row lock, takes its row and all that is
looked up without it: from then on there is no such run for anybody, whatever is left of its log. The second, ``sweep``,
deletes what is left, so many rows at a time; a row of ``pruned_runs`` remembers it until all of it is gone, so whoever
prunes next goes on where another died.

A run that is made "if absent" by another one (a child by its parent's recovery, a successor by any tick of its
predecessor) must not go before that one could not make it again: it would run a second time. Of parents the store
judges by itself; predecessors stand in payloads, so the caller names them.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from fencepost_store.protocol import Run, RunStatus  # whose Store is a Pruning too


class PruneFilter(msgspec.Struct, frozen=True):
    """Which runs may go. ``older_than``: microseconds since the run's end, by the database clock; ``statuses`` empty:
    every end."""

    older_than: int
    statuses: tuple[RunStatus, ...] = ()
    workflow: str | None = None


class OldRuns(msgspec.Struct, frozen=True):
    """Those of a page of runs that a filter fits, by run id. ``after``: where the next page begins, None: there is
    none."""

    runs: tuple[Run, ...]
    after: str | None


class Candidate(msgspec.Struct, frozen=True):
    """A run to prune. ``previous``: the run that it goes on for, if any."""

    run_id: str
    previous: str | None = None


class PruneOutcome(enum.Enum):
    """What became of a candidate."""

    pruned = "pruned"
    busy = "busy"  # somebody holds its row
    not_found = "not_found"
    unfit = "unfit"  # not ended, or not for long enough, or it owes something to others
    parent = "parent"  # its parent is there and has not recorded its end
    chain = "chain"  # the run that it goes on for is there


class Swept(msgspec.Struct, frozen=True):
    """``rows``: deleted by this call. ``left``: there may be more."""

    rows: int
    left: bool


class Pruning(Protocol):
    """Deletes the runs of one namespace."""

    async def old_runs(self, where: PruneFilter, after: str | None, scan: int) -> OldRuns:
        """Of the next ``scan`` runs above an id those that the filter fits and that have no deadline. Locks nothing."""
        ...

    async def prune(
        self, candidates: Sequence[Candidate], older_than: int, *, gone: Sequence[str] = (), dry: bool = False
    ) -> list[PruneOutcome]:
        """Take the candidates away, one after another in the order given, in one transaction; each is judged under its
        own lock. Waits for no lock. ``dry``: only judge, as if those in ``gone`` had gone before.
        """
        ...

    async def sweep(self, rows: int) -> Swept:
        """Delete at most ``rows`` rows of runs that were pruned, in one transaction."""
        ...
