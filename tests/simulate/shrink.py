"""Makes a failing plan smaller for as long as it fails in the same way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from msgspec.structs import replace
from tests.simulate.oracle import judge
from tests.simulate.plan import Node, Plan
from tests.simulate.world import World

Judge = Callable[[Plan], list[str]]


def played(plan: Plan) -> list[str]:
    """The violations of a plan."""
    return judge(World(plan).play())


def kind_of(violations: list[str]) -> str:
    """What sort of violation comes first."""
    return violations[0].partition(":")[0]


def shrink(plan: Plan, seconds: float = 30.0, judged: Judge = played) -> Plan:
    """The smallest failing plan that was found in the time."""
    wanted = kind_of(judged(plan))
    until = time.monotonic() + seconds
    smaller = True
    while smaller and time.monotonic() < until:
        smaller = False
        for candidate in _candidates(plan):
            if time.monotonic() > until:
                break
            found = judged(candidate)
            if found and kind_of(found) == wanted:
                plan, smaller = candidate, True
                break
    return plan


def _candidates(plan: Plan) -> Iterator[Plan]:
    for index in range(len(plan.faults)):
        yield replace(plan, faults=[fault for at, fault in enumerate(plan.faults) if at != index])
    for index, sender in enumerate(plan.senders):
        for count in {0, 1} - {sender.count}:
            if count < sender.count:
                senders = [replace(one, count=count) if at == index else one for at, one in enumerate(plan.senders)]
                yield replace(plan, senders=senders)
    if plan.stops:
        yield replace(plan, stops=[])
    for index, program in enumerate(plan.programs):
        for root in _smaller(program.root):
            programs = [replace(one, root=root) if at == index else one for at, one in enumerate(plan.programs)]
            yield replace(plan, programs=programs)
    if plan.queue_ahead:
        yield replace(plan, queue_ahead=0.0)
    if plan.old:
        yield replace(plan, old=0)
    if any(plan.skewed):
        yield replace(plan, skewed=[])
    if plan.workers > 1 and all(fault.who != plan.workers - 1 for fault in plan.faults):
        yield replace(plan, workers=plan.workers - 1)


def _smaller(node: Node) -> Iterator[Node]:
    if node.kind not in ("step", "sleep"):
        yield from node.parts
        yield Node("step", node.id, flavour="work")
    if node.kind in ("seq", "gather", "group") and len(node.parts) > 1:
        for index in range(len(node.parts)):
            yield replace(node, parts=[part for at, part in enumerate(node.parts) if at != index])
    if node.count > 1:
        yield replace(node, count=1)
    for index, part in enumerate(node.parts):
        for less in _smaller(part):
            yield replace(node, parts=[less if at == index else one for at, one in enumerate(node.parts)])
