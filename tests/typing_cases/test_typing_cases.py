"""The checkers see what we promise: errors stand exactly on the lines marked ``# expect-error``, and nowhere else.

The cases are wrong on purpose, so their first line keeps every other run of the checkers out of them. Here they are
checked as copies without it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CASES = sorted(path for path in HERE.glob("*.py") if not path.name.startswith("test_"))

SWITCHED_OFF = "# type: ignore  # wrong on purpose: checked by test_typing_cases.py"


def expected() -> set[tuple[str, int]]:
    """File and line of each mark."""
    return {
        (path.name, number)
        for path in CASES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "# expect-error" in line
    }


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """A folder with the cases, switched on."""
    for path in CASES:
        first, rest = path.read_text().split("\n", 1)
        assert first == SWITCHED_OFF
        (tmp_path / path.name).write_text(f"#\n{rest}")
    return tmp_path


def checked(folder: Path, *words: str) -> str:
    """What the checker prints. It exits with 1 if it finds errors, which it should."""
    done = subprocess.run([sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def compare(found: dict[tuple[str, int], str]) -> None:
    """Both ways: nothing marked is accepted, nothing else is refused."""
    assert expected() - set(found) == set(), "marked, but the checker is content"
    assert {place: words for place, words in found.items() if place not in expected()} == {}


def test_every_file_has_cases_of_both_kinds() -> None:
    """A new file in this folder is checked without being listed anywhere; one that is empty would pass."""
    assert {"clients.py", "hooks.py", "steps.py", "workflows.py"} <= {path.name for path in CASES}
    for path in CASES:
        text = path.read_text()
        assert text.count("assert_type(") > 4, f"{path.name}: what is right and of which type?"
        assert text.count("# expect-error") > 4, f"{path.name}: what is wrong?"


@pytest.mark.timeout(300)
def test_pyright_finds_exactly_the_marked_errors(copies: Path) -> None:
    """In strict mode."""
    rooms = [str(ROOT / room) for room in ("worker", "queue", "store")]
    config = {"typeCheckingMode": "strict", "pythonVersion": "3.11", "extraPaths": rooms, "include": ["."]}
    (copies / "pyrightconfig.json").write_text(json.dumps(config))
    report = json.loads(checked(copies, "pyright", "--outputjson", "--pythonpath", sys.executable))
    errors = [one for one in report["generalDiagnostics"] if one["severity"] == "error"]
    compare({(Path(one["file"]).name, one["range"]["start"]["line"] + 1): one["message"] for one in errors})


@pytest.mark.timeout(300)
def test_mypy_finds_exactly_the_marked_errors(copies: Path) -> None:
    """In strict mode."""
    out = checked(copies, "mypy", "--strict", "--python-version", "3.11", *(path.name for path in CASES))
    lines = [match for line in out.splitlines() if (match := re.match(r"([^:]+):(\d+): error: (.*)", line))]
    compare({(Path(match[1]).name, int(match[2])): match[3] for match in lines})
