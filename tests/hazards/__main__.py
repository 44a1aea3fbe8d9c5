"""``make hazards``: for each hazard, its tests as they are, and its tests with a guard taken out.

Usage: ``python -m tests.hazards [ID or removal ...]``. Prints a table: id, guard, outcome. Fails if an id of
docs/hazards.md has no test, if a test is red as it is, or if no test of an id goes red without the guard.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.docs.hazard_pages import carriers, hazards
from tests.docs.markdown import ROOT, read
from tests.hazards.plugin import ONLY, REPORT
from tests.hazards.removals import REGISTRY
from tests.hazards.verdicts import Outcomes, Row, rows, wrong

PROCESSES = 2
SLOW = ("tests/kills/", "tests/cli/", "tests/web/")
"""Whole fleets and terminals: `make test` runs them. Here a hazard is tested by them only if nothing else tests it."""


def main(asked: list[str]) -> int:
    """Run, print, and say by the exit code whether every hazard is covered."""
    ids = [hazard.id for hazard in hazards(read("docs/hazards.md"))]
    if unknown := [each for each in asked if each not in ids and each not in REGISTRY]:
        print(
            f"{', '.join(unknown)}: no hazard of docs/hazards.md ({ids[0]} to {ids[-1]}), and no removal",
            file=sys.stderr,
        )
        return 2
    chosen = [name for name, each in REGISTRY.items() if not asked or name in asked or set(each.ids) & set(asked)]
    wanted = [each for each in ids if not asked or each in asked or any(each in REGISTRY[n].ids for n in chosen)]
    excuses = {hazard.id: hazard.excuse for hazard in hazards(read("docs/hazards.md")) if hazard.excuse}
    carried = {each: _tests_of(each) for each in wanted}
    nodes = {test for tests in carried.values() for test in tests}
    nodes |= {test for name in chosen for test in REGISTRY[name].tests}
    outcomes = _run(sorted(nodes), chosen)
    table = rows(wanted, carried, [REGISTRY[name] for name in chosen], outcomes, excuses)
    _print(table)
    problems = wrong(table)
    for problem in problems:
        print(f"NOT COVERED  {problem}")
    covered = len({row.id for row in table}) - len({row.id for row in table if row.problem or row.excuse})
    print(f"{covered} of {len(wanted)} hazards are covered, by {len(chosen)} guards taken out and {len(nodes)} tests")
    return 1 if problems else 0


def _tests_of(hazard: str) -> list[str]:
    found = [f"{file}::{name}" for file, name in carriers().get(hazard, [])]
    quick = [test for test in found if not test.startswith(SLOW)]
    return quick or found


def _run(nodes: list[str], removals: list[str]) -> Outcomes:
    with tempfile.TemporaryDirectory(prefix="fencepost-hazards-") as folder:
        report = Path(folder) / "report.jsonl"
        report.touch()
        # Not what an outer pytest has set: its workers are not ours.
        plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        environ = {**plain, REPORT: str(report), ONLY: ",".join(removals)}
        options = ["-q", "-p", "tests.hazards.plugin", "-n", str(PROCESSES), "--dist=worksteal", "--tb=no", "-rN"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, "-p", "no:cacheprovider", *nodes],
            cwd=ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode not in (0, 1):
            sys.exit(f"pytest could not run these tests:\n{done.stdout}")
        return Outcomes.read(report.read_text())


def _print(table: list[Row]) -> None:
    cells = [(row.id, row.guard, row.outcome) for row in table]
    width = max((len(guard) for _, guard, _ in cells), default=0)
    for hazard, guard, outcome in cells:
        print(f"{hazard:<5} {guard:<{width}}  {outcome}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
