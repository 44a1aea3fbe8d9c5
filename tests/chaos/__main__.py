"""``python -m tests.chaos``: faults at random on servers, workers, producers and a network of its own."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from pathlib import Path

from tests.chaos.chaos import Options, chaos
from tests.chaos.faults import KINDS
from tests.chaos.outcome import told
from tests.ordeal.ground import ground
from tests.ordeal.report import Report, interrupted

from fencepost.engine.logs import configure_logs


def parsed(argv: list[str]) -> tuple[Options, Path | None]:
    """The options, and the file of the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="of faults (default 5)")
    parser.add_argument("--seed", type=int, help="of faults and load (default: drawn, and printed)")
    parser.add_argument("--kinds", default="", help=f"by commas, of {', '.join(KINDS)} (default: all)")
    parser.add_argument("--open", type=int, default=80, help="runs that are open at any time (default 80)")
    parser.add_argument("--outage-seconds", type=float, default=20.0, help="both servers away (default 20)")
    parser.add_argument("--report", type=Path, help="write what is said to this file as well")
    found = parser.parse_args(argv)
    kinds = tuple(kind.strip() for kind in found.kinds.split(",") if kind.strip())
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        parser.error(f"--kinds {','.join(unknown)}: unknown, there are {', '.join(KINDS)}")
    seed = found.seed if found.seed is not None else random.SystemRandom().randrange(1_000_000)
    options = Options(found.minutes, seed, kinds, found.open, min(50, found.open), outage_seconds=found.outage_seconds)
    return options, found.report


async def run(options: Options, report: Report) -> bool:
    """On a ground of its own."""
    report.say(f"chaos for {options.minutes:g} minutes, --seed {options.seed}")
    async with ground() as (servers, logs):
        outcome = await chaos(options, servers, logs, report.say)
    for line in told(outcome):
        report.say(line)
    return not outcome.wrong and not outcome.slow


def main() -> int:
    """The command."""
    options, path = parsed(sys.argv[1:])
    configure_logs("text", "error")
    report = Report(path)
    began = time.monotonic()
    try:
        good = asyncio.run(run(options, report))
    except KeyboardInterrupt:
        return interrupted()
    report.say(f"{'clean' if good else 'FAILED'} in {time.monotonic() - began:.0f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
