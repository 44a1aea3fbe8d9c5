"""One run judged by one snapshot, without servers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fencepost.audit.run_checks import SECOND, Thresholds, check_run
from fencepost_store.events import Event, EventType
from fencepost_store.inspection import Inspected

E = EventType
NOW = 1_000_000 * SECOND
LOG = tuple(
    Event(seq, event_type, entity, 0, seq, None, "t" if event_type is E.hook_created else None, None, b"")
    for seq, (event_type, entity) in enumerate(
        [(E.run_created, ""), (E.run_started, ""), (E.hook_created, "hook#1"), (E.step_created, "work#1")], 1
    )
)
HEALTHY = Inspected(
    run_id="r",
    workflow="w",
    queue="q",
    status=1,
    last_seq=4,
    fence=4,
    wake_at=NOW + 60 * SECOND,
    parked=None,
    events=LOG,
    unknown=(),
    held=(("hook#1", "t"),),
    now=NOW,
)


def codes(**changes: Any) -> list[str]:
    """The findings of the healthy run with these fields changed."""
    return [finding.code for finding in check_run(msgspec.structs.replace(HEALTHY, **changes), Thresholds())]


def test_a_healthy_run_has_no_findings() -> None:
    """Nor has it if its deadline has just passed."""
    assert codes() == []
    assert codes(wake_at=NOW - 59 * SECOND) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"last_seq": 5}, "row_disagrees"),
        ({"fence": 3}, "row_disagrees"),
        ({"status": 0}, "row_disagrees"),
        ({"status": 10}, "row_disagrees"),
        ({"status": 2}, "row_disagrees"),
        ({"status": 99}, "row_disagrees"),
        ({"held": ()}, "hook_without_token"),
        ({"held": (("hook#1", "t"), ("hook#2", "u"))}, "token_without_hook"),
    ],
)
def test_h09_a_row_that_disagrees_with_its_log_is_told(changes: dict[str, Any], code: str) -> None:
    """The log is the truth; what the row and the hooks table say is held against a fold of it."""
    assert codes(**changes) == [code]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"wake_at": None}, "no_deadline"),
        ({"wake_at": NOW - 61 * SECOND}, "overdue_without_message"),
        ({"events": LOG[:2], "last_seq": 2, "fence": 2, "held": (), "wake_at": None}, "waits_for_nothing"),
        ({"events": LOG[:3], "last_seq": 3, "fence": 3, "wake_at": NOW - 61 * SECOND}, "overdue_without_message"),
        ({"events": LOG[1:]}, "log_illegal"),
        ({"events": ()}, "log_illegal"),
        ({"unknown": ((3, 99),)}, "log_unknown"),
    ],
)
def test_duties_and_damage(changes: dict[str, Any], code: str) -> None:
    """One finding each."""
    assert codes(**changes) == [code]


def test_a_run_that_waits_for_signals_needs_no_deadline() -> None:
    """And none is asked for."""
    assert codes(events=LOG[:3], last_seq=3, fence=3, wake_at=None) == []
