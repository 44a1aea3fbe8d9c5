"""What many seeds came to: totals, minimums, coverage, violations."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager

import msgspec
from tests.simulate.branches import missed
from tests.simulate.generate import generate
from tests.simulate.oracle import judge
from tests.simulate.programs import nodes_of
from tests.simulate.world import Record, World

PER_THOUSAND = {
    "events": 25_000,
    "conflicts": 300,
    "recoveries": 300,
    "lost replies": 60,
    "crashes": 150,
    "freezes": 100,
    "flushes": 50,
    "rollbacks": 25,
    "drains": 40,
    "restored": 25,
    "read-only": 15,
    "held rows": 4,
    "slow replays": 10,
    "suspects": 30,
    "backlogs": 20,
    "suspects' processes that cannot start": 8,
    "forgotten tails": 20,
    "logs replaced": 5,
}
"""Least figures for a thousand seeds: a calm simulation proves nothing."""


class Totals(msgspec.Struct):
    """Summed over seeds. ``violations``: by seed."""

    seeds: int = 0
    callbacks: int = 0
    virtual_seconds: float = 0.0
    cpu_seconds: float = 0.0
    events: int = 0
    runs: int = 0
    bodies: int = 0
    signals: int = 0
    faults: dict[str, int] = {}
    branches: dict[str, int] = {}
    violations: dict[int, list[str]] = {}

    def add(self, other: Totals) -> None:
        """Take in what another process has counted."""
        for name in ("seeds", "callbacks", "virtual_seconds", "cpu_seconds", "events", "runs", "bodies", "signals"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.faults = dict(Counter(self.faults) + Counter(other.faults))
        self.branches = dict(Counter(self.branches) + Counter(other.branches))
        self.violations = {**self.violations, **other.violations}


def run_seeds(first: int, count: int) -> Totals:
    """Play and judge ``count`` seeds."""
    totals = Totals()
    faults: Counter[str] = Counter()
    branches: Counter[str] = Counter()
    began = time.process_time()
    with collected_by_hand() as collect:
        for seed in range(first, first + count):
            record = World(generate(seed)).play()
            _add(totals, record)
            faults.update(record.hits)
            count_branches(record, branches)
            found = judge(record)
            if found:
                totals.violations[seed] = found
            del record
            collect()
    totals.cpu_seconds = time.process_time() - began
    totals.faults, totals.branches = dict(faults), dict(branches)
    return totals


def _add(totals: Totals, record: Record) -> None:
    totals.seeds += 1
    totals.callbacks += record.callbacks
    totals.virtual_seconds += record.ended - record.began
    totals.runs += len(record.runs)
    totals.events += sum(len(log) for _, log in record.runs.values())
    totals.bodies += len(record.bodies)
    totals.signals += len(record.accepted)


@contextmanager
def collected_by_hand() -> Generator[Callable[[], object]]:
    """Inside, the collector looks only when it is called, and only at what was made since: a world that is over is
    small while it is fresh, and what has been imported is looked through no more.
    """
    collecting = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield gc.collect
    finally:
        gc.unfreeze()
        if collecting:
            gc.enable()


def count_branches(record: Record, into: Counter[str]) -> None:
    """What a schedule shows of the protocol."""
    into.update(record.branches)
    for name, count in record.notes.items():
        into[f"note {name}"] += count
    for name, count in record.points.items():
        into[f"point {name}"] += count
    for run, log in record.runs.values():
        if run.status.ended:
            into[f"end {run.status.name}"] += 1
        into.update(f"event {event.type.name}" for event in log)
    for program in record.plan.programs:
        into.update(f"node {node.kind}" for node in nodes_of(program.root))


def figures(totals: Totals) -> dict[str, int]:
    """What the minimums are about."""
    faults, branches = totals.faults, totals.branches
    return {
        "events": totals.events,
        "conflicts": branches.get("note fence_conflict", 0),
        "recoveries": branches.get("claim tick recover", 0) + branches.get("claim step recover", 0),
        "lost replies": faults.get("lost", 0) + faults.get("late", 0),
        "crashes": faults.get("crash", 0),
        "freezes": faults.get("freeze", 0),
        "flushes": faults.get("flush", 0),
        "rollbacks": faults.get("rollback", 0),
        "drains": faults.get("drain", 0),
        "restored": faults.get("restored", 0),
        "read-only": faults.get("read_only", 0),
        "held rows": faults.get("held", 0),
        "slow replays": faults.get("slow_replay", 0),
        "suspects": branches.get("note suspect_alone", 0),
        "backlogs": faults.get("backlog", 0),
        "suspects' processes that cannot start": faults.get("stillborn", 0),
        "forgotten tails": faults.get("forget", 0),
        "logs replaced": branches.get("note log_replaced", 0),
    }


def calm(totals: Totals) -> list[str]:
    """Figures below their minimum. Of fewer than 200 seeds nothing is asked."""
    if totals.seeds < 200:
        return []
    wanted = {name: least * totals.seeds / 1_000 for name, least in PER_THOUSAND.items()}
    return [
        f"{name}: {value}, at least {wanted[name]:.0f}"
        for name, value in figures(totals).items()
        if value < wanted[name]
    ]


def lines(totals: Totals, seconds: float) -> list[str]:
    """The report."""
    scale = 1_000 / max(1, totals.seeds)
    per = {name: round(value * scale) for name, value in figures(totals).items()}
    each = totals.cpu_seconds / max(1, totals.seeds) * 1_000
    shown = [
        f"{totals.seeds} schedules in {seconds:.0f} s ({each:.1f} ms of CPU each):"
        f" {totals.runs} runs, {totals.events} events, {totals.bodies} bodies, {totals.signals} signals,"
        f" {totals.callbacks} callbacks, {totals.virtual_seconds / 3600:.1f} simulated hours",
        "per 1,000 seeds: " + ", ".join(f"{name} {value}" for name, value in per.items()),
        "faults per 1,000 seeds: "
        + ", ".join(f"{kind} {count * scale:.0f}" for kind, count in sorted(totals.faults.items())),
        f"branches of the protocol taken: {len(totals.branches)}",
    ]
    shown += [f"BELOW ITS MINIMUM {what}" for what in calm(totals)]
    shown += [f"NEVER TAKEN {branch}" for branch in missed(Counter(totals.branches), totals.seeds)]
    shown.append(f"violations: {len(totals.violations)}")
    return shown


def failed(totals: Totals) -> bool:
    """Whether the target fails."""
    return bool(totals.violations or calm(totals) or missed(Counter(totals.branches), totals.seeds))
