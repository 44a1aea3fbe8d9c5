"""What the engine asks of its servers per step, on real servers with two worker processes. Counts, never times: those
hold on any machine, however busy.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ONE, MANY = "seq 100 real", "seq 40 real x16"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """One round of sequential steps with bodies that wait: one run, and 16 runs in flight. In the
    calm form, in which nothing is done by the clock: the counts are those of the steps, however long they take.
    """
    answer = tmp_path_factory.mktemp("bench") / "rows.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "--cases",
        f"{ONE},{MANY}",
        "--calm",
        "--rounds",
        "1",
        "--json",
        str(answer),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FENCEPOST_")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    return {row["case"]: row for row in json.loads(answer.read_bytes())["rows"]}


@pytest.mark.parametrize("case", [ONE, MANY])
@pytest.mark.parametrize(
    ("count", "at_most"), [("commits", 1.1), ("statements", 1.2), ("redis_calls", 1.2), ("appends", 1.1)]
)
def test_a_sequential_step_costs_one_of_each(
    rows: dict[str, dict[str, Any]], case: str, count: str, at_most: float
) -> None:
    """One append that commits once, one statement, one call of the queue, and little for start, end and idling."""
    assert 0 < rows[case][count] <= at_most, rows[case]


def test_nobody_steals_a_sequential_run(rows: dict[str, dict[str, Any]]) -> None:
    """Two workers, and no fence is lost: a run stays where its live instance is."""
    assert rows[ONE]["conflicts_per_run"] == 0
    assert rows[MANY]["conflicts_per_run"] < 0.1


def test_the_floor_is_a_floor(rows: dict[str, dict[str, Any]]) -> None:
    """What the figures are compared with commits once per step, and once for the start."""
    assert 1.0 <= rows[ONE]["floor_commits"] <= 1.1
