"""The first workflow of the demo: index the standard library of the interpreter that runs it.

One step per module parses its source, in parallel; a tree of steps adds the summaries up, so that no step and no event
holds more than a few of them; a last step makes the report.
"""

from __future__ import annotations

import ast
import asyncio
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from fencepost.authoring.step import step
from fencepost.authoring.workflow import workflow
from fencepost.dev.demo.bodies import begin

FAN_IN = 32
"""Summaries per merge: some 30 KB of arguments, far below the limit of an event."""
TOP = 5
LEFT_OUT = frozenset({"test", "tests", "idlelib", "site-packages", "dist-packages", "__pycache__"})
"""Folders that are no part of the library proper: tests, an application, other people's packages."""


class Function(msgspec.Struct, frozen=True):
    """A function or method, by its qualified name, with its length in lines."""

    lines: int
    module: str
    name: str


class Summary(msgspec.Struct, frozen=True):
    """What one or more modules hold. ``imports``: how many of them import a top-level module."""

    modules: int
    functions: int
    longest: Function | None
    imports: dict[str, int]


class Imported(msgspec.Struct, frozen=True):
    """A module, and how many modules import it."""

    module: str
    by: int


class Report(msgspec.Struct, frozen=True):
    """The result of the workflow."""

    modules: int
    functions: int
    longest: Function
    most_imported: tuple[Imported, ...]


@workflow
async def index_library() -> Report:
    """Several hundred steps at once, then a few dozen, then one."""
    files = await list_modules()
    parts = list(await asyncio.gather(*(parse_module(file) for file in files)))
    while len(parts) > 1:
        groups = [parts[start : start + FAN_IN] for start in range(0, len(parts), FAN_IN)]
        parts = list(await asyncio.gather(*(merge(group) for group in groups)))
    return await report(parts[0])


@step
def list_modules() -> list[str]:
    """The library's source files, relative to its folder."""
    begin()
    root = library()
    files = (path.relative_to(root) for path in root.rglob("*.py"))
    return sorted(file.as_posix() for file in files if not LEFT_OUT & set(file.parts[:-1]))


@step
def parse_module(file: str) -> Summary:
    """Parse one file and count. Source that does not parse fails the step."""
    begin()
    module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    tree = ast.parse((library() / file).read_bytes(), file)
    imports: set[str] = set()
    functions: list[Function] = []
    for node, path in _nodes(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                functions.append(Function((node.end_lineno or node.lineno) - node.lineno + 1, module, path))
            case ast.Import():
                imports.update(alias.name.partition(".")[0] for alias in node.names)
            case ast.ImportFrom(module=str(source), level=0):
                imports.add(source.partition(".")[0])
            case _:
                pass
    return Summary(1, len(functions), _longest(functions), dict.fromkeys(sorted(imports), 1))


@step
def merge(parts: list[Summary]) -> Summary:
    """Add summaries up."""
    begin()
    imports: Counter[str] = Counter()
    for part in parts:
        imports.update(part.imports)
    return Summary(
        modules=sum(part.modules for part in parts),
        functions=sum(part.functions for part in parts),
        longest=_longest([part.longest for part in parts if part.longest is not None]),
        imports=dict(sorted(imports.items())),
    )


@step
def report(total: Summary) -> Report:
    """The few figures that a reader wants."""
    begin()
    if total.longest is None:
        raise ValueError(f"no function was found in {total.modules} modules below {library()}")
    ranked = sorted(total.imports.items(), key=lambda item: (-item[1], item[0]))
    most = tuple(Imported(module, count) for module, count in ranked[:TOP])
    return Report(total.modules, total.functions, total.longest, most)


def library() -> Path:
    """The folder of this interpreter's standard library."""
    return Path(sysconfig.get_paths()["stdlib"])


def _nodes(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Every node with the qualified name of the innermost definition that it is or is in. No recursion: expressions
    can be nested deeply.
    """
    stack: list[tuple[ast.AST, str]] = [(tree, "")]
    while stack:
        node, outer = stack.pop()
        path = outer
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            path = f"{outer}.{node.name}" if outer else node.name
        yield node, path
        stack.extend((child, path) for child in ast.iter_child_nodes(node))


def _longest(functions: list[Function]) -> Function | None:
    """The first by name among the longest, so that the order of arrival does not matter."""
    return min(functions, key=lambda found: (-found.lines, found.module, found.name), default=None)
