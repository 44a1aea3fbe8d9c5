"""What is added to a share of the plans: runs that continue as new, attributes, put-off starts, bounds on a step's
time, heartbeats with details, streams and their readers; and somebody else's transactions that hold the rows of runs.

All of it is drawn from a stream of chance of its own, and the rest of a plan stays what its seed has always made of it:
whatever a seed without additions has found, it still finds.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from msgspec.structs import replace
from tests.simulate.forgetting import add_forgetting
from tests.simulate.plan import Fault, Node, Plan, Program, Reader, Sender
from tests.simulate.programs import nodes_of
from tests.simulate.roles import add_roles

SHARE = 0.4
"""Of all plans, those that have additions."""

SHARED = "all"
"""The stream that several steps of a run write to."""

_WEIGHTS = {"again": 3, "attributes": 3, "delay": 3, "bound": 4, "beat": 4, "write": 4, "tell": 2}


JOINT_SHARE = 0.12
"""Of all plans, those with transactional steps; drawn apart from the rest, as they came later."""


HANDED_SHARE = 0.1
"""Of all plans, those whose chains of runs get signals all the time; drawn apart for the same reason."""


SKEW_SHARE = 0.12
"""Of all plans with more than one worker, those in which the code of one lacks something, from the beginning to the
end; drawn apart, too."""


BLOCK_SHARE = 0.05
"""Of all plans, those in which the code of one run blocks for ever; drawn apart, too."""


def add(plan: Plan, ids: int) -> None:
    """Changes the plan in place. ``ids``: the highest id of a node so far."""
    chance = random.Random(f"extras {plan.seed}")
    adding = _Adding(plan, ids, chance)
    if chance.random() < SHARE:
        _additions(adding)
    adding.chance = random.Random(f"joints {plan.seed}")
    _skew(plan, random.Random(f"skew {plan.seed}"))
    if adding.chance.random() < JOINT_SHARE:
        for program in plan.programs:
            adding.joint(program)
    adding.chance = random.Random(f"handed {plan.seed}")
    if adding.chance.random() < HANDED_SHARE:
        for index, program in enumerate(plan.programs):
            adding.handed(index, program)
    adding.chance = random.Random(f"blocking {plan.seed}")
    if adding.chance.random() < BLOCK_SHARE:
        adding.block(adding.chance.choice(plan.programs))
    add_forgetting(plan, random.Random(f"forgetting {plan.seed}"))
    add_roles(plan)


def _skew(plan: Plan, chance: random.Random) -> None:
    """One worker has everything, so that every run can end."""
    if plan.workers > 1 and chance.random() < SKEW_SHARE:
        complete = chance.randrange(plan.workers)
        kinds = [chance.choice(("partial", "partial", "foreign", "")) for _ in range(plan.workers)]
        plan.skewed = ["" if index == complete else kind for index, kind in enumerate(kinds)]


def _additions(adding: _Adding) -> None:
    plan, chance = adding.plan, adding.chance
    for index, program in enumerate(plan.programs):
        for kind in dict.fromkeys(chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()), k=chance.choice((1, 2, 3)))):
            adding.kinds[kind](index, program)
    for _ in range(chance.choice((0, 0, 1, 3))):
        fault = Fault("rows", chance.randrange(plan.workers), chance.randrange(1, 80), chance.randrange(6))
        fault.seconds = chance.choice((0.01, 0.1, 1.0))
        plan.faults.append(fault)


class _Adding:
    def __init__(self, plan: Plan, ids: int, chance: random.Random) -> None:
        self.plan, self.ids, self.chance = plan, ids, chance
        self.kinds: dict[str, Callable[[int, Program], None]] = {
            "again": self.again,
            "attributes": self.attributes,
            "delay": self.delay,
            "bound": self.bound,
            "beat": self.beat,
            "write": self.write,
            "tell": self.tell,
        }

    def node(self, kind: str, *parts: Node, **fields: object) -> Node:
        self.ids += 1
        return Node(kind, self.ids, list(parts), **fields)  # type: ignore[arg-type]

    def steps(self, program: Program) -> list[Node]:
        """Steps that may be made something else."""
        return [node for node in nodes_of(program.root) if node.kind == "step" and node.flavour == "work"]

    def into(self, program: Program, *before: Node) -> None:
        """Some node of the tree becomes a sequence: ``before``, and then itself."""
        node = self.chance.choice(nodes_of(program.root))
        itself = replace(node)
        made = self.node("seq", *before, itself)
        for name in node.__struct_fields__:
            setattr(node, name, getattr(made, name))

    def again(self, index: int, program: Program) -> None:
        program.root = self.node("again", program.root, count=self.chance.choice((1, 1, 2, 4)))

    def attributes(self, index: int, program: Program) -> None:
        for _ in range(self.chance.choice((1, 2, 4))):
            self.into(
                program, self.node("attributes", count=self.chance.randrange(3), flavour=self.chance.choice("sssd"))
            )

    def delay(self, index: int, program: Program) -> None:
        program.delay = self.chance.choice((0.05, 0.5, 3.0, 20.0))

    def bound(self, index: int, program: Program) -> None:
        chance = self.chance
        for node in self.some(program):
            if node.fails >= 0:
                node.flavour = chance.choice(("close", "close", "begin"))
                node.seconds = chance.choice((0.1, 1.0, 2.9, 5.0)) if node.flavour == "close" else 1.0
                node.fails = chance.choice((0, 0, 1, 99)) if node.flavour == "close" else 0
                if node.flavour == "begin" and chance.random() < 0.5:
                    self.plan.concurrency = min(self.plan.concurrency, 2)

    def beat(self, index: int, program: Program) -> None:
        for node in self.some(program):
            if node.fails >= 0:
                node.flavour, node.count = "beat", self.chance.choice((1, 3, 8))
                node.seconds = self.chance.choice((0.0, 0.5, 4.0))
                node.fails = self.chance.choice((0, 1, 2))

    def write(self, index: int, program: Program) -> None:
        chance = self.chance
        for node in self.some(program):
            if node.fails >= 0:
                node.flavour, node.count = chance.choice(("append", "resume")), chance.choice((1, 4, 12))
                node.seconds = chance.choice((0.0, 0.5, 4.0))
                node.fails = chance.choice((0, 0, 1, 2))
                node.token = chance.choice(("", "", SHARED))
                self.read(index, node.token or f"s{node.id}.1")

    def joint(self, program: Program) -> None:
        for node in self.some(program):
            if node.fails >= 0:
                node.flavour, node.seconds = "joint", self.chance.choice((0.0, 0.0, 0.5, 4.0))
                node.fails = self.chance.choice((0, 0, 1))

    def tell(self, index: int, program: Program) -> None:
        self.into(program, self.node("tell", count=self.chance.choice((1, 3)), token=SHARED))
        self.read(index, SHARED)

    def handed(self, index: int, program: Program) -> None:
        """Each run of a chain takes some payloads, first or last, of more that come."""
        chance, token = self.chance, f"over{index}"
        then = [self.node("step", flavour="work", seconds=chance.choice((0.0, 0.1)))] if chance.random() < 0.6 else []
        hook = self.node("receive", *then, token=token, count=chance.choice((1, 1, 3)), seconds=5.0)
        body = program.root.parts[0] if program.root.kind == "again" else program.root
        whole = self.node("seq", *((hook, body) if chance.random() < 0.4 else (body, hook)))
        count = program.root.count if program.root.kind == "again" else chance.choice((1, 2, 4))
        program.root = self.node("again", whole, count=count)
        for _ in range(chance.choice((1, 1, 2))):
            gap, at = chance.choice((0.0, 0.05, 0.5)), chance.choice((0.0, 0.5, 2.0))
            self.plan.senders.append(Sender(token, index, chance.choice((3, 6, 12)), gap, at, chance.random() < 0.2))

    def block(self, program: Program) -> None:
        """The code blocks, before the rest, after it, beside it or in a child."""
        chance, node = self.chance, self.node
        body = program.root.parts[0] if program.root.kind == "again" else program.root
        blocks = node("block")
        match chance.randrange(5):
            case 0:
                whole = node("seq", blocks, body)
            case 1:
                whole = node("seq", body, blocks)
            case 2:
                whole = node("gather", body, node("seq", node("sleep", seconds=chance.choice((0.5, 3.0))), blocks))
            case 3:
                whole = node("gather", body, node("seq", node("step", flavour="work", seconds=0.1), blocks))
            case _:
                child = node("child", node("seq", node("step", flavour="work"), blocks))
                whole = node("seq", node("catch", child, node("step", flavour="work")), body)
        if program.root.kind == "again":
            program.root.parts[0] = whole
        else:
            program.root = whole

    def read(self, index: int, name: str) -> None:
        for _ in range(self.chance.choice((0, 1, 1, 2))):
            self.plan.readers.append(Reader(index, name, self.chance.choice((0.0, 0.5, 3.0, 8.0))))

    def some(self, program: Program) -> list[Node]:
        """One or two steps; if there are none, one is put in."""
        found = self.steps(program)
        if not found:
            self.into(program, self.node("step", flavour="work"))
            found = self.steps(program)
        return self.chance.sample(found, min(len(found), self.chance.choice((1, 2))))
