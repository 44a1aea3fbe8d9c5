"""``make hazards`` itself: what it knows fits the page, the tests and the code, and it fails where it must."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tests.docs.hazard_pages import IDS, all_tests, carriers, hazards
from tests.docs.markdown import ROOT, read
from tests.hazards.registry import Removal
from tests.hazards.removals import REGISTRY
from tests.hazards.verdicts import Outcomes, rows, wrong

TEST = "tests/room/test_a.py::test_h01_x"


def test_every_hazard_that_can_be_tested_has_a_guard_that_can_be_taken_out() -> None:
    """Those that cannot be yet say so on the page."""
    excused = {hazard.id for hazard in hazards(read("docs/hazards.md")) if hazard.excuse}
    known = {hazard for removal in REGISTRY.values() for hazard in removal.ids}
    assert known <= set(IDS)
    assert set(IDS) - excused - known == set()


@pytest.mark.parametrize("name", REGISTRY)
def test_a_removal_names_tests_that_carry_its_ids_and_fits_the_code(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is to be taken out is there; a text is replaced where it stands, once."""
    removal = REGISTRY[name]
    there = {f"{file}::{test}" for file, test in all_tests()}
    assert set(removal.tests) <= there, set(removal.tests) - there
    carried = carriers()
    for hazard in removal.ids:
        mine = {f"{file}::{test}" for file, test in carried[hazard]}
        assert mine & set(removal.tests), f"no test of {name} carries {hazard}"
    removal.apply(monkeypatch)


def nothing(patch: pytest.MonkeyPatch) -> None:
    """Takes nothing out."""


def table(*lines: tuple[str, str, str, str]) -> list[str]:
    """What the run says is wrong, given lines of (variant, phase, outcome, why)."""
    report = "\n".join(
        json.dumps({"node": f"{TEST}[{variant}]", "when": when, "outcome": outcome, "why": why})
        for variant, when, outcome, why in lines
    )
    removal = Removal("gone", ("H01",), "the guard", (TEST,), nothing)
    return wrong(rows(["H01"], {"H01": [TEST]}, [removal], Outcomes.read(report), {}))


GREEN = ("memory-intact", "call", "passed", "")
RED = ("without=gone-postgres", "call", "failed", "assert 1 == 2")


def test_red_without_the_guard_and_green_with_it_is_what_is_wanted() -> None:
    """One parameter that goes red is enough."""
    assert table(GREEN, RED) == []
    assert table(GREEN, ("memory-without=gone", "call", "passed", ""), RED) == []


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([GREEN, ("without=gone", "call", "passed", "")], "green without it"),
        ([GREEN], "green without it"),
        ([("intact", "call", "failed", "assert 0"), RED], "red as it is"),
        ([("intact", "setup", "failed", "no server"), RED], "red as it is"),
        ([("intact", "setup", "skipped", ""), RED], "no test of it ran"),
        ([RED], "no test of it ran"),
        ([GREEN, ("without=gone", "setup", "failed", "syntax error at or near")], "is broken"),
        ([GREEN, ("without=gone", "call", "failed", "TypeError: without() got an argument")], "is broken"),
    ],
)
def test_everything_else_fails_the_run(lines: list[tuple[str, str, str, str]], said: str) -> None:
    """A removal that breaks the test's own setting proves nothing."""
    (problem,) = table(*lines)
    assert said in problem


def test_a_hazard_without_a_test_or_a_guard_fails_the_run() -> None:
    """Unless the page says why there is none."""
    assert wrong(rows(["H02"], {}, [], Outcomes(), {})) == ["H02 -: no test of it ran"]
    assert wrong(rows(["H02"], {}, [], Outcomes(), {"H02": "needs children"})) == []
    green = Outcomes.read(json.dumps({"node": f"{TEST}[intact]", "when": "call", "outcome": "passed", "why": ""}))
    assert wrong(rows(["H01"], {"H01": [TEST]}, [], green, {})) == ["H01 -: no guard of it is taken out"]


def test_one_hazard_from_end_to_end() -> None:
    """The command, for the cheapest one."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.hazards", "H86"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "without it red: test_h86_the_delay_is_anywhere_between_zero_and_the_bound" in done.stdout
    assert "1 of 1 hazards are covered" in done.stdout
