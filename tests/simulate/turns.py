"""Whether everybody gets a turn, and nobody pays for others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator

from tests.simulate.backlogs import is_backlog
from tests.simulate.bodies import Body
from tests.simulate.programs import nodes_of
from tests.simulate.world import EPOCH, Record

from fencepost_store.events import EventType

T = EventType

INLINE = 8
"""Steps of one run that follow each other in one slot while others wait."""

SLACK = 2
"""Beginnings of a run that the news of who waits comes too late for, per slot."""

COMPANY = 8
"""Of the messages that were lost with their worker twice, so many may be taken for what killed it, and as many again
whose renewal was on its way when it was lost: they are reclaimed later."""

POISONED_MAX = 2
"""Workers that a body may cost which ends its process at once, among however many others."""

CALLS = 10
"""Calls that a step takes which goes through the queue, each of one way and another."""

CALM_SECONDS = 20.0
"""By then after the last fault of a plan under pressure all has ended that does not take its time by itself."""


def check_turns(record: Record) -> Generator[str]:
    """Violations, in words."""
    yield from _at_once(record)
    if record.overrun or record.stuck:
        return
    if record.plan.calm() and not any(record.plan.skewed):
        yield from _overtaken(record)
    if is_backlog(record.plan.seed):
        yield from _suspected(record)
        yield from _slow(record)


def _at_once(record: Record) -> Generator[str]:
    """``concurrency`` bounds the bodies of a process."""
    by_process: dict[str, list[Body]] = defaultdict(list)
    for body in record.bodies:
        if body.ended is not None:
            by_process[body.proc].append(body)
    for name, bodies in by_process.items():
        moments = sorted([(body.at, 1) for body in bodies] + [(body.ended or 0.0, -1) for body in bodies])
        running = most = 0
        for _, change in moments:
            running += change
            most = max(most, running)
        if most > record.plan.concurrency:
            yield f"slots: {name} ran {most} bodies at once, its concurrency is {record.plan.concurrency}"


def _overtaken(record: Record) -> Generator[str]:
    """While a step waits of whose run n others begin, any other run begins a bounded number of its own per turn."""
    slots = record.plan.workers * record.plan.concurrency
    begun: dict[int, list[float]] = defaultdict(list)
    waits: list[tuple[int, str, float, float]] = []
    for index, (_, log) in record.runs.items():
        asked: dict[str, float] = {}
        for event in log:
            at = (event.at - EPOCH) / 1e6
            if event.type is T.step_created and b"other" not in event.payload:
                asked[event.entity] = at
            elif event.type is T.step_started and event.attempt == 1:
                begun[index].append(at)
                if event.entity in asked:
                    waits.append((index, event.entity, asked[event.entity], at))
    for index, entity, since, until in waits:
        ahead = sum(since < at < until for at in begun[index])
        bound = ((ahead + 1) * (INLINE + 1) + SLACK) * slots
        for other, starts in begun.items():
            passed = sum(since < at < until for at in starts)
            if other != index and passed > bound:
                yield (
                    f"turn: run {other} began {passed} steps while {entity} of run {index} waited for"
                    f" {until - since:.1f} s, at most {bound} are fair"
                )
                return


def _suspected(record: Record) -> Generator[str]:
    """Nobody innocent is run alone, but for a few of those that were lost twice in small company."""
    nodes = {index: nodes_of(tree) for index, tree in record.trees.items()}
    guilty = {record.runs[index][0].run_id for index, parts in nodes.items() if any(one.fails < 0 for one in parts)}
    innocent = {key for key in record.suspects if key.split(":")[1] not in guilty}
    losses = record.hits["crash"] + record.hits["poison"]
    if len(innocent) > 2 * COMPANY * (losses // 2):
        yield f"suspects: {len(innocent)} innocent messages were run alone after {losses} losses"
    if record.hits["poison"] > POISONED_MAX:
        yield f"poison: a body has cost {record.hits['poison']} workers"
    if record.notes["run_parked"]:
        yield "parked: a run that its code fits"


def _slow(record: Record) -> Generator[str]:
    plan = record.plan
    faults = max((until for _, until, _ in record.windows), default=record.began)
    trips = CALLS * plan.latency * len(record.bodies) / (plan.workers * plan.concurrency)
    for index, (run, log) in record.runs.items():
        own = sum(node.seconds * max(1, node.count) for node in nodes_of(record.trees[index]))
        count = sum(event.type is T.step_started for event in log)
        ended = (run.updated_at - EPOCH) / 1e6
        bound = max(faults, (log[0].at - EPOCH) / 1e6) + CALM_SECONDS + 3 * own + count * 0.2 + trips
        if ended > bound:
            yield f"slow: run {index} ended at {ended:.1f}, {ended - bound:.1f} s after it should"
