"""The arrows: worker -> queue, worker -> store, and the order inside worker. Contracts are in pyproject.toml under
[tool.importlinter]."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.syntax import parse

ROOT = Path(__file__).parents[2]
ROOMS = {"worker": "fencepost", "queue": "fencepost_queue", "store": "fencepost_store"}
IMPURE = {
    "asyncpg", "redis", "socket", "time", "random", "threading", "os", "subprocess", "select", "selectors", "secrets",
    "multiprocessing", "concurrent", "tempfile", "shutil", "http", "sqlite3", "uuid_utils",
}  # fmt: skip
"""Modules through which a clock, chance, a thread or the outside world gets in."""
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """Run the contracts of a checkout on that checkout's rooms, in a process of its own (the linter keeps its
    configuration in globals)."""
    paths = [str(root / room) for room in ROOMS]
    program = f"import sys; sys.path[:0] = {paths!r}; {LINT}"
    return subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False, timeout=100
    )


HARMLESS = {"threading.get_ident"}
"""Names of such modules that let nothing in."""


def impure_imports(source: str) -> list[str]:
    """What a file imports, at any depth, that replay may not."""
    names: list[str] = []
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if name.partition(".")[0] in IMPURE and name not in HARMLESS]


def test_the_contracts_hold() -> None:
    """All of them, on the checkout as it is."""
    answer = lint(ROOT)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert " 0 broken" in answer.stdout


@pytest.mark.parametrize(
    ("room", "file", "line", "contract"),
    [
        ("store", "planted.py", "import fencepost_queue", "The store knows nobody"),
        ("store", "planted.py", "import fencepost.records", "The store knows nobody"),
        ("queue", "planted.py", "import fencepost_store", "The queue knows nobody"),
        ("worker", "records.py", "import fencepost.replay", "Foundations know no part of the worker"),
        ("worker", "replay/planted.py", "def f():\n    import asyncpg", "Replay is pure"),
        ("worker", "authoring/planted.py", "import fencepost.engine", "Authoring knows replay and records"),
        ("worker", "engine/planted.py", "import fencepost.client", "The engine knows no face of the product"),
        ("worker", "client/planted.py", "import fencepost.engine", "A client never consumes"),
        ("worker", "audit/legality.py", "import fencepost_store.ledger", "The audit is a second opinion"),
        ("worker", "audit/legality.py", "import fencepost.replay.fold", "The audit is a second opinion"),
        ("worker", "dev/guard.py", "import redis", "Embedded servers stand alone"),
        ("worker", "web/planted.py", "import fencepost.cli", "Nothing but the command line knows"),
    ],
)
def test_a_planted_arrow_breaks_its_contract(tmp_path: Path, room: str, file: str, line: str, contract: str) -> None:
    """Each contract is seen to fail in a copy of the rooms."""
    for name in ROOMS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    planted = tmp_path / room / ROOMS[room] / file
    with planted.open("a") as stream:
        stream.write(f"\n{line}\n")
    answer = lint(tmp_path)
    assert answer.returncode != 0, answer.stdout
    broken = [text for text in answer.stdout.splitlines() if " BROKEN" in text]
    assert any(text.startswith(contract) for text in broken), answer.stdout


def test_replay_imports_nothing_impure() -> None:
    """No clock, no chance, no thread, no outside world. The exceptions: budget.py bounds user code from a thread, the
    two ambient ones take clock and chance away from user code."""
    found = {
        path.name: impure_imports(path.read_text())
        for path in sorted((ROOT / "worker" / "fencepost" / "replay").rglob("*.py"))
        if path.name not in {"budget.py", "ambient_time.py", "ambient_chance.py"}
    }
    assert len(found) >= 3
    assert {name: names for name, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "line", ["import time", "from time import monotonic", "def f():\n    import socket as s", "import os.path"]
)
def test_a_planted_impure_import_is_found(line: str) -> None:
    """At the top and inside a function, whole and in part."""
    assert impure_imports(line) != []
    assert impure_imports("import asyncio\nimport timeit_is_not_time\nfrom .time import x") == []
