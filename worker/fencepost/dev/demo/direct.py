"""The same report as the workflow's, computed directly: one plain pass over the library, on nothing but the standard
library. Run as a script (``python -I direct.py``), it prints the report as JSON.

It shares no code with ``index.py``, so that an error there is not repeated here.
"""

from __future__ import annotations

import ast
import json
import os
import sysconfig
from collections.abc import Iterable, Iterator
from typing import Any

SKIPPED = ("test", "tests", "idlelib", "site-packages", "dist-packages", "__pycache__")
TOP = 5


def compute() -> dict[str, Any]:
    """The report in the form of ``index.Report`` as JSON."""
    root = sysconfig.get_paths()["stdlib"]
    modules = 0
    functions: list[tuple[int, str, str]] = []
    importers: dict[str, set[str]] = {}
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in SKIPPED]
        for name in names:
            if not name.endswith(".py"):
                continue
            modules += 1
            path = os.path.join(folder, name)
            module = _module_name(os.path.relpath(path, root))
            with open(path, "rb") as source:
                tree = ast.parse(source.read())
            _count(tree, module, functions, importers)
    lines, longest_module, longest_name = min(functions)
    ranked = sorted((-len(by), name) for name, by in importers.items())
    return {
        "modules": modules,
        "functions": len(functions),
        "longest": {"lines": -lines, "module": longest_module, "name": longest_name},
        "most_imported": [{"module": name, "by": -count} for count, name in ranked[:TOP]],
    }


def _module_name(path: str) -> str:
    parts = path[: -len(".py")].split(os.sep)
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _count(
    tree: ast.Module, module: str, functions: list[tuple[int, str, str]], importers: dict[str, set[str]]
) -> None:
    for statement, names in _statements(tree.body, ()):
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert statement.end_lineno is not None
            functions.append((statement.lineno - statement.end_lineno - 1, module, ".".join(names)))
        elif isinstance(statement, ast.Import):
            for alias in statement.names:
                importers.setdefault(alias.name.split(".")[0], set()).add(module)
        elif isinstance(statement, ast.ImportFrom) and statement.level == 0 and statement.module:
            importers.setdefault(statement.module.split(".")[0], set()).add(module)


def _statements(body: Iterable[ast.stmt], outer: tuple[str, ...]) -> Iterator[tuple[ast.stmt, tuple[str, ...]]]:
    """Every statement, at whatever depth, with the names of the definitions that it is or is in. Definitions and
    imports are statements, so expressions are not looked at.
    """
    for statement in body:
        names = outer
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names = (*outer, statement.name)
        yield statement, names
        blocks = [statement, *getattr(statement, "handlers", ()), *getattr(statement, "cases", ())]
        for block in blocks:
            for field in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(block, field, ()), names)


if __name__ == "__main__":
    print(json.dumps(compute()))
