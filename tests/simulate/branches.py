"""The branches of the protocol by name, as what store and queue answer, what the engine notes and passes, and what
stands in the logs show them. A simulation that never takes one of them proves nothing about it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.simulate.programs import KINDS

from fencepost_queue.protocol import EnqueueOutcome, SettleOutcome
from fencepost_store.events import EventType
from fencepost_store.protocol import FactOutcome, Outcome, Reason, RunStatus

NOT_YET = frozenset({"child_abandoned"})


def answered(op: str, args: tuple[Any, ...], value: Any) -> Iterator[str]:
    """The branches that an answer shows."""
    match op:
        case "append":
            for batch, verdict in zip(args[0], value, strict=True):
                fenced = "facts" if batch.fence is None else "fenced"
                yield f"append {fenced} {verdict.outcome.name}"
                for fact in verdict.facts:
                    reason = f" {fact.reason.name}" if fact.reason is not None else ""
                    yield f"fact {fact.outcome.name}{reason}"
            if len(value) > 1:
                yield "append several runs"
        case "touch" | "park":
            yield f"{op} {value.outcome.name}"
        case "settle":
            yield f"settle {value.outcome.name}"
            asked = sum(entry.lease for entry in args[1]) if len(args) > 1 else 0
            if value.granted:
                yield "settle granted"
            if asked > len(value.granted):
                yield "settle not granted"
        case "enqueue":
            for outcome in value:
                yield f"enqueue {outcome.name}"
        case "claim":
            if value.sweep:
                yield "claim sweep"
            for delivery in value.deliveries:
                kind = "tick" if delivery.key.startswith("t:") else "step"
                yield f"claim {kind}{' recover' if delivery.recover else ''}"
                if delivery.crashes:
                    yield f"claim {kind} crashed"
                if delivery.conflicts:
                    yield "claim conflicts"
        case "refuse":
            yield f"refuse {value}"
        case "release":
            yield f"release {value}"
        case "withdraw":
            yield "withdraw leased" if value else "withdraw waiting"
        case "renew":
            yield "renew lost" if value.lost else "renew withdrawn" if value.withdrawn else "renew"
        case "take_parked" if value:
            yield "parked run taken up"
        case "take_due" if value:
            yield "due run ticked"
        case "scan_deadlines" if value:
            yield "full reconcile"
        case "start" if value.starts_in:
            yield "start put off"
        case "write_stream":
            yield f"stream {value.outcome.name}"
        case "beat":
            yield "beat kept" if value else "beat refused"
        case "last_beat" if value is not None:
            yield "details found"
        case "load_entity" if value is None or value.run.status.ended:
            yield "step looked up after the run's end"
        case _:
            pass


COMMON = frozenset(
    {
        *(f"append fenced {outcome.name}" for outcome in (Outcome.ok, Outcome.conflict)),
        *(f"append facts {outcome.name}" for outcome in (Outcome.ok, Outcome.refused)),
        *(f"fact {outcome.name}" for outcome in (FactOutcome.landed, FactOutcome.already, FactOutcome.early)),
        *(f"fact refused {r.name}" for r in (Reason.run_ended, Reason.entity_ended, Reason.other_attempt)),
        "fact refused no_live_hook",
        "append several runs",
        *(f"settle {outcome.name}" for outcome in SettleOutcome),
        *("settle granted", "settle not granted"),
        *(f"enqueue {outcome.name}" for outcome in EnqueueOutcome if outcome is not EnqueueOutcome.delayed),
        *("claim sweep", "claim tick", "claim tick recover", "claim tick crashed", "claim step", "claim step recover"),
        *("claim step crashed", "claim conflicts", "release True", "release False", "withdraw leased"),
        *("withdraw waiting", "renew", "renew lost", "renew withdrawn", "due run ticked", "full reconcile"),
        *("touch ok", "park ok", "parked run taken up", "step looked up after the run's end"),
        *(f"note {name}" for name in ("fence_conflict", "turn_walked_away", "server_trouble", "release_failed")),
        *(f"note {name}" for name in ("run_parked", "lease_lost", "lease_withdrawn", "lease_renewal_failed")),
        *(f"note {name}" for name in ("suspect_alone", "suspect_crashed", "poisoned", "reconciled", "claim_failed")),
        *(f"note {name}" for name in ("reconcile_failed", "hint_failed", "run_terminated", "worker_stopped")),
        *(f"note {name}" for name in ("server_away", "server_back")),
        *(f"point {name}" for name in ("tick.replayed", "append.before", "append.after", "fact.after")),
        *(f"point {name}" for name in ("settle.before", "settle.after", "step.looked_up", "retrying.after")),
        *("point tick.locked", "point tick.unlocked", "note replay_budget"),
        *("start put off", "stream ok", "beat kept", "details found", "point successor.started"),
        *(f"event {kind.name}" for kind in EventType if kind.name not in NOT_YET),
        "refuse True",
        *(f"end {status.name}" for status in RunStatus if status.ended),
        *(f"node {kind}" for kind in KINDS),
    }
)
"""What a thousand seeds must show."""

RARE = frozenset(
    {
        *("touch conflict", "append fenced busy", "append facts busy", "park conflict"),
        *("stream complete", "stream fenced", "beat refused"),
    }
)
"""What ten thousand must show."""


def missed(seen: Counter[str], seeds: int) -> list[str]:
    """Branches that so many seeds should have taken, and have not."""
    wanted = COMMON if seeds >= 1_000 else frozenset[str]()
    if seeds >= 10_000:
        wanted |= RARE
    return sorted(wanted - set(seen))
