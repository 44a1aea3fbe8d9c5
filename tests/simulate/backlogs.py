"""Plans under pressure: backlogs ten times deeper than all slots, chains that do not end while anybody looks, many runs
in the hands of a worker that is lost, and processes of suspects that cannot start.

Their faults happen at instants and not by calls, as what they are to hit must stand by then.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.simulate.plan import Fault, Node, Plan, Program

EVERY = 25
"""One of so many seeds is such a plan."""

TIMED = frozenset({"busiest", "stillborn"})
"""``busiest``: the worker that has most in hand is lost. ``stillborn``: of the suspects' processes from then on,
``hops`` die before they have come to user code."""

DEPTH = 20
"""So many times all slots are waiting."""


def is_backlog(seed: int) -> bool:
    """Whether a seed is such a plan's."""
    return seed % EVERY == EVERY - 1


def backlog(seed: int) -> Plan:
    """The plan of a seed."""
    return _Maker(seed).plan()


class _Maker:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(f"backlog {seed}")
        self.seed = seed
        self.ids = 0

    def plan(self) -> Plan:
        chance = self.chance
        workers, concurrency = chance.choice((1, 2)), chance.choice((1, 2))
        shapes: list[Callable[[Plan], None]] = [self.fan, self.chains, self.both, self.crowd, self.child, self.poison]
        plan = Plan(
            seed=self.seed,
            programs=[],
            workers=workers,
            concurrency=concurrency,
            sticky=chance.choice((0.0, 0.5, 0.9)),
            latency=chance.choice((0.0005, 0.002)),
        )
        shapes[self.seed // EVERY % len(shapes)](plan)
        return plan

    def node(self, kind: str, *parts: Node, **fields: object) -> Node:
        self.ids += 1
        return Node(kind, self.ids, list(parts), **fields)  # type: ignore[arg-type]

    def step(self, seconds: float) -> Node:
        return self.node("step", flavour="work", seconds=seconds)

    def add(self, plan: Plan, root: Node, at: float = 0.0) -> None:
        plan.programs.append(Program(root, at=at))

    # What waits.

    def fan(self, plan: Plan) -> None:
        """One run has asked for all of it, and then another comes with one step."""
        seconds = self.chance.choice((0.05, 0.2))
        depth = DEPTH * plan.workers * plan.concurrency
        self.add(plan, self.node("gather", *(self.step(seconds) for _ in range(depth))))
        self.late(plan, seconds)

    def chains(self, plan: Plan) -> None:
        """Every slot has a run that always goes on."""
        seconds = self.chance.choice((0.01, 0.03))
        for _ in range(plan.workers * plan.concurrency):
            self.add(plan, self.node("loop", self.step(seconds), count=120))
        self.late(plan, seconds)

    def both(self, plan: Plan) -> None:
        """Chains, and a backlog behind them."""
        self.chains(plan)
        self.fan(plan)

    def late(self, plan: Plan, seconds: float) -> None:
        for at in (0.6, 0.9):
            self.add(plan, self.step(seconds), at=at)

    # What is lost.

    def crowd(self, plan: Plan) -> None:
        """More runs than a worker can turn at once, begun together, and slow servers; those who have them are lost,
        twice."""
        plan.workers, plan.concurrency, plan.latency = 2, 7, self.chance.choice((0.2, 0.3))
        for _ in range(self.chance.choice((100, 140))):
            self.add(plan, self.step(0.0))
        for at in (0.8, 1.6):
            plan.faults.append(Fault("busiest", 0, 0, seconds=at, expired=True, again=0.5))

    def child(self, plan: Plan) -> None:
        """A body's process is lost twice while it sleeps, and the processes that it is to be alone in cannot start."""
        plan.workers = 2
        self.add(plan, self.step(self.chance.choice((3.0, 5.0))))
        for at in (1.0, 2.0):
            plan.faults.append(Fault("busiest", 0, 0, seconds=at, expired=True, again=0.5))
        plan.faults.append(Fault("stillborn", 0, 0, seconds=0.5, hops=self.chance.choice((2, 3, 5))))

    def poison(self, plan: Plan) -> None:
        """Among many bodies that are begun together, one that ends its process each time."""
        plan.concurrency = 40
        count = self.chance.choice((20, 39))
        deadly = self.chance.randrange(count)
        for index in range(count):
            step = self.step(self.chance.choice((0.5, 4.0)))
            if index == deadly:
                step = self.node("catch", self.node("step", flavour="work", fails=-1), self.step(0.0))
            self.add(plan, step)
