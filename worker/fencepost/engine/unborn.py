"""A tick for a run that is not there: its start may stand in a transaction that is still open (H124). Pure."""

from __future__ import annotations

import uuid


def look_again_ms(run_id: str, now: int, grace: int, floor_ms: int) -> int | None:
    """After how many milliseconds to look again; None: not at all.

    A run's id tells when it was drawn, by its client's clock. While that is less than ``grace`` ago a commit may bring
    the run, and a look follows half of its age later. After that the run's own deadline, armed by its start, has
    passed: should it still be committed, the reconciler finds it. A client's clock that is far off costs no more than
    that. ``now``, ``grace``: microseconds, the database clock.
    """
    try:
        parsed = uuid.UUID(run_id)
    except ValueError:
        return None
    if parsed.version != 7:
        return None
    age_ms = now // 1_000 - (parsed.int >> 80)
    if abs(age_ms) >= grace // 1_000:
        return None
    return max(floor_ms, age_ms // 2)
