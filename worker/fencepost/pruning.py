"""Deletes runs that ended long ago: which may go, and in what order.

The store judges each run under its lock. What it cannot know stands in payloads: whom a run goes on for, and who goes
on for it. Both are facts of runs that have ended, so they may be read before the lock is taken.

The order is that of who could make whom again: a predecessor goes before its successor, a parent that has not recorded
its child's end before that child. A process that is frozen between reading the one and starting the other could still
bring a run back; hence the least age, by which it is long dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from fencepost.lineage import origin_of, successor_in
from fencepost_store.events import Event
from fencepost_store.protocol import Run, RunStatus, Store
from fencepost_store.pruning import Candidate, PruneFilter, PruneOutcome

OLDER_THAN_SECONDS_MIN = 3600
"""A worker that froze before this and acts now would have lost its lease, its connections and, by its supervisor, its
life."""

BATCH_MAX = 10_000
"""Runs per transaction at most: each holds a row lock until the commit."""

SCAN_RUNS = 1_000
SWEEP_ROWS = 5_000
"""Rows deleted per transaction: some tens of milliseconds."""

AT_ONCE = 4
"""Runs that are read at the same time: the store has a handful of connections."""


class Pruned(msgspec.Struct, frozen=True):
    """What became of a pruning. ``runs``: deleted; ``rows``: of their logs and streams, by this call.

    Kept although old enough: ``kept_for_parent``, whose parent has not recorded their end; ``kept_for_chain``, one of
    whose chain is to be kept; ``busy``, whose row somebody held.
    """

    runs: int = 0
    rows: int = 0
    kept_for_parent: int = 0
    kept_for_chain: int = 0
    busy: int = 0
    dry_run: bool = False


async def prune(store: Store, where: PruneFilter, *, batch: int, dry_run: bool = False) -> Pruned:
    """Go through all runs, by id, until no more of them go. Raises StoreTrouble; what was done until then is done, and
    whoever prunes next goes on.
    """
    rows = 0 if dry_run else await _sweep(store)  # what somebody left who died
    gone: set[str] | None = set() if dry_run else None
    runs = 0
    while True:
        counts, swept = await _pass(store, where, batch, gone)
        rows += swept
        went = counts[PruneOutcome.pruned]
        runs += went
        kept_for_parent, kept_for_chain = counts[PruneOutcome.parent], counts[PruneOutcome.chain]
        # Ids are ordered by the clocks of those who made them: where one was behind, a child comes before its parent.
        if not went or not (kept_for_parent or kept_for_chain):
            return Pruned(runs, rows, kept_for_parent, kept_for_chain, counts[PruneOutcome.busy], dry_run)


async def _pass(
    store: Store, where: PruneFilter, batch: int, gone: set[str] | None
) -> tuple[dict[PruneOutcome, int], int]:
    """Once through all runs. Returns what became of those that are old enough, and how many rows were swept."""
    counts = dict.fromkeys(PruneOutcome, 0)
    rows = 0
    after: str | None = None
    while True:
        page = await store.old_runs(where, after, SCAN_RUNS)
        runs = [run for run in page.runs if run.run_id not in (gone or ())]
        for start in range(0, len(runs), batch):
            outcomes = await _part(store, runs[start : start + batch], where.older_than, gone)
            for outcome in outcomes:
                counts[outcome] += 1
            if PruneOutcome.pruned in outcomes and gone is None:
                rows += await _sweep(store)
        if page.after is None:
            return counts, rows
        after = page.after


async def _sweep(store: Store) -> int:
    rows = 0
    while True:
        swept = await store.sweep(SWEEP_ROWS)
        rows += swept.rows
        if not swept.left or not swept.rows:  # nothing, or others are at it
            return rows


async def _part(store: Store, runs: Sequence[Run], older_than: int, gone: set[str] | None) -> list[PruneOutcome]:
    """Prune some. ``gone``: of a dry run, those that would have gone before; it is added to."""
    links: list[_Link] = []
    for start in range(0, len(runs), AT_ONCE):
        links += await asyncio.gather(*(_link(store, run, older_than) for run in runs[start : start + AT_ONCE]))
    fitting = [link.candidate for link in links if not link.kept]
    judged = dict(
        zip(
            (candidate.run_id for candidate in fitting),
            await store.prune(fitting, older_than, gone=sorted(gone or ()), dry=gone is not None),
            strict=True,
        )
    )
    if gone is not None:
        gone.update(run_id for run_id, outcome in judged.items() if outcome is PruneOutcome.pruned)
    return [judged.get(link.candidate.run_id, PruneOutcome.chain) for link in links]


class _Link(msgspec.Struct, frozen=True):
    """A run's place in its chain. ``kept``: the chain goes on, and the run holds its key."""

    candidate: Candidate
    kept: bool = False


async def _link(store: Store, run: Run, older_than: int) -> _Link:
    events = await _own_events(store, run.run_id)
    if not events:
        return _Link(Candidate(run.run_id))  # pruned by somebody else since
    candidate = Candidate(run.run_id, origin_of(events[0]).previous or None)
    kept = run.key is not None and await _goes_on(store, events, older_than)
    return _Link(candidate, kept)


async def _goes_on(store: Store, events: Sequence[Event], older_than: int) -> bool:
    """Whether a later run of the chain is open, or has not been over for long enough."""
    bound = await store.now() - older_than
    while (following := successor_in(events)) is not None:
        row = await store.get(following)
        if row is None:
            return False
        if not row.status.ended or row.updated_at > bound or row.wake_at is not None:
            return True
        events = await _own_events(store, following) if row.status is RunStatus.continued else ()
    return False


async def _own_events(store: Store, run_id: str) -> tuple[Event, ...]:
    """The run's creation, its start and its end."""
    loaded = await store.load_entity(run_id, "")
    return () if loaded is None else loaded.events
