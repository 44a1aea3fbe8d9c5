"""The same report as the workflow's, computed directly: one plain pass over the library, on nothing but the standard
library. Run as a script (``python -I direct.py``), it prints the report as JSON.

It shares no code with ``index.py``, so that an error there is not repeated here.
"""

from __future__ import annotations

import ast
import json
import os
import sysconfig
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
    parents: dict[ast.AST, ast.AST] = {}
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            parents[child] = node
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            functions.append((node.lineno - node.end_lineno - 1, module, _qualified(node, parents)))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                importers.setdefault(alias.name.split(".")[0], set()).add(module)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            importers.setdefault(node.module.split(".")[0], set()).add(module)


def _qualified(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> str:
    names: list[str] = []
    at: ast.AST | None = node
    while at is not None:
        if isinstance(at, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.append(at.name)
        at = parents.get(at)
    return ".".join(reversed(names))


if __name__ == "__main__":
    print(json.dumps(compute()))
