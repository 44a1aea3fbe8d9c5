"""One cycle of the storm: storm runs, side storms, a kill and a freeze, and then the judgement."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Coroutine
from typing import Any

from tests.ordeal.explain import explained
from tests.ordeal.fleet import Fleet
from tests.ordeal.follower import Follower
from tests.ordeal.ground import now
from tests.ordeal.verdict import Judgement, Question, judge
from tests.stress.profile import Profile, Tally
from tests.stress.senders import Senders
from tests.stress.sides import Sides

from fencepost.client import Client
from fencepost.client.run import Run
from fencepost_store.protocol import RunStatus

REST_SECONDS = 15.0
"""A run whose log has not moved for so long at the deadline is stuck: more than a lease, a reconcile period and a
grace."""


class Storm:
    """What all cycles share. ``fences``: whether they are on."""

    def __init__(self, profile: Profile, fleet: Fleet, client: Client, senders: Senders, follower: Follower) -> None:
        self.profile = profile
        self.fleet = fleet
        self.client = client
        self.senders = senders
        self.follower = follower
        self.random = random.Random(profile.seed)
        self.offset = 0
        self.numbers = itertools.count(1)

    async def cycle(self, number: int) -> Tally:
        """One cycle; its counts."""
        began = time.monotonic()
        tally = Tally()
        deaths = self.fleet.deaths
        before = {event: self.fleet.count(event) for event in ("fence_conflict", "redelivered")}
        sent_before, refused = sum(map(len, self.senders.sent.values())), self.senders.refused
        storms, sides = await self._drive(number, tally)
        tally.payloads = sum(map(len, self.senders.sent.values())) - sent_before
        tally.refused = self.senders.refused - refused
        runs = [*storms, *sides.runs]
        self._open_or_failed(runs, tally)
        judgement = await judge(self._question(runs))
        self.offset = judgement.offset
        self.fleet.read()
        self._judged(judgement, runs, tally)
        tally.runs = len(storms)
        tally.loops = len(storms) * self.profile.loops
        tally.conflicts = self.fleet.count("fence_conflict") - before["fence_conflict"]
        tally.redeliveries = self.fleet.count("redelivered") - before["redelivered"]
        tally.kills += self.fleet.deaths - deaths
        tally.ticks = self._ticks(storms)
        tally.flood_ticks, tally.wake_ticks = self._ticks(sides.flooded), self._ticks(sides.wakes)
        complaints = sides.complaints(tally)
        tally.herds = len(complaints)
        tally.notes += complaints
        tally.seconds = time.monotonic() - began
        return tally

    async def _drive(self, number: int, tally: Tally) -> tuple[list[str], Sides]:
        """Start everything and wait until it has ended, or the time is over."""
        profile = self.profile
        room = asyncio.Semaphore(profile.inflight)
        storms: list[str] = []

        async def one(n: int) -> None:
            async with room:
                base = f"storm:{number}:{n}"
                run: Run[Any] = await self.client.start("storm", base, profile.loops, profile.sleep_ms, key=base)
                storms.append(run.id)
                await self.follower.ended(run.id)

        sides = Sides(self.client, self.follower, profile, number)
        work: list[Coroutine[Any, Any, None]] = [one(n) for n in range(profile.runs)]
        tasks = [asyncio.create_task(job) for job in (*work, *sides.jobs(), self._trouble(tally))]
        try:
            _, left = await asyncio.wait(tasks, timeout=profile.cycle_seconds)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for task in tasks:
            if task not in left:
                task.result()
        await self.senders.settle()
        return storms, sides

    async def _trouble(self, tally: Tally) -> None:
        """Kills and freezes, at random moments of the first half minute."""
        ways = ["kill"] * self.profile.kills + ["freeze"] * self.profile.freezes
        self.random.shuffle(ways)
        for way in ways:
            await asyncio.sleep(self.random.uniform(1.0, 4.0))
            worker = self.random.choice([worker for worker in self.fleet.workers if worker.alive])
            if way == "kill":
                worker.kill()
                await self.fleet.bury(worker)
                await self.fleet.boot()
                tally.kills += 1
            else:
                worker.freeze()
                try:
                    await asyncio.sleep(self.profile.lease_seconds + self.random.uniform(0.5, 1.5))
                finally:
                    worker.thaw()
                tally.freezes += 1

    def _question(self, runs: list[str]) -> Question:
        config = self.fleet.config
        checker = "tests.stress.winners:check"
        bodies = str(self.fleet.bodies)
        return Question(config, "tests.stress.storm_flows", checker, runs, bodies, self.offset, open_allowed=True)

    def _open_or_failed(self, runs: list[str], tally: Tally) -> None:
        rested = now() - int(REST_SECONDS * 1_000_000)
        for run in runs:
            known = self.follower.runs[run]
            if known.status is RunStatus.completed:
                continue
            if known.ended:
                tally.failed += 1
                tally.notes.append(f"run {run} {known.status.name}")
            elif known.status is RunStatus.parked:
                tally.parked += 1  # its log says other than its code: the judge will tell
            elif known.moved < rested:
                tally.stuck += 1
                tally.notes.append(f"run {run} is {known.status.name} and has not moved since {known.moved}")
            else:
                tally.late += 1

    def _judged(self, judgement: Judgement, runs: list[str], tally: Tally) -> None:
        tally.events, tally.steps, tally.prefixes = judgement.events, judgement.steps, judgement.prefixes
        corrupted = {problem.run for problem in judgement.problems if problem.kind != "body"}
        corrupted |= {run for run in runs if self.follower.runs[run].status is RunStatus.parked}
        duplicated = sum(problem.kind == "body" for problem in judgement.problems)
        tally.notes += [f"{p.workflow} {p.run}, {p.kind}: {p.what}" for p in judgement.problems]
        for repeat in judgement.repeats:
            if not repeat.twice:
                tally.unused += 1
            elif explained(self.fleet, repeat):
                tally.repeats += 1
            else:
                duplicated += 1
                tally.notes.append(f"a body ran twice, and nobody knows why: {repeat}")
        for run in runs:
            received, sent = judgement.received.get(run, []), self.senders.sent.get(run, [])
            duplicated += len(received) - len(set(received))
            lost = set(sent) - set(received)
            if lost:
                corrupted.add(run)
                tally.notes.append(f"run {run}: accepted and not in the log: {sorted(lost)}")
        tally.corrupted, tally.duplicated = len(corrupted), duplicated

    def _ticks(self, runs: list[str]) -> int:
        return sum(worker.log.ticks[run] for worker in self.fleet.all for run in runs)
