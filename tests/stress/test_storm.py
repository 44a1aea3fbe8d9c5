"""The storm in its short form, and proof that it can fail: with fences off, and on logs that were tampered with."""

from __future__ import annotations

import msgspec
import pytest
from tests.ordeal.ground import ground
from tests.stress.profile import SHORT, Tally, told
from tests.stress.storm import fenced, unfenced

TRIES = 5
"""Cycles of a storm this small may pass without the one meeting that is waited for; that many will not."""


@pytest.mark.timeout(300)
async def test_the_storm_corrupts_nothing() -> None:
    """Conflicts and redeliveries, and nothing corrupted, stuck, failed or duplicated (H20, H24, H25, H53)."""
    total = Tally()
    async with ground() as (servers, logs):
        for _ in range(TRIES):
            total.add(await fenced(SHORT, servers.postgres_url, servers.redis_url, logs, print))
            assert not total.wrong.total(), total
            assert not total.late, "the machine is too slow for the storm's bound"
            if total.conflicts and total.redeliveries:
                break
    print(told(total))
    assert total.conflicts
    assert total.redeliveries
    assert total.notes == []


@pytest.mark.timeout(300)
async def test_without_fences_the_storm_corrupts_logs() -> None:
    """The same storm with the comparison of fences cut out of append: the judge finds runs whose log is wrong."""
    bare = msgspec.structs.replace(SHORT, freezes=0, cycle_seconds=8.0)
    corrupted = 0
    async with ground() as (servers, logs):
        for number in range(TRIES):
            namespace = f"unfenced{number}"
            tally = await unfenced(bare, servers.postgres_url, servers.redis_url, logs, print, namespace)
            corrupted += tally.corrupted
            if corrupted:
                break
    assert corrupted
