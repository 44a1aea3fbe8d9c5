"""The SQL of the store, read from its files and made to speak of one namespace.

A namespace's name becomes part of SQL text, which no parameter can carry, so it is held to a pattern that needs no
quoting.
"""

from __future__ import annotations

import functools
import re
from importlib import resources

from fencepost_store.events import INHERITED, KINDS, TERMINAL_ORDINAL
from fencepost_store.ledger import WAKE_GRAIN
from fencepost_store.memory_pruning import SWEPT_TOGETHER
from fencepost_store.protocol import TRACED_HOOKS, Reason

NAMESPACE_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,40}")
_RESERVED = frozenset({"public", "information_schema"})

JOINT_BUDGET_MS = 5_000
"""How long a step's own transaction may wait for its run's row, and may hold it without a word. Its two round trips
take milliseconds; half a lease leaves the run to others soon enough."""

REASON_CODES = {reason: 10 + index for index, reason in enumerate(Reason)}
"""What ``append`` answers for a refusal; 10 and more, so that no outcome is ever mistaken for one."""


class Statements:
    """Every statement of ``sql/statements`` for one namespace, by file name. Raises ValueError if the name cannot be
    one."""

    def __init__(self, namespace: str) -> None:
        self.namespace: str = valid_namespace(namespace)
        self.schema: str = f'"{namespace}"'
        self._texts: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        text = self._texts.get(name)
        if text is None:
            text = self._texts[name] = rendered(_read("statements", name), self.schema)
        return text


def of_no_namespace(name: str) -> str:
    """A statement of ``sql/statements`` that names nothing of ours."""
    return _read("statements", name)


def valid_namespace(namespace: str) -> str:
    """The namespace, if it can be a Postgres schema of its own; else ValueError with the rule."""
    if NAMESPACE_PATTERN.fullmatch(namespace) is None or namespace in _RESERVED or namespace.startswith("pg_"):
        raise ValueError(
            f"namespace {namespace!r} cannot be used: it must match {NAMESPACE_PATTERN.pattern}, must not begin"
            f" with pg_ and must not be one of {', '.join(sorted(_RESERVED))}"
        )
    return namespace


def migration_files() -> list[tuple[int, str, str]]:
    """(version, name, text) of each migration, in order. Versions are 1, 2, 3 ... without a gap."""
    folder = resources.files("fencepost_store").joinpath("sql", "migrations")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    found = [(int(name[:4]), name[5:-4], folder.joinpath(name).read_text("utf-8")) for name in names]
    assert [version for version, _, _ in found] == list(range(1, len(found) + 1)), (
        f"migrations are not numbered 1..n: {names}"
    )
    return found


def rendered(text: str, schema: str) -> str:
    """The SQL with its placeholders filled: the schema, and what it must know of the event table."""
    for placeholder, value in _vocabulary().items():
        text = text.replace("{" + placeholder + "}", value)
    return text.replace("{schema}", schema)


@functools.cache
def _vocabulary() -> dict[str, str]:
    """The copies of the event table that SQL needs, so that KINDS stays the only place that states it."""
    words = {
        "wake_grain": str(WAKE_GRAIN),
        "terminal_ordinal": str(TERMINAL_ORDINAL),
        "traced_hooks": str(TRACED_HOOKS),
        "inherited": INHERITED,
        "swept_together": str(SWEPT_TOGETHER),
        "joint_budget_ms": str(JOINT_BUDGET_MS),
        "run_endings": ", ".join(str(int(event_type)) for event_type, kind in KINDS.items() if kind.ends_run),
        "invisible": ", ".join(str(int(event_type)) for event_type, kind in KINDS.items() if not kind.visible),
    }
    return words | {reason.value: str(code) for reason, code in REASON_CODES.items()}


@functools.cache
def _read(folder: str, name: str) -> str:
    return resources.files("fencepost_store").joinpath("sql", folder, f"{name}.sql").read_text("utf-8")
