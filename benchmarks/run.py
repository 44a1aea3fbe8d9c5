"""The command: chooses cases, starts servers and workers, prints rows as they come."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from benchmarks import tally
from benchmarks.cases import GROUPS, Case, chosen
from benchmarks.fleet import Fleet
from benchmarks.floor import Floor
from benchmarks.long import long
from benchmarks.measure import Bench, Row
from benchmarks.report import header, line
from benchmarks.servers import Probe
from benchmarks.singles import Single, singles
from benchmarks.streams import GROUP as STREAMS
from benchmarks.streams import StreamCase, StreamRow, chosen_streams, measure_streams, stream_header, stream_line
from benchmarks.worker import loop_named
from fencepost import Client
from fencepost.client import run
from fencepost.config import Config
from fencepost.dev.servers import erase, start
from fencepost.engine.logs import configure_logs
from fencepost_store.migrations import migrate

LONG = "long"
"""A group of its own: ratios of one run with itself, two minutes of them, and so never among all cases."""


CALM = {
    "lease_seconds": 600.0,
    "renewal_seconds": 200.0,
    "idle_block_seconds": 30.0,
    "reconcile_period_seconds": 600.0,
    "grace_seconds": 600.0,
    "recovery_interval_seconds": 600.0,
}
"""Settings under which what is counted does not depend on how long it takes: no renewals, no reconciling, no leases
that run out on a busy machine, no looking again for results."""


class Options(msgspec.Struct, frozen=True):
    """What was asked for."""

    cases: list[Case]
    streams: list[StreamCase]
    rounds: int
    workers: int
    loop: str
    calm: bool
    singles: bool
    long: bool
    json: Path | None
    profile: Path | None


class Results(msgspec.Struct, frozen=True):
    """What ``--json`` writes."""

    rows: list[Row]
    streams: list[StreamRow]
    singles: list[Single]


async def measure(options: Options, postgres_url: str, redis_url: str) -> Results:
    """All cases on the given servers, in a namespace of its own."""
    rows: list[Row] = []
    streams: list[StreamRow] = []
    found: list[Single] = []
    async with bench(options, postgres_url, redis_url) as made:
        if options.cases:
            print(header(), flush=True)
        for case in options.cases:
            rows.append(await made.case(case, options.rounds))
            print(line(rows[-1]), flush=True)
        if options.streams:
            print(stream_header(), flush=True)
        for shape in options.streams:
            streams.append(await measure_streams(made.client, shape, options.rounds))
            print(stream_line(streams[-1]), flush=True)
        if options.singles:
            found += await singles(made.client, made.fleet, made.probe)
        if options.long:
            found += await long(made.client)
        for one in found:
            print(f"{one.name:<46}{one.value:>12.2f} {one.unit:<9}{one.goal}", flush=True)
    return Results(rows, streams, found)


@asynccontextmanager
async def bench(options: Options, postgres_url: str, redis_url: str) -> AsyncGenerator[Bench]:
    """Schema, workers, client, floor and probe."""
    tally.install()
    configure_logs("text", "warning")
    namespace = f"bench_{uuid.uuid4().hex[:12]}"
    await migrate(postgres_url, namespace)
    config = Config(database_url=postgres_url, redis_url=redis_url, namespace=namespace, env="test")
    if options.calm:
        config = msgspec.structs.replace(config, **CALM)
        run.POLL_SECONDS = CALM["lease_seconds"]
    async with (
        Fleet(config, options.workers, loop=options.loop, profile=options.profile) as fleet,
        Client(config) as client,
        Floor(postgres_url) as floor,
        Probe(postgres_url, redis_url) as probe,
    ):
        yield Bench(client, floor, fleet, probe)


def parsed(argv: list[str]) -> tuple[Options, str]:
    """The command line: what to measure, and the event loop to measure it on."""
    groups = ", ".join((*GROUPS, STREAMS))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--cases", default="", help=f"groups or names, by commas; groups: {groups}")
    parser.add_argument("--rounds", type=int, help="measured rounds per case (default 5, quick 1)")
    parser.add_argument("--quick", action="store_true", help="a few cases, one round: under a minute")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default 2)")
    parser.add_argument("--calm", action="store_true", help="nothing is done by the clock: counts without it")
    parser.add_argument("--loop", default="auto", choices=("auto", "asyncio", "uvloop"), help="the workers' event loop")
    parser.add_argument("--client-loop", default="asyncio", choices=("asyncio", "uvloop"), help="client's and floor's")
    parser.add_argument("--singles", action="store_true", help="also an idle worker, timers, signals, a cold replay")
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--profile", type=Path, help="write a cProfile per worker into this folder")
    found = parser.parse_args(argv)
    cases_named = [name.strip() for name in found.cases.split(",") if name.strip()]
    streams, unknown = chosen_streams(cases_named, quick=found.quick)
    others = [name for name in unknown if name != LONG]
    try:
        cases = chosen(others, quick=found.quick) if others or not cases_named else []
    except ValueError as error:
        parser.error(str(error))
    rounds = found.rounds or (1 if found.quick else 5)
    return Options(
        cases,
        streams,
        rounds,
        found.workers,
        found.loop,
        found.calm,
        found.singles or not (found.quick or cases_named),
        LONG in cases_named,
        found.json,
        found.profile,
    ), found.client_loop


def main() -> None:
    """Measure and print. The servers live in a temporary folder and end with this process."""
    options, client_loop = parsed(sys.argv[1:])
    folder = Path(tempfile.mkdtemp(prefix="fencepost-bench-"))
    folder.chmod(0o711)  # root's Postgres runs as another user and must reach its data
    if options.profile is not None:
        options.profile.mkdir(parents=True, exist_ok=True)
    try:
        with start(folder / "state") as servers, asyncio.Runner(loop_factory=loop_named(client_loop)) as runner:
            results = runner.run(measure(options, servers.postgres_url, servers.redis_url))
        erase(folder / "state")
    finally:
        folder.rmdir()
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=2))
