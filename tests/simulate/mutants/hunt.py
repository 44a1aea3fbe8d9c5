"""One mutant, in a process of its own: ``python -m tests.simulate.mutants.hunt NAME SEEDS`` prints what found it, as a
line of JSON. Modules that are imported while it is in force keep it, so nothing else is done in this process.
"""

from __future__ import annotations

import contextlib
import io
import resource
import sys
import time
import traceback

import msgspec
import pytest
from tests.simulate.generate import generate
from tests.simulate.mutants import MUTANTS, Mutant, Patch
from tests.simulate.oracle import judge
from tests.simulate.world import World

STALL_SECONDS = 60
"""A stall is a way to be found as well. As it stands the slowest of these tests takes a few seconds."""


class Found(msgspec.Struct):
    """``by``: "simulator" or "test"; empty: it survived. ``after``: seeds that were played. ``cpu``: seconds of this
    process and of the servers that a test started."""

    name: str
    by: str
    after: int
    what: str
    seconds: float = 0.0
    cpu: float = 0.0


def hunt(name: str, seeds: int) -> Found:
    """Play seeds under a mutant until one is violated, then run its test."""
    mutant = MUTANTS[name]
    patch = Patch()
    began = time.monotonic()
    mutant.apply(patch)
    try:
        found = _by_seeds(mutant, patch, seeds) or _by_test(mutant, seeds)
    finally:
        patch.undo()
    found.seconds = time.monotonic() - began
    found.cpu = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return found


def _by_seeds(mutant: Mutant, patch: Patch, seeds: int) -> Found | None:
    for seed in range(seeds):
        violation = _violation(seed)
        if violation is None:
            continue
        if f"{mutant.name}.<locals>" in violation or "tests/simulate/mutants" in violation:
            return Found(mutant.name, "", seed + 1, f"BROKEN, the mutant itself fails: seed {seed}: {violation}")
        patch.undo()
        intact = _violation(seed)
        mutant.apply(patch)
        if intact is None:  # or the seed says nothing about the guard
            return Found(mutant.name, "simulator", seed + 1, f"seed {seed}: {violation}")
    return None


def _violation(seed: int) -> str | None:
    """The first one. A world that falls over is one as well, told with where it fell."""
    try:
        found = judge(World(generate(seed, pointed=seed % 2 == 0)).play())
    except Exception as error:  # noqa: BLE001
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{error!r} at {place.filename}:{place.lineno}"
    return found[0].splitlines()[0] if found else None


def _by_test(mutant: Mutant, seeds: int) -> Found:
    said = io.StringIO()
    # hypothesis' plugin imports it at the very end, where a collection may run what a mutant has left over.
    plugins = ("-p", "no:xdist", "-p", "no:cacheprovider", "-p", "no:hypothesispytest")
    options = ("-q", "-x", *plugins, f"--timeout={STALL_SECONDS}")
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = pytest.main([*options, mutant.test])
    failed = [line for line in said.getvalue().splitlines() if line.startswith("FAILED tests/")]
    if f"{mutant.name}.<locals>" in "".join(failed):
        return Found(mutant.name, "", seeds, f"BROKEN, the mutant itself fails: {failed[0]}")
    if code == pytest.ExitCode.TESTS_FAILED and failed:
        name, _, why = failed[0].removeprefix("FAILED tests/").partition(" - ")
        return Found(mutant.name, "test", seeds, f"{name} (stalled)" if "Timeout" in why else name)
    if code == pytest.ExitCode.OK:
        return Found(mutant.name, "", seeds, f"SURVIVED {seeds} seeds and {mutant.test}")
    return Found(mutant.name, "", seeds, f"BROKEN, {mutant.test} cannot be run: {said.getvalue()[-500:]}")


if __name__ == "__main__":
    print(msgspec.json.encode(hunt(sys.argv[1], int(sys.argv[2]))).decode())
