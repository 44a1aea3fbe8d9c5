"""A schedule as text: what was asked of the servers, what the engine said of it, and the logs."""

from __future__ import annotations

from typing import Any

from tests.simulate.oracle import judge
from tests.simulate.plan import Node, Plan
from tests.simulate.world import EPOCH, World


def tree(node: Node, depth: int = 0) -> list[str]:
    """A workflow, a line per node."""
    told = {name: getattr(node, name) for name in ("seconds", "count", "fails", "token", "flavour")}
    words = " ".join(f"{name}={value}" for name, value in told.items() if value)
    return [
        "  " * depth + f"{node.kind} {node.id} {words}".rstrip(),
        *(one for p in node.parts for one in tree(p, depth + 1)),
    ]


def trace(plan: Plan) -> list[str]:
    """Plays the plan and tells."""
    world = World(plan)
    said: list[tuple[float, str]] = []

    def note(event: str, fields: dict[str, Any]) -> None:
        words = " ".join(f"{name}={value}" for name, value in fields.items() if name not in ("trace", "stack"))
        said.append((world.loop.now, f"note {event} {words}"))

    world.tell = note
    record = world.play()
    for at, until, kind in record.windows:
        said.append((at, f"FAULT {kind}" + (f" until {until - record.began:.3f}" if until > at else "")))
    for index, (run, log) in record.runs.items():
        for event in log:
            words = (
                f"run {index}: {event.seq} {event.type.name} {event.entity} {event.attempt or ''} {event.dedupe or ''}"
            )
            said.append(((event.at - EPOCH) / 1e6, " ".join(words.split())))
        said.append((record.ended, f"run {index} {run.run_id} is {run.status.name}"))
    for body in record.bodies:
        ended = "never ended" if body.ended is None else f"until {body.ended - record.began:.3f}"
        said.append((body.at, f"body {body.entity} attempt {body.attempt} of run {body.run} on {body.proc}, {ended}"))
    shown = [f"workflow {index}: {line}" for index, p in enumerate(plan.programs) for line in tree(p.root)]
    shown += [f"{fault}" for fault in plan.faults]
    shown += [f"{at - record.began:9.4f} {words}" for at, words in sorted(said, key=lambda one: one[0])]
    return [*shown, *(f"VIOLATION {what}" for what in judge(record))]
