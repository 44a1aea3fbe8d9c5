"""Guards that can be taken out for a test: by a patched function, an altered Lua script, an altered schema.

A removal is applied in the test's process only, around one test, by ``tests/hazards/plugin.py``. What it takes out is
production code as it stands: an altered text must be there, once, or the removal is broken and says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from fencepost_queue import pipeline, scripts
from fencepost_store import migrations, statements

Apply = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True)
class Removal:
    """``guard``: what is taken out, in words. ``tests``: those that are run without it, each ``file::name``; for every
    id, one of them that carries the id must go red.
    """

    name: str
    ids: tuple[str, ...]
    guard: str
    tests: tuple[str, ...]
    apply: Apply


REGISTRY: dict[str, Removal] = {}


def removal(*ids: str, guard: str, tests: list[str]) -> Callable[[Apply], Apply]:
    """Register a function as the removal of a guard. ``tests`` are named below ``tests/``."""

    def register(apply: Apply) -> Apply:
        name = getattr(apply, "__name__", "")
        assert name not in REGISTRY, f"two removals are called {name}"
        REGISTRY[name] = Removal(name, ids, guard, tuple(f"tests/{test}" for test in tests), apply)
        return apply

    return register


def without_sql(patch: pytest.MonkeyPatch, *changes: tuple[str, str, str]) -> None:
    """Alter migrations, each (name, text, text instead), for namespaces that are made from now on."""
    found = statements.migration_files()
    files = {name: text for _, name, text in found}
    for name, old, new in changes:
        files[name] = _replaced(files[name], old, new, name)
    patch.setattr(migrations, "migration_files", lambda: [(version, name, files[name]) for version, name, _ in found])


def without_statement(patch: pytest.MonkeyPatch, name: str, old: str, new: str) -> None:
    """Alter one statement, for stores that are opened from now on."""
    read = statements._read  # pyright: ignore[reportPrivateUsage] - a removal reaches where no caller does
    altered = _replaced(read("statements", name), old, new, name)
    patch.setattr(
        statements,
        "_read",
        lambda folder, file: altered if file == name else read(folder, file),  # type: ignore[misc]
    )


def without_lua(patch: pytest.MonkeyPatch, name: str, old: str, new: str, *, everywhere: bool = False) -> None:
    """Alter a script, or with ``everywhere`` what stands in front of each, for queues that are opened from now on."""
    real = scripts.script
    checked = "claim" if everywhere else name  # now: in the test it would be a failure that looks like the guard's
    _replaced(real(checked).source, old, new, checked)

    def altered(asked: str) -> scripts.Script:
        plain = real(asked)
        if asked != name and not everywhere:
            return plain
        source = _replaced(plain.source, old, new, asked)
        return scripts.Script(asked, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())

    patch.setattr(pipeline, "script", altered)


def _replaced(text: str, old: str, new: str, name: str) -> str:
    count = text.count(old)
    assert count == 1, f"{name} has {count} times what is to be taken out: {old!r}"
    return text.replace(old, new)
