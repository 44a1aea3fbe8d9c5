"""``python -m tests.simulate.mutants [NAME ...]``: a table of all mutants, and what finds each."""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

import msgspec
from tests.simulate.mutants import MUTANTS
from tests.simulate.mutants.hunt import Found

SECONDS_MAX = 240
"""What one mutant may take; one that is stopped is not found."""


def main() -> int:
    """0 if the tests pass as they are, and each mutant is found."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulate.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="which ones (all)")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seeds", type=int, help="for each, instead of its own number; 0: by its test alone")
    asked = parser.parse_args()
    names: list[str] = asked.names or sorted(MUTANTS, key=lambda name: MUTANTS[name].seeds)
    began = time.monotonic()
    found: list[Found] = []
    with ThreadPoolExecutor(asked.jobs) as pool:
        intact = pool.submit(_intact, names)
        for one in as_completed([pool.submit(_hunted, name, asked.seeds) for name in names]):
            found.append(one.result())
            print(_line(found[-1]), flush=True)
    broken = intact.result()
    if broken:
        print(f"NOT GREEN AS THEY ARE, so they find nothing:\n{broken}")
    lost = sorted(one.name for one in found if not one.by)
    by = {who: sum(one.by == who for one in found) for who in ("simulator", "test")}
    print(
        f"{len(found)} mutants, {sum(MUTANTS[one.name].historical for one in found)} historical:"
        f" {by['simulator']} found by the simulator, {by['test']} by a test, in {time.monotonic() - began:.0f} s"
        f" ({sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]):.0f} s of CPU)"
    )
    print(f"survivors: {len(lost)} {' '.join(lost)}".rstrip())
    return int(bool(lost or broken))


def _hunted(name: str, seeds: int | None) -> Found:
    count = str(MUTANTS[name].seeds if seeds is None else seeds)
    command = [sys.executable, "-W", "ignore", "-m", "tests.simulate.mutants.hunt", name, count]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired:
        return Found(name, "", 0, f"STOPPED after {SECONDS_MAX} s")
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        return Found(name, "", 0, f"BROKEN, the hunt ended with {done.returncode}: {done.stderr[-500:]}")
    return msgspec.json.decode(lines[-1], type=Found)


def _intact(names: list[str]) -> str:
    """What pytest says of the tests without a mutant; empty: they pass."""
    tests = sorted({MUTANTS[name].test for name in names})
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "--tb=line", *tests]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout[-2_000:]


def _line(found: Found) -> str:
    mutant = MUTANTS[found.name]
    kind = "historical" if mutant.historical else "guard"
    who = f"{found.by or 'NOBODY'} after {found.after} seeds" if found.by != "test" else "test"
    hazards = ", ".join(re.findall(r"\b[A-Z]\d+\b", mutant.says.partition(":")[0]))
    what = f"{hazards:12}{found.name:48}"
    return f"{kind:11}{what} {who:26} {found.cpu:5.1f} s  {found.what[:150]}"


if __name__ == "__main__":
    sys.exit(main())
