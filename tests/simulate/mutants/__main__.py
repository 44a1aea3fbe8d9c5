"""``python -m tests.simulate.mutants [NAME ...]``: each mutant, and within how many seeds it is found."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed

import msgspec
import pytest
from tests.simulate.generate import generate
from tests.simulate.mutants import MUTANTS, Mutant, Patch
from tests.simulate.oracle import judge
from tests.simulate.world import World


class Found(msgspec.Struct):
    """``after``: seeds that were needed; None: it survived."""

    name: str
    after: int | None
    what: str
    seconds: float


def hunt(name: str, first: int = 0, most: int = 1_000_000) -> Found:
    """Play seeds under a mutant until one is violated."""
    mutant = MUTANTS[name]
    began = time.monotonic()
    seed = first
    patch = Patch()
    mutant.apply(patch)
    try:
        for seed in range(first, first + min(mutant.seeds, most)):
            found = judge(World(generate(seed, pointed=seed % 2 == 0)).play())
            if found:
                return Found(
                    name, seed - first + 1, f"seed {seed}: {found[0].splitlines()[0]}", time.monotonic() - began
                )
    except Exception as error:  # noqa: BLE001 - a world that falls over is a find as well
        return Found(name, seed - first + 1, f"seed {seed}: {error!r}", time.monotonic() - began)
    else:
        return _by_test(mutant, began)
    finally:
        patch.undo()


def _by_test(mutant: Mutant, began: float) -> Found:
    """Run the tests that are to find it, in this process, where it is in force."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = pytest.main(["-q", "-x", "-p", "no:xdist", "-p", "no:cacheprovider", *mutant.test])
    failed = [line for line in said.getvalue().splitlines() if line.startswith("FAILED")]
    seconds = time.monotonic() - began
    if code == pytest.ExitCode.TESTS_FAILED and failed:
        return Found(mutant.name, 0, failed[0].partition(" - ")[0], seconds)
    return Found(mutant.name, None, f"SURVIVED {mutant.seeds} seeds and {' '.join(mutant.test)}", seconds)


def main() -> int:
    """0 if each is found."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulate.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="which ones (all)")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seeds-max", type=int, default=1_000_000, help="for each, before tests are tried")
    asked = parser.parse_args()
    names = asked.names or sorted(MUTANTS, key=lambda name: -MUTANTS[name].seeds)
    survivors = 0
    with ProcessPoolExecutor(asked.jobs) as pool:
        for hunted in as_completed([pool.submit(hunt, name, 0, asked.seeds_max) for name in names]):
            found = hunted.result()
            survivors += found.after is None
            kind = "historical" if MUTANTS[found.name].historical else "guard"
            print(f"{kind:10} {found.name}: {found.what[:200]} ({found.seconds:.1f} s)", flush=True)
    print(f"{len(names)} mutants, {sum(MUTANTS[name].historical for name in names)} historical; survivors: {survivors}")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
