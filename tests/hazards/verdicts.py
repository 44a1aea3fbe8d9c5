"""What the runs of ``make hazards`` say about each hazard. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.hazards.registry import Removal

_NODE = re.compile(r"^(?P<test>[^\[]+)\[(?:.*-)?(?:intact|without=(?P<removal>\w+))(?:-.*)?\]$")
BROKEN = ("TypeError", "NameError", "AttributeError", "ImportError", "SyntaxError")
"""What a removal that does not fit the code any more ends in: no proof of anything."""


@dataclass(slots=True)
class Came:
    """What came of one test, over all its parameters. ``why``: the first failure in words."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    broken: str = ""
    why: str = ""


@dataclass(slots=True)
class Outcomes:
    """By test, and by (removal, test)."""

    intact: dict[str, Came] = field(default_factory=dict[str, Came])
    without: dict[tuple[str, str], Came] = field(default_factory=dict[tuple[str, str], Came])

    @classmethod
    def read(cls, report: str) -> Outcomes:
        """The lines that the plugin has written."""
        outcomes = cls()
        for line in map(json.loads, report.splitlines()):
            match = _NODE.match(line["node"])
            assert match is not None, f"not a node of this plugin: {line['node']}"
            if match["removal"] is None:
                came = outcomes.intact.setdefault(match["test"], Came())
            else:
                came = outcomes.without.setdefault((match["removal"], match["test"]), Came())
            _count(came, line, removed=match["removal"] is not None)
        return outcomes


def _count(came: Came, line: Mapping[str, str], *, removed: bool) -> None:
    if line["outcome"] == "passed":
        came.passed += 1
    elif line["outcome"] == "skipped":
        came.skipped += 1
    elif removed and (line["when"] == "setup" or line["why"].startswith(BROKEN)):
        came.broken = came.broken or f"{line['when']}: {line['why']}"
    elif line["when"] == "call" or not removed:
        came.failed += 1
        came.why = came.why or line["why"]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. ``problem``: why the hazard does not count as covered by it; ``excuse``: why it cannot
    be yet."""

    id: str
    guard: str
    outcome: str
    problem: str = ""
    excuse: str = ""


def rows(
    ids: Sequence[str],
    tests: Mapping[str, Sequence[str]],
    removals: Sequence[Removal],
    outcomes: Outcomes,
    excuses: Mapping[str, str],
) -> list[Row]:
    """The table: for each hazard a line per guard."""
    table: list[Row] = []
    for hazard in ids:
        if hazard in excuses:
            table.append(Row(hazard, "-", f"not yet: {excuses[hazard]}", excuse=excuses[hazard]))
            continue
        intact = _intact(tests.get(hazard, []), outcomes)
        mine = [removal for removal in removals if hazard in removal.ids]
        if intact.problem or not mine:
            problem = intact.problem or "no guard of it is taken out"
            table.append(Row(hazard, "-", problem, problem))
        else:
            table += [_row(hazard, removal, intact.outcome, tests[hazard], outcomes) for removal in mine]
    return table


def _intact(tests: Sequence[str], outcomes: Outcomes) -> Row:
    """Whether the hazard's tests are green as they are."""
    came = [(test, outcomes.intact.get(test, Came())) for test in tests]
    red = [f"{test}: {each.why}" for test, each in came if each.failed]
    green = sum(each.passed > 0 for _, each in came)
    if red:
        return Row("", "", "", f"red as it is: {red[0]}")
    if not green:
        return Row("", "", "", "no test of it ran")
    return Row("", "", f"{green} tests green")


def _row(hazard: str, removal: Removal, green: str, carrying: Sequence[str], outcomes: Outcomes) -> Row:
    came = {test: outcomes.without.get((removal.name, test), Came()) for test in removal.tests}
    mine = {test: each for test, each in came.items() if test in carrying}
    red = [(test, each) for test, each in mine.items() if each.failed]
    if red:
        test, each = red[0]
        return Row(hazard, removal.guard, f"{green}; without it red: {_short(test)}: {each.why[:90]}")
    broken = [f"{_short(test)}: {each.broken}" for test, each in mine.items() if each.broken]
    if broken:
        told = f"the removal {removal.name} is broken: {broken[0]}"
    elif not mine:
        told = f"none of the tests of the removal {removal.name} carries the id"
    else:
        told = f"green without it ({removal.name}): {', '.join(map(_short, mine))}"
    return Row(hazard, removal.guard, told, told)


def _short(test: str) -> str:
    return test.rpartition("::")[2]


def wrong(table: Sequence[Row]) -> list[str]:
    """Why the run fails, a line each. Every guard that is named must be seen to be needed."""
    return [f"{row.id} {row.guard}: {row.problem}" for row in table if row.problem]
