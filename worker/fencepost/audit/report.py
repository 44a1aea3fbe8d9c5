"""What an audit came to. Bounded, whatever it finds: findings beyond a number are counted and not kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from fencepost.audit.findings import CATALOGUE, Finding, Severity
from fencepost.audit.queue_checks import LaneFigures
from fencepost.audit.servers import Clock
from fencepost_store.inspection import Inspected

FINDINGS_MAX = 1_000
PARKED_REASONS_MAX = 100


class ParkedReason(msgspec.Struct, frozen=True):
    """Why runs are parked: those with the same words are one reason."""

    workflow: str
    build: str
    recorded: str
    asked: str
    source: str


class Repair(msgspec.Struct, frozen=True):
    """What was done about a finding."""

    finding: Finding
    done: str


def _nobody(_: Finding) -> None:
    pass


@dataclass(slots=True)
class Report:
    """``counts``: findings by code, all of them; ``findings``: the first FINDINGS_MAX. ``tell`` is called with each at
    once."""

    tell: Callable[[Finding], None] = _nobody
    runs: int = 0
    open_runs: int = 0
    events: int = 0
    messages: int = 0
    tokens: int = 0
    findings: list[Finding] = field(default_factory=list[Finding])
    counts: Counter[str] = field(default_factory=Counter[str])
    parked: Counter[ParkedReason] = field(default_factory=Counter[ParkedReason])
    lanes: list[LaneFigures] = field(default_factory=list[LaneFigures])
    clocks: list[Clock] = field(default_factory=list[Clock])
    repairs: list[Repair] = field(default_factory=list[Repair])

    def add(self, finding: Finding) -> None:
        """Take a finding in, and tell it."""
        self.counts[finding.code] += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)
        self.tell(finding)

    def count(self, run: Inspected) -> None:
        """Take a run in."""
        self.runs += 1
        self.open_runs += run.status < FIRST_END
        self.events += len(run.events)
        if run.parked is not None:
            parked = run.parked
            reason = ParkedReason(run.workflow, parked.build, parked.recorded, parked.asked, parked.source)
            if reason not in self.parked and len(self.parked) >= PARKED_REASONS_MAX:
                reason = ParkedReason("(others)", "", "", "", "")
            self.parked[reason] += 1

    @property
    def clean(self) -> bool:
        """Whether nothing was found that somebody should look at."""
        return all(CATALOGUE[code].severity is Severity.info for code in self.counts)


FIRST_END = 10
"""The first number of ``runs.status`` that is an end."""
