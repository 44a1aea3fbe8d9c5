"""The steady mixed load: so many runs are open at any time, of every kind, with signals and cancellations."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.chaos.jobs import Cancel, Send, Start
from tests.chaos.producers import Producers
from tests.ordeal.follower import Follower


class Plan(NamedTuple):
    """A run to be started, and what is sent to it. ``sends``: how many signals, to ``token``, within ``spread``
    seconds. ``reason``: it is cancelled for that.
    """

    workflow: str
    args: list[Any]
    token: str = ""
    sends: int = 0
    spread: float = 0.0
    reason: str = ""


def _storm(n: int, source: random.Random, pace: float) -> Plan:
    base = f"race:{n}"
    sleep_ms = int(source.randint(200, 900) * pace) + 50
    return Plan("storm", [base, source.randint(4, 9), sleep_ms], f"{base}:1", 9, 5.0 * pace)


def _mailbox(n: int, source: random.Random, pace: float) -> Plan:
    count = source.randint(4, 10)
    return Plan("mailbox", [f"mail:{n}", count], f"mail:{n}", count, source.uniform(0.5, 9.0) * pace)


KINDS: tuple[tuple[int, Callable[[int, random.Random, float], Plan]], ...] = (
    (4, lambda n, source, pace: Plan("sequence", [source.randint(3, 30)])),
    (2, lambda n, source, pace: Plan("fan", [source.randint(2, 25)])),
    (3, lambda n, source, pace: Plan("retried", [n, source.randint(1, 3)])),
    (3, lambda n, source, pace: Plan("timed", [n, source.choice([0.2, 1.5])])),
    (3, lambda n, source, pace: Plan("cancelled", [f"never:{n}", n], spread=6.0 * pace, reason=f"enough of {n}")),
    (4, lambda n, source, pace: Plan("sleeper", [n, source.uniform(4.0, 25.0) * pace])),
    (2, lambda n, source, pace: Plan("booked", [source.randint(1, 4)])),
    (2, lambda n, source, pace: Plan("counted", [n])),
    (1, lambda n, source, pace: Plan("tree", [source.randint(1, 2)])),
    (2, lambda n, source, pace: Plan("hasty", [n, source.choice([0.2, 3.0])])),
    (4, _storm),
    (4, _mailbox),
)
"""Weights and makers of the kinds of runs."""


class Load:
    """Keeps ``target`` runs open until ``stop``. ``started``: every run that was started, by key. ``accepted``: by run,
    the delivery ids of signals that were. ``pace`` makes all their sleeps and pauses longer or shorter.
    """

    def __init__(self, producers: Producers, follower: Follower, target: int, seed: int, pace: float) -> None:
        self._producers = producers
        self._follower = follower
        self._pace = pace
        self._random = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(target)
        self._feeding: asyncio.Task[None] | None = None
        self.started: dict[str, str] = {}
        self.accepted: dict[str, list[str]] = {}
        self.refused: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.failure: BaseException | None = None

    def begin(self) -> None:
        """Start to start."""
        self._feeding = asyncio.create_task(self._feed())

    async def _feed(self) -> None:
        n = 0
        weights = [weight for weight, _ in KINDS]
        while True:
            await self._room.acquire()
            n += 1
            maker = self._random.choices(KINDS, weights)[0][1]
            task = asyncio.create_task(self._one(n, maker(n, self._random, self._pace)))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()
        if not task.cancelled():
            self.failure = self.failure or task.exception()

    async def _one(self, n: int, plan: Plan) -> None:
        """One run from its start to its end."""
        key = f"{plan.workflow}:{n}"
        answer = await self._producers.do(Start(self._producers.number(), plan.workflow, plan.args, key))
        self.started[key] = answer.run
        self.kinds[plan.workflow] += 1
        self._follower.watch(answer.run)
        sends = [self._send(answer.run, plan, value) for value in range(plan.sends)]
        if plan.reason:
            sends.append(self._cancel(answer.run, plan))
        await asyncio.gather(self._follower.ended(answer.run), *sends)

    async def _send(self, run: str, plan: Plan, value: int) -> None:
        after = self._random.uniform(0.0, plan.spread)
        job = Send(self._producers.number(), plan.token, value, f"{plan.token}/{value}", after)
        if (await self._producers.do(job)).accepted:
            self.accepted.setdefault(run, []).append(job.id)
        else:
            self.refused[plan.workflow] += 1

    async def _cancel(self, run: str, plan: Plan) -> None:
        after = self._random.uniform(plan.spread / 10, plan.spread)
        job = Cancel(self._producers.number(), run, plan.reason, f"cancel {run}", after)
        if not (await self._producers.do(job)).accepted:
            self.refused[plan.workflow] += 1

    @property
    def open(self) -> int:
        """Runs that have been started and not been seen to end."""
        return len(self._follower.open)

    def raise_failure(self) -> None:
        """If the load has ended by an error of its own, raise that."""
        if self.failure is not None:
            raise self.failure

    async def drain(self, seconds: float) -> int:
        """Start nothing more and wait for what is open, at most so long; how many runs are left."""
        if self._feeding is not None:
            self._feeding.cancel()
            await asyncio.gather(self._feeding, return_exceptions=True)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        self.raise_failure()
        return len(self._tasks)

    async def end(self) -> None:
        """Leave everything as it is."""
        for task in [*self._tasks, *([self._feeding] if self._feeding else [])]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
