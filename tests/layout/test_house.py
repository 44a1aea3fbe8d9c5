"""Rules of the house that no linter knows. Each check is a function of a folder, run on the checkout and on a planted
violation."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.syntax import parse

ROOT = Path(__file__).parents[2]
ROOMS = ("worker", "queue", "store")
LINES_MAX = 400
FUNCTION_LINES_MAX = 70
VAGUE = {"common", "util", "utils", "helper", "helpers", "models", "manager"}
SQL = re.compile(
    r"\b(insert\s+into\s+\S+\s*(\(|values|select)|delete\s+from\s+\S+\s+(where|using)|update\s+\S+\s+set\s"
    r"|create\s+(or\s+replace\s+)?(unique\s+)?(table|index|schema|function|type)\s|alter\s+table\s|drop\s+(table|schema|index|function)\s"
    r"|select\s.*\sfrom\s+\S+\s+(where|order|limit|for|join)\b)",
    re.IGNORECASE | re.DOTALL,
)
SQL_UPPER = re.compile(r"^\s*(SELECT|WITH|TRUNCATE|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP)\s+\S")
LUA = re.compile(r"\bredis\.p?call\s*\(")
MACHINE_PATH = re.compile(
    r"(?<![\w.])/(?:" + "|".join(("wo" + "rk", "ro" + "ot", r"home/\w+", r"Users/\w+")) + r")/[\w.]"
)
Check = Callable[[Path], list[str]]


def python_files(root: Path, folders: tuple[str, ...] = (*ROOMS, "tests")) -> Iterator[Path]:
    """Every Python file below the folders."""
    for folder in folders:
        yield from sorted(path for path in (root / folder).rglob("*.py") if "__pycache__" not in path.parts)


def rooms_with_init(root: Path) -> list[str]:
    """A room is a folder on sys.path, not a package. ``queue/__init__.py`` would shadow the standard library's
    ``queue`` for whatever runs with the
    checkout on its path: no thread pool can start, so no getaddrinfo, so no database connection, while pytest stays
    green."""
    return [f"{room}/__init__.py" for room in ROOMS if (root / room / "__init__.py").exists()]


def lock_of_the_wrong_kind(root: Path) -> list[str]:
    """A uv.lock names the registry it was made with; requirements.lock does not."""
    listed = subprocess.run(
        ["git", "ls-files", "uv.lock"], cwd=root, capture_output=True, text=True, check=False
    ).stdout.split()
    ignored = "uv.lock" in (root / ".gitignore").read_text().splitlines()
    return [*listed, *([] if ignored else [".gitignore lacks uv.lock"])]


def hosts_in_lock(root: Path) -> list[str]:
    """The lock file holds names, versions and hashes, and no address."""
    text = (root / "requirements.lock").read_text()
    return [line for line in text.splitlines() if "://" in line or "--" in line.replace("--hash=", "")]


def long_files(root: Path) -> list[str]:
    """400 lines at most, 150 as a rule."""
    counts = ((path, len(path.read_text().splitlines())) for path in python_files(root))
    return [f"{path.relative_to(root)}: {count} lines" for path, count in counts if count > LINES_MAX]


def long_functions(root: Path) -> list[str]:
    """70 lines at most, from def to the last line."""
    found: list[str] = []
    for path in python_files(root):
        for node in ast.walk(parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = (node.end_lineno or node.lineno) - node.lineno + 1
                if count > FUNCTION_LINES_MAX:
                    found.append(f"{path.relative_to(root)}: {node.name} has {count} lines")
    return found


def vague_names(root: Path) -> list[str]:
    """A name that fits everything says nothing."""
    return [
        str(path.relative_to(root))
        for path in python_files(root)
        if VAGUE & {path.stem, *path.relative_to(root).parts[1:-1]}
    ]


def strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every string of a file that is not a docstring, with its line."""
    scopes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, scopes)]
    prose = {id(statement.value) for body in bodies for statement in body if isinstance(statement, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


def embedded_code(root: Path) -> list[str]:
    """SQL lives in .sql files and Lua in .lua files, where their tools and readers find them."""
    found: list[str] = []
    for path in python_files(root, ROOMS):
        for line, text in strings(parse(path.read_text())):
            if SQL.search(text) or SQL_UPPER.search(text) or LUA.search(text):
                found.append(f"{path.relative_to(root)}:{line}: {text.strip()[:60]!r}")
    return found


def machine_paths(root: Path) -> list[str]:
    """No file names a folder of somebody's machine."""
    found: list[str] = []
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        made = any(
            (part.startswith(".") and part != ".ci") or part in {"__pycache__", "build", "dist"} for part in parts
        )
        if made or not path.is_file():
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:  # a picture
            continue
        found += [f"{path.relative_to(root)}: {match.group()}" for match in MACHINE_PATH.finditer(text)]
    return found


CHECKS: dict[Check, tuple[str, str]] = {
    rooms_with_init: ("queue/__init__.py", ""),
    lock_of_the_wrong_kind: (".gitignore", "*.pyc\n"),
    hosts_in_lock: ("requirements.lock", "--index-url https://example.org/simple\na==1 \\\n    --hash=sha256:00\n"),
    long_files: ("store/s/a.py", "x = 1\n" * (LINES_MAX + 1)),
    long_functions: ("tests/a.py", "def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX),
    vague_names: ("worker/fencepost/utils.py", ""),
    embedded_code: ("store/s/a.py", 'def f(c):\n    return c.fetch("SELECT now()")\n'),
    machine_paths: ("docs/a.md", "see /ho" + "me/ada/project\n"),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_house_is_in_order(check: Check) -> None:
    """On the checkout as it is."""
    assert check(ROOT) == []


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_planted_violation_is_found(check: Check, tmp_path: Path) -> None:
    """A check that cannot fail checks nothing."""
    (tmp_path / ".gitignore").write_text("uv.lock\n")
    (tmp_path / "requirements.lock").write_text("a==1 \\\n    --hash=sha256:00\n")
    assert check(tmp_path) == []
    name, text = CHECKS[check]
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text)
    assert len(check(tmp_path)) == 1


@pytest.mark.parametrize(
    ("text", "is_code"),
    [
        ("SELECT 1", True),
        ("insert into runs (a) values ($1)", True),
        ("\n  UPDATE runs SET a = 1", True),
        ("f'DELETE FROM {schema}.runs WHERE x'", True),
        ("local x = redis.call('GET', KEYS[1])", True),
        ("select one of the queues", False),
        ("the run was deleted from the log", False),
        ("Update available", False),
        ("create a schedule with the name of the table", False),
    ],
)
def test_code_is_told_from_prose(tmp_path: Path, text: str, is_code: bool) -> None:
    """SQL in any case, in parts of f-strings; sentences about it are free."""
    (tmp_path / "store").mkdir()
    source = f"x = {text}" if text.startswith("f'") else f"x = {text!r}"
    (tmp_path / "store" / "a.py").write_text(f'"""SELECT in a docstring is prose."""\n{source}\n')
    assert bool(embedded_code(tmp_path)) == is_code
