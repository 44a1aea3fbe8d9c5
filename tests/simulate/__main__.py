"""``python -m tests.simulate --seeds N [--seed FIRST] [--jobs 2]``, or ``--seed S`` alone to play one with a trace."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from tests.simulate.generate import generate
from tests.simulate.plan import dumps, loads
from tests.simulate.report import Totals, failed, lines, run_seeds
from tests.simulate.shrink import shrink
from tests.simulate.trace import trace

CHUNK = 100
SHRUNK_MAX = 3
"""Failing seeds that are made smaller and shown."""


def main() -> int:
    """0 if all is well."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, help="how many; without it, one seed is played and told")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--plan", type=Path, help="play a plan that was kept")
    parser.add_argument("--shrink", action="store_true", help="make the one smaller first")
    asked = parser.parse_args()
    if asked.plan is not None or asked.seeds is None:
        plan = generate(asked.seed) if asked.plan is None else loads(asked.plan.read_bytes())
        if asked.shrink:
            plan = shrink(plan)
            print(dumps(plan).decode())
        told = trace(plan)
        print("\n".join(told))
        return int(any(line.startswith("VIOLATION") for line in told))
    return _many(asked.seed, asked.seeds, asked.jobs)


def _many(first: int, seeds: int, jobs: int) -> int:
    began = time.monotonic()
    totals = Totals()
    with ProcessPoolExecutor(jobs) as pool:
        chunks = [
            pool.submit(run_seeds, at, min(CHUNK, first + seeds - at)) for at in range(first, first + seeds, CHUNK)
        ]
        for done in as_completed(chunks):
            totals.add(done.result())
    print("\n".join(lines(totals, time.monotonic() - began)))
    for seed, found in sorted(totals.violations.items())[:20]:
        print(f"seed {seed}: {found[0]}")
        print(f"  again: make simulate SEED={seed}")
    for seed in sorted(totals.violations)[:SHRUNK_MAX]:
        print(f"seed {seed}, made smaller:")
        print("\n".join(f"  {line}" for line in trace(shrink(generate(seed)))))
    return int(failed(totals))


if __name__ == "__main__":
    sys.exit(main())
