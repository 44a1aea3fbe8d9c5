"""Every hazard is on its page, with tests that exist and carry its id, or with the reason why there is none yet."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.hazard_pages import IDS, all_tests, carriers, hazards, with_tests
from tests.docs.markdown import ROOT, read

PAGE = read("docs/hazards.md")
EXCUSES = ("needs cancelling", "needs streams")


def test_every_hazard_is_listed_once_and_in_order() -> None:
    """With a timeline, an outcome and, unless it is not built, a guard."""
    found = hazards(PAGE)
    assert [hazard.id for hazard in found] == list(IDS)
    for hazard in found:
        assert "\n- Outcome: " in hazard.text, hazard.id
        assert "\n- Guard: " in hazard.text or hazard.excuse, hazard.id


def test_every_test_that_is_named_exists() -> None:
    """Read from the files, without importing them."""
    there = all_tests()
    assert [(hazard.id, test) for hazard in hazards(PAGE) for test in hazard.tests if test not in there] == []


def test_every_hazard_has_a_test_that_carries_its_id() -> None:
    """In its name or docstring, and named on the page; those that cannot have one say why."""
    carried = carriers()
    for hazard in hazards(PAGE):
        if hazard.excuse:
            assert hazard.excuse.startswith(EXCUSES), hazard
        else:
            assert set(hazard.tests) & set(carried.get(hazard.id, [])), f"{hazard.id}: {hazard.tests}"


def test_no_test_carries_an_id_that_does_not_exist() -> None:
    """A slip of the pen would make a hazard look covered."""
    assert set(carriers()) <= set(IDS)


def test_a_function_in_parentheses_is_in_the_file_before_it() -> None:
    """Guards are named as `file` (function, function)."""
    for files, names in re.findall(r"`((?:worker|queue|store)/[\w/.]+)` \(([a-z_]+(?:, [a-z_]+)*)\)", PAGE):
        source = (ROOT / files).read_text()
        for name in names.split(", "):
            assert re.search(rf"\b{name}\b", source), f"{files} has no {name}"


def test_the_checks_can_fail(tmp_path: Path) -> None:
    """An entry without a test, a test under another name, and a renewed list."""
    folder = tmp_path / "tests" / "room"
    folder.mkdir(parents=True)
    (folder / "test_a.py").write_text('def test_h01_x(): ...\nasync def test_y():\n    """H02, H03: both."""\n')
    page = (
        "## A\n\n**H01** a\n\n- Outcome: b\n- Tests: `tests/room/test_a.py::test_gone`\n\n**H04** c\n\n- Outcome: d\n"
    )
    assert hazards(page)[0].tests == [("tests/room/test_a.py", "test_gone")]
    assert all_tests(tmp_path) == {("tests/room/test_a.py", "test_h01_x"), ("tests/room/test_a.py", "test_y")}
    assert sorted(carriers(tmp_path)) == ["H01", "H02", "H03"]
    renewed = with_tests(page, tmp_path)
    assert hazards(renewed)[0].tests == [("tests/room/test_a.py", "test_h01_x")]
    assert hazards(renewed)[1].tests == []
    assert with_tests(renewed, tmp_path) == renewed
