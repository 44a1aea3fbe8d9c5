"""``python -m tests.stress``: the storm on servers and workers of its own."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

import msgspec
from tests.ordeal.ground import ground
from tests.ordeal.report import Report, interrupted
from tests.stress.profile import Profile, Tally, told
from tests.stress.storm import fenced, unfenced

from fencepost.engine.logs import configure_logs

UNFENCED_SECONDS = 90.0
"""Runs that are corrupted never end: with fences off a cycle always lasts as long as it may."""

NUMBERS: dict[str, str] = {
    "cycles": "storms, one after the other",
    "runs": "storm runs per cycle",
    "inflight": "of them at once",
    "loops": "races per run",
    "sleep_ms": "the sleep of a race",
    "window_ms": "payloads are fired so long before to so long after its end",
    "workers": "worker processes",
    "kills": "of workers per cycle",
    "freezes": "of workers per cycle, for longer than a lease",
    "seed": "of all that is random",
    "cycle_seconds": "the bound of one cycle",
}


def parsed(argv: list[str]) -> tuple[Profile, Path | None, str]:
    """The profile, the file of the report, and which part is wanted."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    for name, what in NUMBERS.items():
        default = getattr(Profile(), name)
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type(default), default=default, help=f"{what} (default {default})")
    parser.add_argument("--report", type=Path, help="write what is said to this file as well")
    parser.add_argument("--only", choices=("fenced", "unfenced"), default="", help="leave the other half out")
    found = parser.parse_args(argv)
    return Profile(**{name: getattr(found, name) for name in NUMBERS}), found.report, found.only


def verdict(tally: Tally, say: Report) -> bool:
    """Whether the storm held: nothing wrong, and it was a storm."""
    quiet = [name for name in ("conflicts", "redeliveries") if getattr(tally, name) == 0]
    for name in quiet:
        say.say(f"FAILED: no {name}: the storm has not shown anything")
    wrong = {name: count for name, count in tally.wrong.items() if count}
    if wrong:
        say.say(f"FAILED: {wrong}")
    if tally.late:
        say.say(f"FAILED: {tally.late} runs were still moving at the deadline: this machine needs more --cycle-seconds")
    if tally.herds:
        say.say(f"FAILED: {tally.herds} times far more ticks than there was to do, see above")
    return not (quiet or wrong or tally.late or tally.herds)


async def run(profile: Profile, report: Report, only: str) -> bool:
    """Both halves on one ground."""
    report.say(f"storm: {msgspec.json.encode(profile).decode()}")
    good = True
    async with ground() as (servers, logs):
        where = (servers.postgres_url, servers.redis_url, logs, report.say)
        if only != "unfenced":
            total = await fenced(profile, *where)
            report.say(f"all {profile.cycles} cycles: {told(total)}")
            good = verdict(total, report)
        if only != "fenced":
            bound = min(profile.cycle_seconds, UNFENCED_SECONDS)
            bare = msgspec.structs.replace(profile, cycles=1, kills=0, freezes=0, cycle_seconds=bound)
            tally = await unfenced(bare, *where)
            share = f"{tally.corrupted} of {tally.runs} runs corrupted"
            report.say(
                f"with fences off: {share}" if tally.corrupted else "FAILED: with fences off nothing was corrupted"
            )
            good = good and tally.corrupted > 0
    return good


def main() -> int:
    """The command."""
    profile, path, only = parsed(sys.argv[1:])
    configure_logs("text", "error")
    report = Report(path)
    began = time.monotonic()
    try:
        good = asyncio.run(run(profile, report, only))
    except KeyboardInterrupt:
        return interrupted()
    report.say(f"{'clean' if good else 'FAILED'} in {time.monotonic() - began:.0f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
