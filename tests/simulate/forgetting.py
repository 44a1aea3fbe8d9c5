"""The store forgets its last commits, as at a fail-over to a standby that had not received them, while workers keep
what they know; and what must be true of that all the same.

What was answered before is not true any more: signals that were accepted are gone, others come to their positions.
What a run comes to must be what the log that remains says, and no run may be blamed for it.
"""

# The world looks into the reference model's tables, where a real server would be asked.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import random
from collections import deque
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from tests.simulate.joints import Booked
from tests.simulate.plan import Fault, Plan

from fencepost import payload
from fencepost.records import StepCreated, unpack
from fencepost_store.events import Event, EventType
from fencepost_store.memory_failover import Committed

if TYPE_CHECKING:
    from tests.simulate.world import Record, World

KEPT = 60
"""States of the store that are kept: further back no fault goes."""

SHARE = 0.06
"""Of all plans, those whose store forgets; drawn apart from the rest."""


class Forgetting:
    """What the store has had behind its latest commits."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._states: deque[tuple[Committed, list[Booked]]] = deque(maxlen=KEPT)

    def note(self) -> None:
        """Somebody makes a call: the store may have committed since the last one."""
        servers = self._world.servers
        now = servers.store.committed()
        if not self._states or self._states[-1][0].size != now.size:
            self._states.append((now, list(servers.table)))

    def forget(self, commits: int) -> bool:
        """Go back so many. False: there are none to forget."""
        self.note()
        if len(self._states) < 2:
            return False
        for _ in range(min(commits, len(self._states) - 1)):
            self._states.pop()
        servers = self._world.servers
        state, table = self._states[-1]
        servers.store.fail_over(state)
        servers.table[:] = table
        return True


def add_forgetting(plan: Plan, chance: random.Random) -> None:
    """To a share of the plans. Nobody reads streams there: what a reader has read may be gone."""
    if chance.random() >= SHARE:
        return
    plan.readers = []
    for _ in range(chance.choice((1, 1, 2))):
        fault = Fault("forget", chance.randrange(plan.workers), chance.randrange(2, 40), chance.randrange(8))
        fault.commits, fault.expired = chance.choice((1, 1, 2, 3, 5, 12)), chance.random() < 0.3
        plan.faults.append(fault)


def check_forgotten(record: Record) -> Generator[str]:
    """Violations, in words."""
    if not (record.plan.old or any(record.plan.skewed)) and record.notes["run_parked"]:
        yield f"forgotten: {record.notes['run_parked']} times a run was parked, and all code is the same"
    for index, (_, log) in record.runs.items():
        for what in _results(log):
            yield f"forgotten: {what}, in run {index}"


def _results(log: Sequence[Event]) -> Generator[str]:
    """A step's result is that of a body which was called as this log has it."""
    asked: dict[str, list[int]] = {}
    for event in log:
        if event.type is EventType.step_created:
            created = unpack(event.payload, StepCreated)
            asked[event.entity] = payload.decode(created.args)[0] if not created.name.startswith("fencepost.") else []
        elif event.type is EventType.step_completed and asked.get(event.entity):
            _, *wanted = asked[event.entity]
            node, visit, _ = payload.decode(event.payload)
            if [node, visit] != wanted:
                yield f"{event.entity} was called with {wanted}, and has the result of {[node, visit]}"
