"""One case: rounds of floor and engine in turn, and what came of them."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter

import msgspec

from benchmarks import flows
from benchmarks.cases import Case
from benchmarks.fleet import Fleet
from benchmarks.floor import Floor
from benchmarks.servers import Counters, Probe
from benchmarks.tally import tally
from fencepost import Client

RESULT_SECONDS = 120.0


class Round(msgspec.Struct, frozen=True):
    """One round. ``floor`` and ``engine``: seconds of each run; the walls: of the round. ``counters`` and
    ``floor_counters``: the servers'; ``counts``: of workers and client together."""

    floor: list[float]
    floor_wall: float
    floor_counters: Counters
    engine: list[float]
    engine_wall: float
    counters: Counters
    counts: dict[str, int]
    shares: list[int]

    def ratio(self, case: Case) -> float:
        """Client time over the floor's; with many in flight the walls'."""
        if case.in_flight > 1:
            return self.engine_wall / self.floor_wall
        return statistics.median(self.engine) / statistics.median(self.floor)


class Row(msgspec.Struct, frozen=True):
    """What is printed of a case. Times in milliseconds; per step unless named otherwise. ``rate_ratio``: the engine's
    throughput over the floor's. ``shares``: appends of each worker."""

    case: str
    in_flight: int
    rounds: int
    floor_p50: float
    p50: float
    p99: float
    ratio: float
    ratio_min: float
    ratio_max: float
    goal: str
    met: bool | None
    steps_per_second: float
    floor_steps_per_second: float
    commits: float
    floor_commits: float
    statements: float
    redis_calls: float
    wal_bytes: float
    floor_wal_bytes: float
    cpu_ms: float
    floor_cpu_ms: float
    cpu_by_kind: dict[str, float]
    appends: float
    loads_per_run: float
    conflicts_per_run: float
    shares: list[int]

    @property
    def rate_ratio(self) -> float:
        """Throughput against the floor's."""
        return 1 / self.ratio


class Bench:
    """What every round needs."""

    def __init__(self, client: Client, floor: Floor, fleet: Fleet, probe: Probe) -> None:
        self.client = client
        self.floor = floor
        self.fleet = fleet
        self.probe = probe

    async def case(self, case: Case, rounds: int) -> Row:
        """Measure one case. One round in advance is thrown away: it loads code, plans and caches."""
        await self.round(case)
        return summary(case, [await self.round(case) for _ in range(rounds)])

    async def round(self, case: Case) -> Round:
        """Floor, then engine."""
        workers = self.fleet.pids
        first = await self.probe.read(workers)
        started = time.perf_counter()
        floor = await self.floor.play(case)
        floor_wall = time.perf_counter() - started
        before_counts = await self._counts()
        before = await self.probe.read(workers)
        started = time.perf_counter()
        engine = await play(self.client, case)
        engine_wall = time.perf_counter() - started
        after = await self.probe.read(workers)
        after_counts = await self._counts()
        total: Counter[str] = Counter()
        for then, now in zip(before_counts, after_counts, strict=True):
            total.update(now)
            total.subtract(then)
        shares = [
            now["appends"] - then["appends"] for then, now in zip(before_counts[1:], after_counts[1:], strict=True)
        ]
        return Round(floor, floor_wall, before - first, engine, engine_wall, after - before, dict(total), shares)

    async def _counts(self) -> list[Counter[str]]:
        return [Counter(tally), *await self.fleet.counts()]


async def play(client: Client, case: Case) -> list[float]:
    """The runs of one round; seconds from start to result of each."""
    workflow = getattr(flows, case.workflow)
    left = case.runs
    seconds: list[float] = []

    async def loop() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            started = time.perf_counter()
            run = await client.start(workflow, *case.args)
            await run.result(RESULT_SECONDS)
            seconds.append(time.perf_counter() - started)

    await asyncio.gather(*(loop() for _ in range(min(case.in_flight, case.runs))))
    return seconds


def summary(case: Case, rounds: list[Round]) -> Row:
    """Medians over rounds; percentiles over all runs of all rounds."""
    ratio = statistics.median(one.ratio(case) for one in rounds)
    engine = sorted(second for one in rounds for second in one.engine)
    floor = sorted(second for one in rounds for second in one.floor)
    steps = case.divisor

    def per_step(values: list[float]) -> float:
        return statistics.median(values) / steps

    goal, met = "", None
    if case.goal is not None:
        goal = f">= {case.goal:g} rate" if case.goal_is_rate else f"<= {case.goal:g}x"
        met = 1 / ratio >= case.goal if case.goal_is_rate else ratio <= case.goal
    return Row(
        case=case.name,
        in_flight=case.in_flight,
        rounds=len(rounds),
        floor_p50=_at(floor, 0.5),
        p50=_at(engine, 0.5),
        p99=_at(engine, 0.99),
        ratio=ratio,
        ratio_min=min(one.ratio(case) for one in rounds),
        ratio_max=max(one.ratio(case) for one in rounds),
        goal=goal,
        met=met,
        steps_per_second=steps / statistics.median(one.engine_wall for one in rounds),
        floor_steps_per_second=steps / statistics.median(one.floor_wall for one in rounds),
        commits=per_step([one.counters.commits for one in rounds]),
        floor_commits=per_step([one.floor_counters.commits for one in rounds]),
        statements=per_step([one.counts.get("statements", 0) for one in rounds]),
        redis_calls=per_step([one.counters.redis_calls for one in rounds]),
        wal_bytes=per_step([one.counters.wal_bytes for one in rounds]),
        floor_wal_bytes=per_step([one.floor_counters.wal_bytes for one in rounds]),
        cpu_ms=1e3 * per_step([sum(one.counters.cpu.values()) for one in rounds]),
        floor_cpu_ms=1e3 * per_step([sum(one.floor_counters.cpu.values()) for one in rounds]),
        cpu_by_kind=_by_kind(rounds, steps),
        appends=per_step([one.counts.get("appends", 0) for one in rounds]),
        loads_per_run=statistics.mean(one.counts.get("loads", 0) for one in rounds) / case.runs,
        conflicts_per_run=statistics.mean(one.counts.get("conflicts", 0) for one in rounds) / case.runs,
        shares=[sum(column) for column in zip(*(one.shares for one in rounds), strict=True)],
    )


def _by_kind(rounds: list[Round], steps: int) -> dict[str, float]:
    kinds = sorted({kind for one in rounds for kind in one.counters.cpu})
    return {kind: 1e3 * statistics.median(one.counters.cpu.get(kind, 0.0) for one in rounds) / steps for kind in kinds}


def _at(ordered: list[float], share: float) -> float:
    """A percentile, in milliseconds."""
    return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]
