"""What happened, as it is told at the end: faults by kind with their recoveries, runs, steps, and all that is wrong."""

from __future__ import annotations

from collections import Counter

import msgspec
from tests.chaos.faults import Fault
from tests.ordeal.verdict import Delay, Judgement

LEASES_MAX = 2.0
"""After a worker's kill at default settings every run moves within two leases ..."""
SWEEP_SECONDS = 5.0 + 2.0
"""... and after FLUSHALL within a reconcile period and a block."""


class Outcome(msgspec.Struct):
    """``wrong``: what must be empty. ``doctor``: what it said, or that there is none."""

    seed: int
    lease_seconds: float
    faults: list[Fault]
    judgement: Judgement
    kinds: Counter[str]
    accepted: int = 0
    refused: int = 0
    tries: int = 0
    again: int = 0
    repeats: Counter[str] = msgspec.field(default_factory=Counter[str])
    unused: int = 0
    counts: Counter[str] = msgspec.field(default_factory=Counter[str])
    doctor: str = ""
    wrong: list[str] = []
    slow: list[str] = []

    def delays(self) -> dict[str, list[Delay]]:
        """By kind of fault, one for each run that had something to do, the fastest first."""
        found: dict[str, list[Delay]] = {fault.kind: [] for fault in self.faults}
        for delay in self.judgement.delays:
            found[self.faults[delay.moment].kind].append(delay)
        return {kind: sorted(delays, key=lambda delay: delay.seconds) for kind, delays in found.items()}

    def beside(self, delay: Delay) -> list[Fault]:
        """Faults that began while a run was on its way to move again."""
        moved = self.faults[delay.moment].at + int((delay.idle + delay.seconds) * 1e6)
        return [fault for fault in self.faults[delay.moment + 1 :] if fault.since < moved]


def percentile(ordered: list[float], share: float) -> float:
    """Of sorted values, the smallest one that so large a share of them does not exceed."""
    return ordered[max(0, -int(-len(ordered) * share // 1) - 1)]


def too_slow(outcome: Outcome) -> list[str]:
    """The promised bounds that were not kept."""
    bounds = {"kill": LEASES_MAX * outcome.lease_seconds, "flush": SWEEP_SECONDS}
    found: list[str] = []
    by_kind = outcome.delays()
    for kind, bound in bounds.items():
        delays = by_kind.get(kind, [])
        seconds = [delay.seconds for delay in delays]
        if not seconds or percentile(seconds, 0.99) <= bound:
            continue
        found.append(f"recovery after {kind}: p99 {percentile(seconds, 0.99):.1f} s, bound {bound:g} s")
        for delay in delays:
            if delay.seconds > bound:
                found.append(f"  {_traceable(outcome, delay)}")
                found += [f"    {line}" for line in delay.story]
    return found


def told(outcome: Outcome) -> list[str]:
    """Lines for people."""
    judged = outcome.judgement
    times = Counter(fault.kind for fault in outcome.faults)
    lines = [f"seed {outcome.seed}: {len(outcome.faults)} faults, the fewest open runs at one {_fewest(outcome)}"]
    for kind, delays in sorted(outcome.delays().items()):
        if delays:
            seconds = [delay.seconds for delay in delays]
            middle, tail = percentile(seconds, 0.5), percentile(seconds, 0.99)
            moved = (
                f"{len(seconds)} runs moved again after p50 {middle:.2f} s, p99 {tail:.2f} s, worst "
                f"{_traceable(outcome, delays[-1])}"
            )
        else:
            moved = "nobody had anything to do"
        lines.append(f"  {kind:<16} {times[kind]:>3} times; {moved}")
    lines += [
        f"runs {judged.runs} ({_by_kind(outcome.kinds)}),"
        f" events {judged.events}, steps {judged.steps}, bodies {judged.bodies}, prefixes replayed {judged.prefixes}",
        f"bodies run twice {outcome.repeats.total()} ({_by_kind(outcome.repeats)}); starts that no body followed"
        f" {outcome.unused}",
        f"signals accepted {outcome.accepted}, refused because the run had ended {outcome.refused}; calls of producers"
        f" {outcome.tries}, jobs of killed producers done again {outcome.again}",
        f"workers said: {_by_kind(outcome.counts)}",
        f"doctor: {outcome.doctor}",
    ]
    lines += [f"WRONG: {what}" for what in outcome.wrong[:50]]
    lines += [f"SLOW: {what}" for what in outcome.slow]
    return lines


def _traceable(outcome: Outcome, delay: Delay) -> str:
    """With what it takes to look into it: the run, and what else went wrong meanwhile."""
    since = outcome.faults[delay.moment].at + int(delay.idle * 1e6)
    beside = [f"{fault.kind} at {(fault.since - since) / 1e6:+.1f} s" for fault in outcome.beside(delay)]
    also = f", beside {', '.join(beside)}" if beside else ""
    return f"{delay.seconds:.2f} s ({delay.workflow} {delay.run}{also})"


def _by_kind(counts: Counter[str]) -> str:
    return ", ".join(f"{kind} {n}" for kind, n in sorted(counts.items())) or "none"


def _fewest(outcome: Outcome) -> int:
    return min((fault.open_runs for fault in outcome.faults), default=0)
