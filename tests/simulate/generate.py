"""Plans from seeds: what the workflows are made of, who sends what, and what goes wrong."""

from __future__ import annotations

import random

from tests.simulate.backlogs import backlog, is_backlog
from tests.simulate.extras import add
from tests.simulate.faults import CLIENTS
from tests.simulate.plan import Fault, Node, Plan, Program, Sender, Stop

CALM_SHARE = 0.08
"""Of all plans, those without a fault: what is slow there has no excuse."""

LEASE = 10.0


def generate(seed: int, *, pointed: bool = False) -> Plan:
    """The plan of a seed. ``pointed``: with one or two faults of those that excuse little, and with slots enough, so
    that whatever is late is noticed: what mutants are hunted with.
    """
    if is_backlog(seed):
        return backlog(seed)
    plan = _Maker(seed, pointed).plan()
    if pointed:
        plan.concurrency, plan.near_horizon, plan.latency = 8, 600.0, min(plan.latency, 0.002)
    return plan


class _Maker:
    def __init__(self, seed: int, pointed: bool) -> None:
        self.chance = random.Random(f"plan {seed}")
        self.pointed = pointed
        self.seed = seed
        self.ids = 0
        self.tokens: list[tuple[str, int, int, float]] = []  # token, run, payloads, patience
        self.run = 0

    def plan(self) -> Plan:
        chance = self.chance
        programs: list[Program] = []
        runs = chance.choices((1, 2, 3, 8), (50, 30, 10, 4))[0]
        for self.run in range(runs):
            budget = [chance.choice((3, 5, 8, 12) if runs < 8 else (1, 2))]
            root = self.root(budget)
            at = chance.choice((0.0, 0.0, 0.5, 2.0) if runs < 8 else (0.0,))
            programs.append(Program(root, at=at, queue=chance.choices(("default", "other"), (6, 1))[0]))
        workers = chance.choices((1, 2, 3), (1, 6, 3))[0]
        plan = Plan(
            seed=self.seed,
            programs=programs,
            senders=self.senders(),
            stops=self.stops(len(programs)),
            workers=workers,
            concurrency=chance.choice((1, 2, 4, 8, 8, 8, 8)),
            sticky=chance.choice((0.0, 0.5, 0.9)),
            latency=chance.choice((0.0005, 0.002, 0.02)),
            conflict_limit=chance.choice((1, 2, 5)),
            cache_instances_max=chance.choice((1, 100, 100)),
            near_horizon=chance.choice((600.0, 600.0, 600.0, 600.0, 1.0)),
            queue_ahead=chance.choice((0.0, 0.0, 7.0, -7.0)),
            skews=[(chance.uniform(0, 5_000), chance.choice((1.0, 1.0, 0.998, 1.002))) for _ in range(workers)],
        )
        if chance.random() >= CALM_SHARE:
            plan.old = chance.choices((0, 1, 2), (8, 1, 1))[0] if self.has_patches(programs) else 0
            plan.old = min(plan.old, workers)
            plan.faults = self.faults(plan)
        add(plan, self.ids)
        return plan

    def has_patches(self, programs: list[Program]) -> bool:
        return any(self.contains(program.root, "patched") for program in programs)

    def contains(self, node: Node, kind: str) -> bool:
        return node.kind == kind or any(self.contains(part, kind) for part in node.parts)

    # Workflows.

    def node(self, kind: str, *parts: Node, **fields: object) -> Node:
        self.ids += 1
        return Node(kind, self.ids, list(parts), **fields)  # type: ignore[arg-type]

    def root(self, budget: list[int]) -> Node:
        chance = self.chance
        parts = [self.tree(budget, 3)]
        while budget[0] > 0:
            parts.append(self.tree(budget, 3))
        root = parts[0] if len(parts) == 1 else self.node("seq", *parts)
        wrap = chance.random()
        if wrap < 0.15:
            return self.node("cleanup", root, self.step())
        if wrap < 0.22:
            return self.node("stubborn", root, self.step())
        return root

    def step(self, *, fails: bool = True) -> Node:
        chance = self.chance
        flavour = chance.choices(("work", "thread", "elsewhere"), (8, 1, 1))[0]
        seconds = chance.choice((0.0, 0.0, 0.01, 0.1, 0.5, 3.0))
        failing = chance.choice((1, 2)) if fails and chance.random() < 0.12 else 0
        return self.node("step", flavour=flavour, seconds=seconds, fails=failing)

    def failing(self) -> Node:
        """A step that fails in the end: by its errors, by its time, or by killing its process."""
        kind = self.chance.random()
        if kind < 0.06:
            return self.node("step", flavour="work", fails=-1)
        if kind < 0.4:
            return self.node("step", flavour="brief", seconds=5.0)
        return self.node("step", flavour="once", fails=99, seconds=0.01)

    def tree(self, budget: list[int], depth: int) -> Node:
        chance = self.chance
        budget[0] -= 1
        if depth == 0 or budget[0] <= 0:
            return self.step() if chance.random() < 0.8 else self.sleep()
        kind = chance.choices(
            (
                "step",
                "seq",
                "gather",
                "group",
                "race",
                "timeout",
                "hooks",
                "sleep",
                "catch",
                "loop",
                "patched",
                "child",
            ),
            (5, 3, 3, 2, 4, 3, 6, 2, 2, 1, 2, 2),
        )[0]
        match kind:
            case "seq" | "gather" | "group":
                return self.node(kind, *(self.tree(budget, depth - 1) for _ in range(chance.choice((2, 2, 3, 5)))))
            case "race":
                count = chance.choice((2, 2, 3))
                racing = [self.racer(budget, depth - 1) for _ in range(count)]
                return self.node("race", *racing, *(self.tree(budget, depth - 1) for _ in range(count)))
            case "timeout":
                inner = self.racer(budget, depth - 1)
                return self.node("timeout", inner, self.step(), seconds=chance.choice((0.05, 0.5, 2.0, 30.0)))
            case "hooks":
                return self.hooks(budget, depth)
            case "sleep":
                return self.sleep()
            case "catch":
                return self.node("catch", self.failing(), self.step())
            case "loop":
                return self.node("loop", self.tree(budget, depth - 1), count=chance.choice((2, 3)))
            case "child":
                child = self.node("child", self.tree(budget, depth - 1))
                return self.node("catch", child, self.step()) if chance.random() < 0.5 else child
            case "patched":
                return self.node("patched", self.tree(budget, depth - 1), self.tree(budget, depth - 1))
            case _:
                return self.step()

    def racer(self, budget: list[int], depth: int) -> Node:
        """Something that takes about as long as others of its kind."""
        kind = self.chance.choices(("sleep", "step", "hook", "child", "tree"), (4, 4, 4, 1, 1))[0]
        if kind == "sleep":
            return self.sleep()
        if kind == "step":
            return self.step()
        if kind == "hook":
            return self.receive(1, bare=True)
        if kind == "child":
            return self.node("child", self.tree(budget, max(0, depth - 1)))
        return self.tree(budget, max(0, depth - 1))

    def sleep(self) -> Node:
        seconds = self.chance.choices((0.01, 0.1, 0.5, 2.0, 15.0, 700.0), (4, 4, 4, 3, 1, 0.1))[0]
        return self.node("sleep", seconds=seconds)

    def token(self, payloads: int, patience: float) -> str:
        if self.tokens and self.chance.random() < 0.12:
            return self.chance.choice(self.tokens)[0]  # another hook, perhaps another run's, has it or will
        token = f"k{self.run}.{len(self.tokens)}"
        self.tokens.append((token, self.run, payloads, patience))
        return token

    def receive(self, count: int, *, bare: bool = False) -> Node:
        patience = self.chance.choice((0.3, 1.0, 3.0, 20.0))
        token = self.token(count, patience)
        parts = [] if bare or self.chance.random() < 0.4 else [self.step()]
        return self.node("receive", *parts, token=token, count=count, seconds=patience)

    def hooks(self, budget: list[int], depth: int) -> Node:
        chance = self.chance
        kind = chance.choice(("receive", "duel", "beside"))
        count = chance.choice((1, 2, 3, 6))
        if kind == "receive":
            node = self.receive(count)
        elif kind == "duel":
            token = self.token(count, 5.0)
            other = self.sleep() if chance.random() < 0.5 else self.step()
            then = [self.step()] if chance.random() < 0.6 else []
            node = self.node("duel", other, *then, token=token, count=count)
        else:
            token = self.token(count, 5.0)
            node = self.node("beside", self.tree(budget, depth - 1), token=token)
        # Whose token another has must not fail for it.
        return self.node("catch", node, self.step())

    # The world outside.

    def senders(self) -> list[Sender]:
        chance = self.chance
        senders: list[Sender] = []
        for token, run, payloads, _ in self.tokens:
            if chance.random() < 0.15:
                continue
            at = chance.choice((0.0, 0.0, 0.3, 1.0, 2.0))
            if chance.random() < 0.2:  # a flood
                senders += [
                    Sender(token, run, chance.choice((2, 5, 12)), 0.0, at) for _ in range(chance.choice((1, 2, 3)))
                ]
            else:
                gap = chance.choice((0.0, 0.05, 0.5, 1.5))
                senders.append(Sender(token, run, payloads + chance.choice((0, 0, 2)), gap, at, chance.random() < 0.1))
        return senders

    def stops(self, runs: int) -> list[Stop]:
        chance = self.chance
        if chance.random() >= 0.15:
            return []
        at = chance.choice((0.05, 0.5, 1.0, 2.0, 4.0))
        grace = chance.choice((None, None, 0.5, 5.0))
        return [Stop(chance.choices(("cancel", "terminate"), (4, 1))[0], chance.randrange(runs), at, grace)]

    def faults(self, plan: Plan) -> list[Fault]:
        chance = self.chance
        faults: list[Fault] = []
        count = chance.choices((1, 2, 3, 4, 6), (4, 4, 3, 2, 1))[0]
        weights = _POINTED if self.pointed else _WEIGHTS
        for _ in range(min(2, count) if self.pointed else count):
            who = chance.randrange(plan.workers)
            beat = min(60, 1 + int(chance.expovariate(1 / 9)))
            hops = chance.choice((0, 0, 1, 2, 3, 5, 8, 13))
            kind = chance.choices(_KINDS, weights)[0]
            if kind == "client_crash":
                who = CLIENTS + chance.randrange(len(plan.programs) + len(plan.senders) + len(plan.stops))
                faults.append(Fault("crash", who, 1 + chance.randrange(4), hops))
                continue
            if kind == "client_call":
                who = CLIENTS + chance.randrange(len(plan.programs) + len(plan.senders) + len(plan.stops))
                one = chance.choice(("lost", "refused", "late", "slow_call", "twice"))
                fault = Fault(one, who, 1 + chance.randrange(4), seconds=chance.choice((0.05, 1.0)))
                fault.op = chance.choice(("", "append", "append", "start"))
                faults.append(fault)
                continue
            fault = Fault(kind, who, beat, hops)
            match kind:
                case "crash":
                    fault.expired = chance.random() < 0.4
                    fault.again = chance.choice((0.1, 1.0, 5.0, 20.0))
                case "freeze":
                    fault.seconds = chance.choice((0.5, 3.0, LEASE - 0.01, LEASE + 0.01, LEASE + 2.5, 2.5 * LEASE))
                case "drain":
                    fault.again = chance.choice((0.1, 1.0, 5.0))
                case "lost" | "refused" | "late" | "slow_call" | "twice":
                    fault.op = chance.choice(
                        ("", "", "append", "settle", "settle", "load", "release", "enqueue", "commit")
                    )
                    fault.seconds = chance.choice((0.01, 0.3, 2.0, 11.0))
                case "cut" | "outage" | "slow_server":
                    fault.op = chance.choice(("store", "queue"))
                    fault.seconds = chance.choice((0.2, 1.0, 4.0, 12.0))
                case "rollback":
                    fault.seconds = chance.choice((0.05, 0.5, 3.0))
                case _:
                    pass
            faults.append(fault)
        return faults


_NODES = {
    "step": 5,
    "seq": 3,
    "gather": 3,
    "group": 2,
    "race": 4,
    "timeout": 3,
    "hooks": 6,
    "sleep": 2,
    "catch": 2,
    "loop": 1,
    "patched": 2,
    "child": 2,
}
_SHARES = {
    "crash": 7,
    "freeze": 6,
    "drain": 2,
    "boot": 1,
    "lost": 5,
    "refused": 2,
    "late": 2,
    "slow_call": 2,
    "twice": 2,
    "rolled_back": 1,
    "cut": 1,
    "outage": 1,
    "slow_server": 1,
    "flush": 3,
    "rollback": 2,
    "expire": 1,
    "client_crash": 1,
    "client_call": 4,
}
_KINDS = list(_SHARES)
_WEIGHTS = list(_SHARES.values())
_EXCUSING = {"late", "slow_call", "slow_server", "cut", "outage", "rollback", "boot", "client_crash"}
_POINTED = [1 if kind in _EXCUSING else share for kind, share in _SHARES.items()]
