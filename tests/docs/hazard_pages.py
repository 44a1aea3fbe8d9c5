"""docs/hazards.md and the tests: which test carries which hazard's id, and what the page says of each."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.docs.markdown import ROOT
from tests.syntax import parse

IDS = (
    *(f"H{n:02}" for n in range(1, 37)),
    *(f"H{n}" for n in range(40, 59)),
    *(f"H{n}" for n in range(60, 77)),
    *(f"H{n}" for n in range(80, 87)),
    *(f"H{n}" for n in range(90, 116)),
    *(f"H{n}" for n in range(120, 131)),
    *(f"H{n}" for n in range(183, 186)),
    *(f"H{n}" for n in range(131, 134)),
    "H186",
    *(f"H{n}" for n in range(134, 137)),
    *(f"H{n}" for n in range(187, 190)),
    *(f"H{n}" for n in range(139, 141)),
    *(f"H{n}" for n in range(147, 153)),
    *(f"H{n}" for n in range(163, 167)),
    *(f"H{n}" for n in range(155, 157)),
    "H141",
    *(f"H{n}" for n in range(157, 161)),
    *(f"H{n}" for n in range(142, 144)),
    *(f"H{n}" for n in range(173, 176)),
    "H144",
    *(f"H{n}" for n in range(176, 178)),
    *(f"H{n}" for n in range(169, 171)),
    *(f"H{n}" for n in range(178, 181)),
    *(f"H{n}" for n in range(210, 215)),
    *(f"H{n}" for n in range(200, 207)),
    *(f"H{n}" for n in range(190, 198)),
    *(f"H{n}" for n in range(220, 226)),
)
"""Every hazard of the catalogue; the gaps between its parts are left for more."""

_IN_NAME = re.compile(r"(?<=_)h(\d{2,3})(?=_)")
_IN_TEXT = re.compile(r"\bH(\d{2,3})\b")
_ENTRY = re.compile(r"^\*\*(?P<id>H\d+)\*\* (?P<text>.*?)(?=^\*\*H|^## |\Z)", re.MULTILINE | re.DOTALL)
_TEST = re.compile(r"`(?P<file>tests/[\w/]+\.py)::(?P<name>test_\w+)`")


class Hazard(NamedTuple):
    """An entry of the page. ``tests``: (file, name). ``excuse``: why there is none yet, empty if there must be one."""

    id: str
    text: str
    tests: list[tuple[str, str]]
    excuse: str


def hazards(page: str) -> list[Hazard]:
    """The page's entries, in order."""
    found: list[Hazard] = []
    for match in _ENTRY.finditer(page):
        excuse = re.search(r"^- Not yet: (.*)$", match["text"], re.MULTILINE)
        tests = [(test["file"], test["name"]) for test in _TEST.finditer(match["text"])]
        found.append(Hazard(match["id"], match["text"], tests, excuse[1] if excuse else ""))
    return found


def carriers(root: Path = ROOT) -> dict[str, list[tuple[str, str]]]:
    """(file, test) by the ids that the test carries in its name or its docstring."""
    found: dict[str, list[tuple[str, str]]] = {}
    for file, name, docstring in _tests(root):
        told = _IN_NAME.findall(name) + _IN_TEXT.findall(docstring)
        for number in dict.fromkeys(told):
            found.setdefault(f"H{number}", []).append((file, name))
    return found


def all_tests(root: Path = ROOT) -> set[tuple[str, str]]:
    """(file, name) of every test."""
    return {(file, name) for file, name, _ in _tests(root)}


@cache
def _tests(root: Path) -> tuple[tuple[str, str, str], ...]:
    """(file, name, docstring) of every test of the checkout, without importing it; read once per process."""
    return tuple(
        (str(path.relative_to(root)), node.name, ast.get_docstring(node) or "")
        for path in sorted((root / "tests").rglob("test_*.py"))
        for node in parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def with_tests(page: str, root: Path = ROOT) -> str:
    """The page with each entry's tests as they are now; entries with an excuse keep theirs."""
    carried = carriers(root)

    def entry(match: re.Match[str]) -> str:
        lines = [line for line in match[0].rstrip("\n").split("\n") if not line.startswith("- Tests: ")]
        tests = [f"`{file}::{name}`" for file, name in carried.get(match["id"], [])]
        if tests:
            lines.append("- Tests: " + ", ".join(tests))
        return "\n".join(lines) + "\n\n"

    return _ENTRY.sub(entry, page).rstrip("\n") + "\n"
