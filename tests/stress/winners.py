"""What a run of the storm must return, computed from the winners in its log and nothing of the engine.

The log says in which order payloads came and sleeps ended. A race is won by what comes first after it has begun; a
payload that came before that, and that no race has taken, wins at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from tests.stress.storm_flows import PER_TOKEN

from fencepost import payload
from fencepost.records import RunCreated, StepCreated, unpack
from fencepost_store.events import Event, EventType
from fencepost_store.protocol import Run

E = EventType


def check(run: Run, log: Sequence[Event]) -> str | None:
    """What is wrong with the run's result; None: nothing."""
    if log[-1].type is not E.run_completed:
        return None  # still open, or failed: counted by the storm itself
    args: list[object] = payload.decode(unpack(log[0].payload, RunCreated).input)[0]
    result: object = payload.decode(log[-1].payload)
    try:
        expected = _expected(run.workflow, args, log)
    except (AssertionError, ValueError, IndexError) as error:
        return f"{run.workflow}{args}: its log leads to no result: {type(error).__name__}: {error}"
    return None if result == expected else f"{run.workflow}{args} returned {result!r}, its log says {expected!r}"


def _expected(workflow: str, args: list[object], log: Sequence[Event]) -> object:
    received = [payload.decode(event.payload) for event in log if event.type is E.hook_received]
    match workflow, args:
        case "storm", [_, int(loops), _]:
            return trail(log, loops)
        case "step_storm", [int(width)]:
            return sum(n + 1 for n in range(width))
        case "flooded", _:
            return received
        case "wakes", _:
            return received[0]
        case "pair_then_webhook", _:
            return 3 + int(received[0])
        case "kills_once", _:
            return True
        case _:
            raise AssertionError(f"unknown workflow {workflow}{args}")


class Race:
    """The storm's state as its log goes on. ``owed``: what the branch under way waits for."""

    def __init__(self, loops: int) -> None:
        self.trail: list[str] = []
        self._loops = loops
        self._buffer: deque[int] = deque()
        self._taken = 0
        self._racing = False
        self._ends_with = ""
        self._owed: list[str] = []
        self._then: list[str] = []

    def take(self, event: Event, what: str) -> None:
        """One event. ``what``: of a step its name, of a wait whether it is the nap or a pause."""
        if event.type is E.hook_created:
            self._buffer.clear()
            self._taken = 0
            self._race()
        elif event.type is E.hook_received:
            self._buffer.append(payload.decode(event.payload))
            if self._racing:
                self._won()
        elif event.type is E.wait_completed and what == "nap":
            assert self._racing, f"{event.entity} ended and no race was on"
            self._lost()
        else:
            self._owed.remove(what)
            if not self._owed:
                self._owed, self._then = self._then, []
            if not self._owed:
                self._branch_ended()

    def _race(self) -> None:
        self._racing = True
        if self._buffer:
            self._won()

    def _won(self) -> None:
        value = self._buffer.popleft()
        loop = len(self.trail)
        self._racing = False
        self._taken += 1
        self._owed, self._then = ["took", "weighed", "pause"], []
        self._ends_with = f"{loop} took {value}, {value * 3}"

    def _lost(self) -> None:
        loop = len(self.trail)
        self._racing = False
        self._owed, self._then = ["pause", "pause", "missed"], ["noted"]
        self._ends_with = f"{loop} missed, {loop * 5}"

    def _branch_ended(self) -> None:
        self.trail.append(self._ends_with)
        if len(self.trail) < self._loops and self._taken < PER_TOKEN:
            self._race()  # else: the hook is closed; the next one's creation begins the next race


def trail(log: Sequence[Event], loops: int) -> list[str]:
    """The trail that the winners in the log lead to."""
    race = Race(loops)
    names: dict[str, str] = {}
    for event in log:
        if event.type is E.step_created:
            names[event.entity] = unpack(event.payload, StepCreated).name
        elif event.type is E.wait_created:
            names[event.entity] = "nap" if "nap#" in event.entity else "pause"
        elif event.type in (E.hook_created, E.hook_received, E.wait_completed, E.step_completed):
            race.take(event, names.get(event.entity, ""))
    return race.trail
