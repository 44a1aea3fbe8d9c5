"""What a caller says of a pruning, checked."""

from __future__ import annotations

from collections.abc import Sequence

from fencepost import errors
from fencepost.client.starting import given
from fencepost.client.trouble import public_errors
from fencepost.durations import Duration, plain_seconds
from fencepost.pruning import BATCH_MAX, OLDER_THAN_SECONDS_MIN, Pruned, prune
from fencepost_store.protocol import RunStatus, Store
from fencepost_store.pruning import PruneFilter

OLDER_THAN_SECONDS_MAX = 1000 * 366 * 24 * 3600
ENDS = tuple(status.name for status in RunStatus if status.ended)


async def pruned(
    store: Store,
    older_than: Duration,
    *,
    statuses: Sequence[str],
    workflow: str | None,
    batch: int,
    dry_run: bool,
) -> Pruned:
    """See ``Client.prune``."""
    seconds = given(lambda: plain_seconds(older_than, "older_than"))
    if not OLDER_THAN_SECONDS_MIN <= seconds <= OLDER_THAN_SECONDS_MAX:
        raise errors.ArgumentError(
            f"older_than = {seconds:g} s: must be at least {OLDER_THAN_SECONDS_MIN} s (an hour), for a process that"
            f" froze before must not bring a run back, and at most {OLDER_THAN_SECONDS_MAX} s (a thousand years)"
        )
    if isinstance(statuses, str):
        raise errors.ArgumentError(f"statuses = {statuses!r}: must be a sequence of names, as ({statuses!r},)")
    for status in statuses:
        if status not in ENDS:
            raise errors.ArgumentError(f"status {status!r}: only runs that have ended go, one of {', '.join(ENDS)}")
    if not 1 <= batch <= BATCH_MAX:
        raise errors.ArgumentError(f"batch = {batch}: must be between 1 and {BATCH_MAX} runs per transaction")
    where = PruneFilter(int(seconds * 1_000_000), tuple(RunStatus[status] for status in statuses), workflow)
    with public_errors():
        return await prune(store, where, batch=batch, dry_run=dry_run)
