"""Live instances of runs in this worker, and the lock that keeps a run's turns and its hot path one at a time here.

A live instance is a cache: it can be dropped at any moment and is rebuilt by replaying the log. Across workers nothing
of this counts; the fence decides.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from fencepost.engine.locks import EngineLock
from fencepost.log import Landed
from fencepost.replay.budget import TurnGuard
from fencepost.replay.fold import OpenWork
from fencepost.replay.instance import Instance
from fencepost.telemetry import note
from fencepost_queue.protocol import Delivery
from fencepost_store.events import NewEvent
from fencepost_store.protocol import Run

SWALLOWERS_MAX = 10_000
"""Runs whose code does not leave that a worker remembers; of more it forgets the oldest, and finds them out anew."""


@dataclass(slots=True, eq=False)
class Done:
    """A step's end on its way into the log: the step's own delivery, the terminal fact, and who waits to hear that the
    message is dealt with.
    """

    delivery: Delivery
    event: NewEvent
    settled: asyncio.Future[None]


@dataclass(slots=True, eq=False)
class LiveRun:
    """One run as this worker knows it. ``lock`` covers load to append. ``inbox``: ends of steps that wait for the hot
    path. ``stuck``: turns in a row that found something due and moved nothing (H49). ``told``: what was logged about
    the run already, once each. ``wake_at``: the deadline as this worker last set or read it. ``terminate_at``,
    ``terminate_for``: the end of the cancellation's grace, and its reason, as far as loads have shown (the instance may
    stop short of it). ``swallowers``: the worker's runs whose code has refused to leave, whatever was raised in it:
    the next time none of it is run (H150). ``inline``: steps in a row that had the slot of the one before although
    others wait for one, since ``inline_since`` (monotonic). ``epoch``: the store's, when the instance was
    last used.
    """

    run_id: str
    guard: TurnGuard
    lock: EngineLock = field(default_factory=EngineLock)
    instance: Instance | None = None
    run: Run | None = None
    wake_at: int | None = None
    terminate_at: int | None = None
    terminate_for: str = ""
    inbox: list[Done] = field(default_factory=list[Done])
    pumping: bool = False
    stuck: int = 0
    told: set[str] = field(default_factory=set[str])
    users: int = 0
    inline: int = 0
    inline_since: float = 0.0
    swallowers: dict[str, None] = field(default_factory=dict[str, None])
    epoch: int = 0

    def meet(self, epoch: int) -> bool:
        """Whether the store leads to the server that it led to before; if not, what is known of the run goes (H197)."""
        if self.epoch == epoch:
            return True
        self.epoch = epoch
        self.drop()
        return False

    def drop(self) -> None:
        """Throw the live instance away; nothing that it asked for leaves its loop. Its code's ``finally`` blocks run,
        so this is watched as a turn is.
        """
        instance, self.instance = self.instance, None
        if instance is None:
            return
        with self.guard.turn(self.run_id):
            instance.evict(abandon=self.run_id in self.swallowers)
        if instance.abandoned and self.run_id not in self.swallowers:
            self.swallowers[self.run_id] = None
            while len(self.swallowers) > SWALLOWERS_MAX:
                del self.swallowers[next(iter(self.swallowers))]
            note("code_abandoned", run=self.run_id, at=instance.abandoned[:5])

    def catch_up(self, written: Landed) -> None:
        """Take an invisible fact of this worker's into the live instance, if nothing landed between, the instance is of
        this log, and nobody is at work on it; else a later load does.
        """
        instance = self.instance
        if instance is None or self.lock.locked():
            return
        work = instance.work
        if (written.fence, written.stamp) == (work.fence, work.stamp):
            for event in written.events:
                if event.seq == work.seen + 1:
                    instance.deliver((event,))

    def leave_branch(self, work: OpenWork) -> None:
        """The log does not hold what this worker has seen of it: a server has lost its last commits. What is known of
        the run goes, and the log is read from its beginning (H190, H191).
        """
        note("log_replaced", run=self.run_id, seen=work.seen)
        self.drop()
        self.terminate_at, self.terminate_for, self.stuck = None, "", 0

    def drop_idle(self) -> None:
        """As ``drop``, by whoever met trouble outside the lock. If somebody holds it, the instance is theirs: it is in
        the middle of an append, and if that comes to grief they drop it themselves.
        """
        if not self.lock.locked():
            self.drop()


class LiveRuns:
    """The worker's cache of live runs, bounded; the least recently used idle instance goes first."""

    def __init__(self, instances_max: int, guard: TurnGuard) -> None:
        self._runs: OrderedDict[str, LiveRun] = OrderedDict()
        self._max = instances_max
        self._guard = guard
        self._swallowers: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def enter(self, run_id: str) -> LiveRun:
        """The run's entry, made if absent, kept from eviction until ``leave``."""
        live = self._runs.get(run_id)
        if live is None:
            live = self._runs[run_id] = LiveRun(run_id, self._guard, swallowers=self._swallowers)
        else:
            self._runs.move_to_end(run_id)
        live.users += 1
        return live

    def keep(self, live: LiveRun) -> None:
        """One more user of an entry that the caller has entered; this one leaves too. For what goes on with the run
        after the caller: a body that the turn's settle was granted begins when the turn has left, and entering anew
        could find another entry by then, with a lock of its own (H147).
        """
        self._assert_in_use(live)
        live.users += 1

    def leave(self, live: LiveRun) -> None:
        """Done with the entry for now. An entry without an instance and without users is forgotten."""
        self._assert_in_use(live)
        live.users -= 1
        if live.users == 0 and live.instance is None:
            self._runs.pop(live.run_id, None)
        while len(self._runs) > self._max and self._evict_one():
            pass

    def _assert_in_use(self, live: LiveRun) -> None:
        if live.users < 1 or self._runs.get(live.run_id) is not live:
            raise AssertionError(f"this entry of run {live.run_id} is not in use: it was not entered, or left already")

    def _evict_one(self) -> bool:
        for live in self._runs.values():
            if live.users == 0:
                live.drop()
                del self._runs[live.run_id]
                return True
        return False

    def drop_all(self) -> None:
        """Evict everything (a lost lease's process-wide doubt, or the worker's end)."""
        for live in list(self._runs.values()):
            live.drop()
            if live.users == 0:
                del self._runs[live.run_id]
