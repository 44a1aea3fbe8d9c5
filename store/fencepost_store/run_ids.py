"""Which texts can be the id of a run: they are UUIDs, in Postgres by their type."""

from __future__ import annotations

import uuid

from fencepost_store.admission import Unstorable


def is_run_id(run_id: str) -> bool:
    """Whether the text is a UUID: what is not cannot be the id of any run."""
    try:
        uuid.UUID(run_id)
    except ValueError:
        return False
    return True


def admit_id(run_id: str) -> None:
    """Raise Unstorable if the text is not a UUID."""
    if not is_run_id(run_id):
        raise Unstorable(f"run id {run_id!r} is not a UUID")
