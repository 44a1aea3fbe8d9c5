"""A report is bounded, whatever is found; and a clock that differs is told only if that is certain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.audit.test_run_checks import HEALTHY

from fencepost.audit.findings import Finding
from fencepost.audit.report import FINDINGS_MAX, PARKED_REASONS_MAX, ParkedReason, Report
from fencepost.audit.run_checks import Thresholds
from fencepost.audit.servers import Clock, check_clocks, read_clock
from fencepost_store.protocol import Parked

PARKED = Parked(build="b", seq=1, recorded="step a", asked="step b", source="")


def test_findings_beyond_a_number_are_counted_and_told_but_not_kept() -> None:
    told: list[Finding] = []
    report = Report(told.append)
    assert FINDINGS_MAX == 1_000
    for n in range(FINDINGS_MAX + 1):
        report.add(Finding("overdue", "", f"run {n}"))
    assert [finding.run for finding in report.findings] == [f"run {n}" for n in range(FINDINGS_MAX)]
    assert report.counts == {"overdue": FINDINGS_MAX + 1}
    assert len(told) == FINDINGS_MAX + 1
    assert not report.clean


def test_reasons_of_parking_beyond_a_number_are_one() -> None:
    """Those that are known go on being counted by themselves, and no run is lost from the sum."""
    report = Report()
    for n in [*range(PARKED_REASONS_MAX), PARKED_REASONS_MAX, 0, PARKED_REASONS_MAX + 1]:
        report.count(msgspec.structs.replace(HEALTHY, parked=msgspec.structs.replace(PARKED, source=f"f.py:{n}")))
    others = ParkedReason("(others)", "", "", "", "")
    assert report.parked[others] == 2
    assert report.parked[ParkedReason("w", "b", "step a", "step b", "f.py:0")] == 2
    assert len(report.parked) == PARKED_REASONS_MAX + 1
    assert report.parked.total() == report.runs == PARKED_REASONS_MAX + 3


@pytest.mark.parametrize(
    ("ahead_ms", "within_ms", "told"),
    [
        (5_001.0, 0.0, "5.0 s ahead of"),
        (-7_000.0, 100.0, "7.0 s behind"),
        (5_000.0, 0.0, None),
        (-5_000.0, 0.0, None),
        (7_000.0, 2_000.0, None),
        (-7_000.0, 2_000.0, None),
        (0.0, 60_000.0, None),
    ],
)
def test_a_clock_differs_if_it_does_whatever_the_round_trip_hides(
    ahead_ms: float, within_ms: float, told: str | None
) -> None:
    found = list(check_clocks([Clock("Redis", ahead_ms, within_ms)], Thresholds().clocks))
    assert [finding.found for finding in found] == ([] if told is None else [f"Redis is {told} this host"])
    assert [(each.code, each.subject) for each in found] == [("clocks_differ", "Redis")] * len(found)


def test_the_shortest_round_trip_tells_the_time() -> None:
    """Three of them, of 400, 20 and 1000 ms; the server is 3 s ahead, and answers in the middle of each."""
    trips = iter([0.4, 0.02, 1.0])
    time = [100.0]
    half = [0.0]

    async def server() -> float:
        half[0] = next(trips) / 2
        time[0] += half[0]
        told = (time[0] + 3) * 1000
        time[0] += half[0] * (2 if half[0] > 0.1 else 1)  # the way back of slow ones is longer
        return told

    clock = asyncio.run(read_clock("Postgres", server, _of(time)))
    assert clock.ahead_ms == pytest.approx(3_000)
    assert clock.within_ms == pytest.approx(10)
    assert next(trips, None) is None


def _of(time: list[float]) -> Callable[[], Any]:
    return lambda: time[0]
