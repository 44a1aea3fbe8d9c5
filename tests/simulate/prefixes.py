"""Whether every prefix of a log replays to the same decisions: event by event, at once, and cut anywhere."""

from __future__ import annotations

import random
from collections.abc import Generator, Sequence
from typing import Any

from tests.simulate.durable import code
from tests.simulate.plain import never_begun
from tests.simulate.plan import Node
from tests.simulate.programs import nodes_of

from fencepost.replay.instance import Instance
from fencepost.replay.interface import ReplayDivergence
from fencepost_store.events import Event, NewEvent
from fencepost_store.protocol import Run

CUTS = 2
"""Prefixes that are delivered at once and compared, per run."""


def check_prefixes(tree: Node, run: Run, log: Sequence[Event]) -> Generator[str]:
    """Violations, in words."""
    known = code(new=True)
    program = known.main if run.workflow == "main" else known.sub
    # ``patched`` looks ahead in what is delivered with an event, so only a whole log answers as its turns did.
    # So does a run that was cancelled before its start: no turn comes to it before either.
    whole_only = any(node.kind == "patched" for node in nodes_of(tree)) or never_begun(log)
    made: list[Instance] = []

    def instance() -> Instance:
        made.append(Instance(run.run_id, program, queue=run.queue))
        return made[-1]

    try:
        at_once = instance()
        at_once.deliver(log)
        if whole_only:
            return
        chance = random.Random(len(log))
        cuts = {chance.randrange(1, len(log) + 1) for _ in range(CUTS)}
        single = instance()
        decisions: dict[int, Any] = {}
        for at, event in enumerate(log, 1):
            single.deliver([event])
            if at in cuts:
                decisions[at] = _asked(single.pending())
        if _asked(single.pending()) != _asked(at_once.pending()):
            yield "replay: the whole log at once and event by event come to different decisions"
        for cut, wanted in decisions.items():
            piece = instance()
            piece.deliver(log[:cut])
            if _asked(piece.pending()) != wanted:
                yield f"replay: the prefix of {cut} events asks for {_asked(piece.pending())}, not {wanted}"
    except ReplayDivergence as divergence:
        yield f"replay: {divergence}"
    except RuntimeError as error:
        yield f"replay: {error!r}"
    finally:
        for one in made:
            one.evict()


def _asked(events: Sequence[NewEvent]) -> list[tuple[object, ...]]:
    return [(event.type.name, event.entity, event.due, event.token) for event in events]
