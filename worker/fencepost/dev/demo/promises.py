"""What the demo promises, held against what was seen. Pure."""

from __future__ import annotations

import msgspec

from fencepost.dev.demo.facts import Facts, IndexFacts, OrderFacts
from fencepost.dev.demo.order import FAILURES, REST_SECONDS


class Promise(msgspec.Struct, frozen=True):
    """``kept`` or not, and what was seen, in words."""

    promise: str
    kept: bool
    seen: str


def judge(facts: Facts) -> list[Promise]:
    """Every promise of the demo, kept or broken."""
    index = facts.index
    return [
        *_kill(index),
        *_recovery(facts),
        Promise(
            "the report equals the one computed directly",
            index.report == index.direct,
            f"workflow {_told(index.report)}; directly {_told(index.direct)}",
        ),
        *(promise for order in facts.orders for promise in _order(order)),
        Promise(
            "workers that are told to end hand everything back and end well",
            bool(facts.exit_codes) and not any(facts.exit_codes.values()) and facts.left_in_queue == 0,
            f"exit codes {facts.exit_codes}, {facts.left_in_queue} messages left in the queue",
        ),
    ]


def _kill(index: IndexFacts) -> list[Promise]:
    kill, begun = index.kill, index.begun_before_kill
    return [
        Promise(
            "the kill falls into the middle of the run, with work in flight",
            0 < kill.completed_before < index.steps and len(kill.in_flight) > 0 and kill.exit_code == -9,
            f"{kill.victim} ended with {kill.exit_code} after {kill.completed_before} of {index.steps} steps, with"
            f" {len(kill.in_flight)} bodies in flight",
        ),
        Promise(
            "both workers had begun steps of the run before the kill",
            len(begun) == 2 and all(begun.values()),
            ", ".join(f"{label}: {count}" for label, count in begun.items()),
        ),
    ]


def _recovery(facts: Facts) -> list[Promise]:
    index = facts.index
    lost, held = set(index.lost), set(index.kill.in_flight)
    again, twice = set(index.begun_again), set(index.ran_twice)
    by = sorted({label for starts in index.begun_again.values() for label in starts[1:]})
    limit = facts.lease_seconds
    return [
        Promise(
            "what was in flight is begun again by others, at least one entity twice, and nothing else is",
            again == lost and bool(lost & held) and twice <= again and index.kill.victim not in by,
            f"{len(held)} in flight, {len(lost)} lost, {len(again)} begun again by {', '.join(by) or 'nobody'}"
            f"{_listed('; not begun again', lost - again)}"
            f"{_listed('; without need', {f'{s} ({index.begun_again.get(s)})' for s in (again | twice) - lost})}",
        ),
        Promise(
            "recovery takes no lease time",
            0 <= index.kill.handed_on_ms < limit * 1000 / 4 and index.recovery_ms is not None,
            f"{index.kill.handed_on_ms} ms until its work was in nobody's hands; a lease is {limit:g} s; first"
            f" repeated start after {index.recovery_ms} ms",
        ),
        Promise(
            "every step is recorded exactly once",
            not index.not_ended_once,
            f"{index.steps} steps{_listed('; not ended exactly once', set(index.not_ended_once))}",
        ),
        Promise(
            "no body runs without its start in the log",
            not facts.unrecorded,
            f"{len(facts.unrecorded)} bodies without one{_listed(':', set(facts.unrecorded))}",
        ),
    ]


def _order(order: OrderFacts) -> list[Promise]:
    slept = order.slept_seconds
    sleeps = order.expected.status == "shipped"
    return [
        Promise(
            f"order {order.order} is {order.expected.status}, decided by {order.expected.decided_by}",
            order.outcome == order.expected,
            f"{order.outcome.status}, decided by {order.outcome.decided_by}",
        ),
        Promise(
            f"order {order.order}: steps in parallel, the flaky step retried{', a sleep that lasts' if sleeps else ''}",
            order.overlap > 1 and order.retries == FAILURES and (slept is not None and slept >= REST_SECONDS) is sleeps,
            f"{order.overlap} steps at once, {order.retries} retries, sleep: {slept}",
        ),
    ]


def _told(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _listed(intro: str, names: set[str]) -> str:
    shown = sorted(names)[:5]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{intro} {', '.join(shown)}{more}" if names else ""
