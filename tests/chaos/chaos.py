"""Chaos from its servers to its verdict: load, faults at random, and then everything is checked."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import msgspec
from tests.chaos.bookings import misbooked, prepare
from tests.chaos.faults import KINDS, PLACES, PRODUCERS, Fault, Scene
from tests.chaos.load import Load
from tests.chaos.network import Network
from tests.chaos.outcome import Outcome, too_slow
from tests.chaos.producers import Producers
from tests.ordeal.explain import explained
from tests.ordeal.fleet import ROOT, Fleet
from tests.ordeal.follower import Follower
from tests.ordeal.ground import Ground, now
from tests.ordeal.verdict import Judgement, Question, judge, merged

from fencepost.cli.main import COMMANDS
from fencepost.config import Config
from fencepost_store.migrations import migrate
from fencepost_store.protocol import RunStatus

Say = Callable[[str], None]

HORIZON = 5_000_000
"""Microseconds: what becomes due so long after a fault, a sleep or a retry, is looked at as well."""
DRAIN_SECONDS = 180.0
"""What open runs get to end when there are no more faults: many times what any of them takes."""
JUDGED_AT_ONCE = 1_000
"""Runs per judge: two of them work side by side."""
SAID = (
    "fence_conflict",
    "handler_failed",
    "lease_lost",
    "loop_blocked",
    "reconciled",
    "redelivered",
    "run_parked",
    "server_away",
    "server_trouble",
    "suspect_alone",
    "turn_walked_away",
)
"""What is counted of the workers' logs."""


class Options(msgspec.Struct, frozen=True):
    """``minutes`` of faults, of these ``kinds`` only (empty: all), with ``target`` runs open and at least ``least`` at
    each fault. ``pace``: of the load's sleeps and of the rests between faults. ``in_order``: the kinds in the order
    given, not drawn.
    """

    minutes: float
    seed: int
    kinds: tuple[str, ...] = ()
    target: int = 80
    least: int = 50
    outage_seconds: float = 20.0
    faults_max: int = 1_000_000
    lease_seconds: float = Config().lease_seconds
    pace: float = 1.0
    in_order: bool = False


class Row(NamedTuple):
    """Of a run in the database. Children have a parent, all others a key."""

    key: str | None
    parent: str | None
    status: RunStatus


@asynccontextmanager
async def scene(options: Options, ground: Ground, logs: Path) -> AsyncGenerator[tuple[Scene, Load]]:
    """Everybody on stage; all are gone when the block is left."""
    await migrate(ground.postgres_url, "chaos")
    await prepare(ground.postgres_url)
    config = Config(
        database_url=ground.postgres_url,
        redis_url=ground.redis_url,
        namespace="chaos",
        env="test",
        lease_seconds=options.lease_seconds,
        renewal_seconds=min(Config().renewal_seconds, options.lease_seconds / 3),
    )
    source = random.Random(options.seed)
    network = await Network.start(ground, [*PLACES, *(f"producer{n}" for n in range(PRODUCERS))])
    fleet = Fleet(config, "tests.chaos.chaos_flows", logs)
    producers = Producers([_through(network, config, f"producer{n}") for n in range(PRODUCERS)])
    made = Scene(ground, network, fleet, producers, source, config, options.outage_seconds)
    try:
        async with asyncio.TaskGroup() as booting:
            for place in PLACES:
                booting.create_task(made.boot(place))
        await producers.start()
        async with Follower(ground.postgres_url, "chaos", period=0.1) as follower:
            load = Load(producers, follower, options.target, options.seed, options.pace)
            try:
                yield made, load
            finally:
                await load.end()
    finally:
        await producers.end()
        await fleet.end()
        await network.end()


def _through(network: Network, config: Config, place: str) -> Config:
    postgres, valkey = network.urls(place)
    return msgspec.structs.replace(config, database_url=postgres, redis_url=valkey)


async def chaos(options: Options, ground: Ground, logs: Path, say: Say) -> Outcome:
    """All of it. Bounded: the faults' time, then DRAIN_SECONDS, then what judging takes."""
    async with scene(options, ground, logs) as (stage, load):
        load.begin()
        await _enough(load, options.least)
        faults = await _inflict(options, stage, load, say)
        left = await load.drain(DRAIN_SECONDS)
        say(f"no more faults; {left} runs are left open after the drain")
        return await _checked(options, stage, load, faults, left, say)


async def _inflict(options: Options, stage: Scene, load: Load, say: Say) -> list[Fault]:
    """Faults, one after the other, of kinds drawn so that each comes about equally often."""
    faults: list[Fault] = []
    until = time.monotonic() + options.minutes * 60
    bag: list[str] = []
    while time.monotonic() < until and len(faults) < options.faults_max:
        await _enough(load, options.least)
        bag = bag or _bag(options, stage.random)
        kind = bag.pop()
        open_runs = load.open
        since = now()
        fault = await KINDS[kind](stage)
        fault.open_runs, fault.since = open_runs, since
        faults.append(fault)
        say(f"{fault.kind}{f' of {fault.what}' if fault.what else ''}, with {open_runs} runs open")
        rest = fault.rest or stage.config.lease_seconds + 3.0
        await asyncio.sleep((rest + stage.random.uniform(0.0, 3.0)) * options.pace)
    return faults


def _bag(options: Options, source: random.Random) -> list[str]:
    """Every kind once, to be taken from the end."""
    kinds = list(options.kinds or KINDS)
    if options.in_order:
        return kinds[::-1]
    source.shuffle(kinds)
    return kinds


async def _enough(load: Load, least: int) -> None:
    until = time.monotonic() + 120.0
    while load.open < least:
        load.raise_failure()
        assert time.monotonic() < until, f"only {load.open} runs are open, {least} are wanted: the load does not flow"
        await asyncio.sleep(0.05)  # of other processes: there is nothing to wait on but time


async def _checked(options: Options, stage: Scene, load: Load, faults: list[Fault], left: int, say: Say) -> Outcome:
    fleet = stage.fleet
    rows = await _runs(stage.ground.postgres_url)
    judgement = await _judged(stage, [*rows], faults, say)
    fleet.read()
    outcome = Outcome(options.seed, stage.config.lease_seconds, faults, judgement, load.kinds)
    outcome.accepted, outcome.refused = sum(map(len, load.accepted.values())), load.refused.total()
    outcome.tries, outcome.again = stage.producers.tries, stage.producers.again
    outcome.counts = Counter({event: fleet.count(event) for event in SAID})
    wrong = outcome.wrong
    wrong += [f"{p.workflow} {p.run}, {p.kind}: {p.what}" for p in judgement.problems]
    wrong += [f"run {run} is {row.status.name}" for run, row in rows.items() if not row.status.ended]
    wrong += await misbooked(stage.ground.postgres_url, "chaos")
    wrong += [f"run {run} has neither a key nor a parent" for run, row in rows.items() if not (row.key or row.parent)]
    wrong += lost(load.started, load.accepted, judgement.received, rows)
    until_taken_back = int((stage.config.renewal_seconds + 1.0) * 1_000_000)
    losses = [(fault.since, fault.at + until_taken_back) for fault in faults if fault.kind in LOSING]
    for repeat in judgement.repeats:
        if not repeat.twice:
            outcome.unused += 1
        elif explained(fleet, repeat, losses):
            outcome.repeats[_before(faults, repeat.until)] += 1
        else:
            wrong.append(f"a body ran twice, and nobody knows why: {repeat}")
    wrong += [f"handler_failed: {bug}" for worker in fleet.all for bug in worker.log.bugs]
    wrong += [f"worker {died}" for died in fleet.died]
    if left:
        wrong.append(f"{left} runs or their signals were not done {DRAIN_SECONDS:g} s after the last fault")
    outcome.doctor, healthy = await _doctor(stage.config)
    if not healthy:
        wrong.append(f"doctor: {outcome.doctor}")
    names = {owner: worker.name for worker in stage.fleet.all for owner in worker.log.owners}
    outcome.slow = [" ".join(names.get(word, word) for word in line.split(" ")) for line in too_slow(outcome)]
    return outcome


LOSING = ("flush", "valkey", "outage")
"""Faults after which the queue's data may be gone, so that until leases are taken back a step looks unattended."""


def lost(
    started: dict[str, str],
    accepted: dict[str, list[str]],
    received: dict[str, list[str]],
    rows: dict[str, Row],
) -> list[str]:
    """Starts (run by key) and signals (ids by run) that producers know as accepted and that are not there once, in the
    database's ``rows`` (by run) and in the logs (ids by run); and those that nobody was told of.
    """
    wrong: list[str] = []
    by_key = {row.key: run for run, row in rows.items() if row.key is not None}
    for key, run in started.items():
        if by_key.get(key) != run:
            wrong.append(f"{key} was accepted as run {run}, and the database has {by_key.get(key)}")
    for key in by_key.keys() - started.keys():
        wrong.append(f"run {by_key[key]} of {key} was started, and its producer was never told")
    for run, ids in accepted.items():
        times = Counter(received.get(run, []))
        wrong += [
            f"run {run}: {one} was accepted, and is {times[one]} times in the log" for one in ids if times[one] != 1
        ]
    for run, ids in received.items():
        strange = set(ids) - set(accepted.get(run, []))
        wrong += [f"run {run}: {one} is in the log, and its sender was refused" for one in strange]
    return wrong


async def _runs(url: str) -> dict[str, Row]:
    """Every run in the database."""
    connection: Any = await cast(Any, asyncpg).connect(url)
    try:
        rows = await connection.fetch("SELECT run_id, key, parent, status FROM chaos.runs ORDER BY run_id")
    finally:
        await connection.close()
    return {str(row["run_id"]): Row(row["key"], row["parent"], RunStatus(row["status"])) for row in rows}


async def _judged(stage: Scene, runs: list[str], faults: list[Fault], say: Say) -> Judgement:
    judges = asyncio.Semaphore(2)

    async def part(some: list[str]) -> Judgement:
        question = Question(
            config=stage.config,
            flows="tests.chaos.chaos_flows",
            checker="tests.chaos.expected:check",
            runs=some,
            bodies=str(stage.fleet.bodies),
            open_allowed=True,
            moments=_moments(faults),
        )
        async with judges:
            found = await judge(question)
        say(f"judged {len(some)} of {len(runs)} runs")
        return found

    firsts = range(0, len(runs), JUDGED_AT_ONCE)
    return merged(await asyncio.gather(*(part(runs[first : first + JUDGED_AT_ONCE]) for first in firsts)))


def _before(faults: list[Fault], moment: int) -> str:
    """The kind of the last fault that had begun by then."""
    return next((fault.kind for fault in reversed(faults) if fault.since <= moment), "no fault")


def _moments(faults: list[Fault]) -> list[tuple[int, int]]:
    """From when each fault's recoveries count, and for how long what becomes due is its business: until the next."""
    nexts = [*(fault.since for fault in faults[1:]), faults[-1].at + HORIZON] if faults else []
    return [(fault.at, max(0, min(HORIZON, then - fault.at))) for fault, then in zip(faults, nexts, strict=True)]


async def _doctor(config: Config) -> tuple[str, bool]:
    """What ``fencepost doctor`` says of the servers and all runs, and whether that is good."""
    if "doctor" not in COMMANDS:
        return "not asked: this version has none", True
    urls = ("--database-url", config.database_url, "--redis-url", config.redis_url, "--namespace", config.namespace)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "fencepost.cli.main", *urls, "doctor"),
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": "/", "FENCEPOST_ENV": "test"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 300)
    text = said.decode(errors="replace").strip()
    return ("clean" if process.returncode == 0 else text[-3000:]), process.returncode == 0
