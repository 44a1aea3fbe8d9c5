"""Makes this folder's own modules (replay_world, replay_shapes, replay_digests) importable by name, and ends what
tests leave alive."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def no_live_runs_left() -> Iterator[None]:
    """Evicts the instances of the test's benches: a run that is dropped alive reports its pending tasks to the next
    test."""
    from replay_world import BENCHES

    BENCHES.clear()
    yield
    for bench in BENCHES:
        bench.live.evict()
    BENCHES.clear()
