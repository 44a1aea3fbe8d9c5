"""The parts of the documents that are made from the code. ``python -m tests.docs.generated`` in the checkout writes
them anew; a test compares.

A part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from tests.docs.hazard_pages import with_tests
from tests.docs.markdown import ROOT

from fencepost import errors
from fencepost.audit.findings import CATALOGUE as CATALOGUE_OF_FINDINGS
from fencepost.config import Config, field_names
from fencepost.telemetry import CATALOGUE, LOGGER_OF
from fencepost_queue.states import TRANSITIONS, mermaid
from fencepost_store.events import KINDS, TERMINAL_ORDINAL, EventType, Role

ORDINALS = {
    Role.creation: "0",
    Role.start: "n",
    Role.retry: "-n",
    Role.terminal: str(TERMINAL_ORDINAL),
    Role.once: "1",
    Role.many: "",
}
"""How the documents write an event's ordinal; n is the attempt."""

_PART = re.compile(r"(?<=<!-- generated: )(?P<name>[a-z ]+)(?P<open> -->\n)(?P<text>.*?)(?=<!-- end -->)", re.DOTALL)


def event_row(event_type: EventType) -> tuple[str, str, str, str]:
    """Name with number, kind, visible, ordinal."""
    kind = KINDS[event_type]
    decided = "decision" if kind.decision else "fact"
    return (
        f"{event_type.name} ({event_type.value})",
        f"{decided}, ends the run" if kind.ends_run else decided,
        "yes" if kind.visible else "no",
        "1" if event_type is EventType.run_started else ORDINALS[kind.role],
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def kinds() -> str:
    """The event table as the code has it."""
    return _table(("event", "kind", "visible", "ordinal"), [event_row(event_type) for event_type in EventType])


def transitions() -> str:
    """The queue's table of states."""
    rows = [(t.operation.value, t.before.value, t.when, t.after.value, t.answer) for t in TRANSITIONS]
    return _table(("operation", "before", "when", "after", "answer"), rows)


def diagram() -> str:
    """The same as a diagram."""
    return f"```mermaid\n{mermaid()}```\n"


def defaults() -> str:
    """Every setting with its default."""
    config = Config()
    return _table(("setting", "default"), [(f"`{name}`", f"`{getattr(config, name)!r}`") for name in field_names()])


def codes() -> str:
    """The codes by which a failure says whose fault it was."""
    rows = [(f"`{code}`", "no" if code in errors.NOT_RETRYABLE_CODES else "yes") for code in sorted(errors.CODES)]
    return _table(("code", "a step that fails with it is retried"), rows)


def catalogue() -> str:
    """Every log line."""
    return _table(
        ("event", "level", "logger", "meaning"),
        [(f"`{name}`", level, f"`{LOGGER_OF[name]}`", meaning) for name, (level, meaning) in sorted(CATALOGUE.items())],
    )


def findings() -> str:
    """Everything that an audit can find."""
    rows = [
        (f"`{code}`", rule.severity.value, rule.means, rule.way_out, rule.repair or "nothing")
        for code, rule in CATALOGUE_OF_FINDINGS.items()
    ]
    return _table(("finding", "severity", "means", "way out", "`--repair`"), rows)


PARTS: dict[str, Callable[[], str]] = {
    "event kinds": kinds,
    "queue transitions": transitions,
    "queue diagram": diagram,
    "defaults": defaults,
    "error codes": codes,
    "log catalogue": catalogue,
    "doctor findings": findings,
}


def renewed(text: str) -> str:
    """A document's text with its generated parts as they should be. Raises KeyError for a part that nobody makes."""
    return _PART.sub(lambda match: f"{match['name']}{match['open']}{PARTS[match['name']]()}", text)


def names(text: str) -> list[str]:
    """The generated parts of a document."""
    return [match["name"] for match in _PART.finditer(text)]


def main() -> None:
    """Write the documents anew."""
    for path in (ROOT / "docs").glob("*.md"):
        text = renewed(path.read_text(encoding="utf-8"))
        path.write_text(with_tests(text) if path.name == "hazards.md" else text, encoding="utf-8")


if __name__ == "__main__":
    main()
